{{ config(materialized="table") }}

with decisions as (
    select decisions.*
    from {{ ref("int_held_decisions") }} as decisions
    inner join {{ source("ctl", "target_periods") }} as targets on decisions.period = targets.period
),

lists as (
    select * from {{ source("policy", "target_lists") }}
),

owners as (
    select * from {{ ref("int_subject_owners") }}
),

order_values as (
    select * from {{ ref("int_order_values") }}
),

listed as (
    select
        decisions.program_id,
        decisions.period,
        decisions.policy_version,
        decisions.subject_type,
        decisions.subject_id,
        decisions.level_id,
        lists.list_id,
        lists.list_order,
        lists.order_attribute,
        lists.per_owner,
        lists.name_en,
        lists.name_zh
    from decisions
    inner join lists
        on
            decisions.program_id = lists.program_id
            and decisions.policy_version = lists.version
            and decisions.level_id = lists.level_id
),

placed as (
    select
        listed.*,
        owners.owner_id,
        order_values.order_value,
        row_number() over (
            partition by listed.program_id, listed.period, listed.list_id, owners.owner_id
            order by listed.list_order, order_values.order_value desc nulls last, listed.subject_id
        ) as place
    from listed
    left join owners
        on
            listed.subject_type = owners.subject_type
            and listed.subject_id = owners.subject_id
            and listed.period = owners.period
    left join order_values
        on
            listed.subject_type = order_values.subject_type
            and listed.subject_id = order_values.subject_id
            and listed.period = order_values.period
            and listed.order_attribute = order_values.attribute_id
)

select
    cast(program_id as varchar) as program_id,
    cast(period as varchar) as period,
    cast(list_id as varchar) as list_id,
    cast(name_en as varchar) as list_name_en,
    cast(name_zh as varchar) as list_name_zh,
    cast(owner_id as varchar) as owner_id,
    cast(place as integer) as place,
    cast(subject_type as varchar) as subject_type,
    cast(subject_id as varchar) as subject_id,
    cast(level_id as varchar) as level_id,
    cast(order_attribute as varchar) as order_attribute,
    cast(order_value as decimal(24, 6)) as order_value
from placed
where place <= per_owner
