{{ config(materialized="table") }}

with receptions as (
    select * from {{ ref("fct_receptions") }}
),

checklists as (
    select * from {{ source("policy", "checklists") }}
),

run as (
    select * from {{ source("ctl", "run") }}
),

due as (
    select
        receptions.program_id,
        receptions.reception_id,
        receptions.period,
        receptions.level_id,
        receptions.arrives_at,
        receptions.noted_date,
        receptions.room,
        cast(checklists.item_id as varchar) as item_id,
        cast(checklists.item_order as integer) as item_order,
        cast(checklists.name_en as varchar) as name_en,
        cast(checklists.name_zh as varchar) as name_zh,
        cast(checklists.responsible_role as varchar) as responsible_role,
        cast(checklists.lead_minutes as integer) as lead_minutes,
        {{ minutes_before("receptions.arrives_at", "checklists.lead_minutes") }} as due_at
    from receptions
    inner join checklists
        on
            receptions.program_id = checklists.program_id
            and receptions.policy_version = checklists.version
            and receptions.level_id = checklists.level_id
)

select
    due.program_id,
    due.reception_id,
    due.period,
    due.level_id,
    due.item_id,
    due.item_order,
    due.name_en,
    due.name_zh,
    due.responsible_role,
    due.lead_minutes,
    due.arrives_at,
    due.due_at,
    {{ local_time("due.due_at", "run.timezone") }} as due_local,
    due.room,
    {{ local_date("due.due_at", "run.timezone") }} < due.noted_date as is_due_before_notice
from due
cross join run
