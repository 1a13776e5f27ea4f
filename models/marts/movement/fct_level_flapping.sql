{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period in (select period from ctl.target_periods){% endif %}",
    )
}}

with changes as (
    select
        program_id,
        subject_type,
        subject_id,
        period,
        movement_cause,
        level_rank,
        previous_level_rank
    from {{ ref("int_movement_causes") }}
    where period in (select target_periods.period from {{ source("ctl", "target_periods") }} as target_periods)
    union all
    select
        program_id,
        subject_type,
        subject_id,
        period,
        movement_cause,
        level_rank,
        previous_level_rank
    from {{ source("ctl", "released_movements") }}
),

movements as (
    select
        program_id,
        subject_type,
        subject_id,
        level_rank,
        previous_level_rank,
        {{ period_index("period") }} as period_index
    from changes
    where movement_cause not in ('joined', 'left')
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
)

select
    movements.program_id,
    movements.subject_type,
    movements.subject_id,
    targets.period,
    cast(count(*) as bigint) as changes_12m_count,
    cast(count(case when movements.level_rank > movements.previous_level_rank then 1 end) as bigint) as rises_12m_count,
    cast(count(case when movements.level_rank < movements.previous_level_rank then 1 end) as bigint) as falls_12m_count,
    cast(count(*) >= {{ var("flapping_changes") }} as boolean) as is_flapping
from movements
inner join targets on movements.period_index between targets.period_index - 11 and targets.period_index
group by movements.program_id, movements.subject_type, movements.subject_id, targets.period
