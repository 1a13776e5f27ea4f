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

-- Who comes or goes had or has no level to compare. The decisions are named where they are read, not as one CTE: an engine that keeps
-- a CTE would copy all of them with their evidence.
came_and_went as (
    select *
    from {{ ref("int_held_decisions") }}
    where
        period in (select targets.period from {{ source("ctl", "target_periods") }} as targets)
        and movement in ('joined', 'left')
),

before as (
    select
        program_id,
        subject_type,
        subject_id,
        period_index,
        evidence
    from {{ ref("int_held_decisions") }}
    where
        period_index in (
            select coalesce(came_and_went.previous_period_index, came_and_went.period_index - 1)
            from came_and_went
            where came_and_went.movement = 'left'
        )
)

select
    program_id,
    subject_type,
    subject_id,
    period,
    movement_cause,
    previous_level_id,
    previous_level_rank,
    level_id,
    level_rank,
    start_level_rank,
    qualified_level_rank,
    end_qualified_rank,
    step_ranks,
    evidence_before,
    evidence
from causes
union all
select
    came_and_went.program_id,
    came_and_went.subject_type,
    came_and_went.subject_id,
    came_and_went.period,
    came_and_went.movement as movement_cause,
    came_and_went.previous_level_id,
    came_and_went.previous_level_rank,
    came_and_went.level_id,
    came_and_went.level_rank,
    cast(null as integer) as start_level_rank,
    came_and_went.qualified_level_rank,
    cast(null as integer) as end_qualified_rank,
    cast(null as varchar) as step_ranks,
    before.evidence as evidence_before,
    case when came_and_went.movement = 'joined' then came_and_went.evidence end as evidence
from came_and_went
left join before
    on
        came_and_went.movement = 'left'
        and came_and_went.program_id = before.program_id
        and came_and_went.subject_type = before.subject_type
        and came_and_went.subject_id = before.subject_id
        and coalesce(came_and_went.previous_period_index, came_and_went.period_index - 1) = before.period_index
