{{
    config(
        materialized="incremental",
        incremental_strategy="microbatch",
        event_time="period_date",
        batch_size="month",
        begin="2000-01-01",
        lookback=0,
        concurrent_batches=false,
        on_schema_change="fail",
    )
}}

with qualified as (
    select
        *,
        {{ period_index("period") }} as period_index
    from {{ ref("int_program_decisions") }}
),

programs as (
    select program_id
    from {{ source("policy", "programs") }}
    where enabled
),

-- The month before: this model's own rows, so that a range of months is one start and each month sees the one before it.
{% if is_incremental() -%}
    before as (
        select
            program_id,
            subject_type,
            subject_id,
            period_index + 1 as period_index,
            level_id,
            level_rank,
            held_level_id,
            held_since_period
        from {{ this }}
        {%- if month_before_batch() %}
            where period_index = {{ month_before_batch() }}
        {%- endif %}
    ),
{%- else -%}
    before as (
        select
            program_id,
            subject_type,
            subject_id,
            period_index,
            qualified_level_id as level_id,
            qualified_rank as level_rank,
            qualified_level_id as held_level_id,
            period as held_since_period
        from qualified
        where false
    ),
{%- endif %}

programs_before as (
    select distinct
        program_id,
        period_index
    from before
),

-- Review: validity, grace and one-step falls will decide here which level is held; until then it is the qualified one.
held as (
    select
        *,
        qualified_level_id as held_level_id,
        qualified_rank as held_level_rank
    from qualified
),

-- Caps, then at-least, then set overrides will cover the held level here; they never change it.
covered as (
    select
        *,
        held_level_id as level_id,
        held_level_rank as level_rank
    from held
),

moved as (
    select
        covered.*,
        before.level_id as previous_level_id,
        before.level_rank as previous_level_rank,
        case
            when covered.level_id is null and before.level_id is not null and covered.status = 'out_of_scope' then 'left'
            when covered.level_id is null then null
            when before.level_id is not null and covered.level_rank > before.level_rank then 'rose'
            when before.level_id is not null and covered.level_rank < before.level_rank then 'fell'
            when before.level_id is not null then 'same'
            when programs_before.program_id is not null then 'joined'
            else 'first'
        end as movement,
        case
            when covered.held_level_id is null then null
            when covered.held_level_id = before.held_level_id then before.held_since_period
            else covered.period
        end as held_since_period
    from covered
    left join before
        on
            covered.program_id = before.program_id
            and covered.subject_type = before.subject_type
            and covered.subject_id = before.subject_id
            and covered.period_index = before.period_index
    left join programs_before on covered.program_id = programs_before.program_id and covered.period_index = programs_before.period_index
),

decisions as (
    select
        program_id,
        subject_type,
        subject_id,
        period,
        period_index,
        level_id,
        level_rank,
        qualified_level_id,
        qualified_rank as qualified_level_rank,
        held_level_id,
        held_level_rank,
        status,
        status_reason,
        matched_rule_id,
        policy_version,
        policy_hash,
        previous_level_id,
        previous_level_rank,
        movement,
        held_since_period,
        next_level_id,
        missing_attribute,
        missing_amount,
        evidence
    from moved
),

-- Graded last month and in no scope this month: one row that says so, and none after it.
leavers as (
    select
        before.program_id,
        before.subject_type,
        before.subject_id,
        targets.period,
        before.period_index,
        before.level_id as previous_level_id,
        before.level_rank as previous_level_rank
    from before
    inner join programs on before.program_id = programs.program_id
    inner join {{ source("ctl", "target_periods") }} as targets on before.period_index = targets.period_index
    where
        before.level_id is not null
        and not exists (
            select 1
            from qualified
            where
                qualified.program_id = before.program_id
                and qualified.subject_type = before.subject_type
                and qualified.subject_id = before.subject_id
                and qualified.period_index = before.period_index
        )
),

all_rows as (
    {{ union_by_name(["decisions", "(select *, 'out_of_scope' as status, 'left' as status_reason, 'left' as movement from leavers) as gone"]) }}
)

select
    cast(program_id as varchar) as program_id,
    cast(subject_type as varchar) as subject_type,
    cast(subject_id as varchar) as subject_id,
    cast(period as varchar) as period,
    cast(period_index as integer) as period_index,
    {{ first_day("period") }} as period_date,
    cast(level_id as varchar) as level_id,
    cast(level_rank as integer) as level_rank,
    cast(qualified_level_id as varchar) as qualified_level_id,
    cast(qualified_level_rank as integer) as qualified_level_rank,
    cast(held_level_id as varchar) as held_level_id,
    cast(held_level_rank as integer) as held_level_rank,
    -- What an auditor reads in order; a step that cannot change the level yet is not named.
    case
        when status = 'decided'
            then
                '[{"step":"scope","from":null,"to":null,"why":"in scope"},{"step":"qualified","from":null,"to":"'
                || qualified_level_id || '","why":"' || matched_rule_id || '"}]'
        else '[{"step":"scope","from":null,"to":null,"why":"' || coalesce(status_reason, status) || '"}]'
    end as steps,
    cast(status as varchar) as status,
    cast(status_reason as varchar) as status_reason,
    cast(matched_rule_id as varchar) as matched_rule_id,
    cast(policy_version as varchar) as policy_version,
    cast(policy_hash as varchar) as policy_hash,
    cast(previous_level_id as varchar) as previous_level_id,
    cast(previous_level_rank as integer) as previous_level_rank,
    cast(movement as varchar) as movement,
    cast(null as varchar) as movement_cause,
    cast(held_since_period as varchar) as held_since_period,
    cast(null as varchar) as valid_until_period,
    cast(next_level_id as varchar) as next_level_id,
    cast(missing_attribute as varchar) as missing_attribute,
    cast(missing_amount as decimal(18, 4)) as missing_amount,
    cast(null as bigint) as population_size,
    cast(null as bigint) as population_rank,
    cast(null as decimal(18, 6)) as score,
    cast(evidence as varchar) as evidence
from all_rows
