{{ config(materialized="view") }}

with movements as (
    select * from {{ ref("int_movement_causes") }}
),

causes as (
    select * from {{ ref("dim_movement_causes") }}
)

select
    movements.program_id,
    movements.subject_type,
    movements.subject_id,
    movements.period,
    movements.previous_level_id as from_level_id,
    movements.previous_level_rank as from_level_rank,
    movements.level_id as to_level_id,
    movements.level_rank as to_level_rank,
    cast(
        case
            when movements.movement_cause in ('joined', 'left') then movements.movement_cause
            when movements.level_rank > movements.previous_level_rank then 'rose'
            when movements.level_rank < movements.previous_level_rank then 'fell'
            else 'renamed'
        end as varchar
    ) as direction,
    movements.movement_cause,
    causes.name_en as cause_en,
    causes.name_zh as cause_zh,
    movements.step_ranks,
    movements.evidence_before as values_before,
    movements.evidence as values_after
from movements
left join causes on movements.movement_cause = causes.movement_cause
