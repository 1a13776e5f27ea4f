{{ config(materialized="view") }}

with decisions as (
    select * from {{ ref("int_held_decisions") }}
)

select
    program_id,
    subject_type,
    subject_id,
    period,
    period_index,
    period_date,
    level_id,
    level_rank,
    qualified_level_id,
    qualified_level_rank,
    held_level_id,
    held_level_rank,
    steps,
    status,
    status_reason,
    matched_rule_id,
    policy_version,
    policy_hash,
    previous_level_id,
    previous_level_rank,
    movement,
    cast(null as varchar) as movement_cause,
    held_since_period,
    valid_until_period,
    next_level_id,
    missing_attribute,
    missing_amount,
    population_size,
    population_rank,
    score,
    evidence,
    review,
    cap_level_rank,
    at_least_level_rank,
    set_level_rank,
    event_date,
    rank_value
from decisions
