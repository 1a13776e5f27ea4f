{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period in (select period from ctl.target_periods){% endif %}",
    )
}}

with causes as (
    {{ compiled_relation("movement_causes") }}
),

decisions as (
    select
        program_id,
        subject_type,
        subject_id,
        period,
        movement
    from {{ ref("int_held_decisions") }}
    where period in (select targets.period from {{ source("ctl", "target_periods") }} as targets)
),

-- Who comes or goes had or has no level to compare.
came_and_went as (
    select * from decisions
    where movement in ('joined', 'left')
)

select
    program_id,
    subject_type,
    subject_id,
    period,
    movement_cause,
    previous_level_rank,
    level_rank,
    start_level_rank,
    qualified_level_rank,
    end_qualified_rank,
    step_ranks
from causes
union all
select
    program_id,
    subject_type,
    subject_id,
    period,
    movement as movement_cause,
    cast(null as integer) as previous_level_rank,
    cast(null as integer) as level_rank,
    cast(null as integer) as start_level_rank,
    cast(null as integer) as qualified_level_rank,
    cast(null as integer) as end_qualified_rank,
    cast(null as varchar) as step_ranks
from came_and_went
