{{ config(materialized="view") }}

with causes (movement_cause, cause_order, name_en, name_zh) as (
    values
    ('attributes', 1, 'An attribute changed (brand, plan, region and the like)', '属性变化(品牌、套餐、地区等)'),
    ('bill_corrections', 2, 'Earlier bills were corrected', '历史账单更正'),
    ('new_spend', 3, 'Spend of the new month', '新月份消费'),
    ('window_roll_off', 4, 'Earlier months left the window', '历史月份移出统计窗口'),
    ('points', 5, 'Points changed', '积分变化'),
    ('population', 6, 'Others moved; the own value did not decide', '群体变化(本人数值未起决定作用)'),
    ('policy', 7, 'The policy changed', '政策变化'),
    ('nomination', 8, 'A nomination or an approved override began or ended', '提名或审批特例生效或到期'),
    ('cap', 9, 'A cap began or ended', '封顶规则生效或解除'),
    ('validity', 10, 'Validity or grace ended', '有效期或宽限期结束'),
    ('joined', 11, 'Newly graded', '新进入分级'),
    ('left', 12, 'No longer graded', '退出分级')
)

select
    cast(movement_cause as varchar) as movement_cause,
    cast(cause_order as integer) as cause_order,
    cast(name_en as varchar) as name_en,
    cast(name_zh as varchar) as name_zh
from causes
