{{ config(materialized="view") }}

with decisions as (
    select * from {{ ref("int_held_decisions") }}
),

causes as (
    select * from {{ ref("int_movement_causes") }}
)

select
    decisions.program_id,
    decisions.subject_type,
    decisions.subject_id,
    decisions.period,
    decisions.period_index,
    decisions.period_date,
    decisions.level_id,
    decisions.level_rank,
    decisions.qualified_level_id,
    decisions.qualified_level_rank,
    decisions.held_level_id,
    decisions.held_level_rank,
    decisions.steps,
    decisions.status,
    decisions.status_reason,
    decisions.matched_rule_id,
    decisions.policy_version,
    decisions.policy_hash,
    decisions.previous_level_id,
    decisions.previous_level_rank,
    decisions.movement,
    causes.movement_cause,
    decisions.held_since_period,
    decisions.valid_until_period,
    decisions.next_level_id,
    decisions.missing_attribute,
    decisions.missing_amount,
    decisions.population_size,
    decisions.population_rank,
    decisions.score,
    decisions.evidence,
    decisions.review,
    decisions.cap_level_rank,
    decisions.at_least_level_rank,
    decisions.set_level_rank,
    decisions.event_date,
    decisions.rank_value
from decisions
left join causes
    on
        decisions.program_id = causes.program_id
        and decisions.subject_type = causes.subject_type
        and decisions.subject_id = causes.subject_id
        and decisions.period = causes.period
