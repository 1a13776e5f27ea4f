{{
    config(
        materialized="incremental",
        incremental_strategy="microbatch",
        event_time="period_date",
        batch_size="month",
        begin="2000-01-01",
        lookback=0,
        concurrent_batches=false,
        on_schema_change="append_new_columns",
        pre_hook="{% if is_incremental() %}alter table {{ this }} add column if not exists previous_period_index integer{% endif %}",
    )
}}

with qualified as (
    select
        *,
        {{ period_index("period") }} as period_index
    from {{ ref("int_program_decisions") }}
    {%- if batch_period() %}
        where period = '{{ batch_period() }}'
    {%- endif %}
),

overrides as (
    select * from {{ ref("int_approved_overrides") }}
),

programs as (
    select
        program_id,
        coalesce(clock, 'month') = 'event' as is_event
    from {{ source("policy", "programs") }}
    where enabled
),

levels as (
    select
        program_id,
        level_id,
        rank as level_rank
    from {{ source("policy", "levels") }}
),

lower_levels as (
    {{ lower_levels() }}
),

versions as (
    select * from {{ source("policy", "policy_versions") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- The month before: this model's own rows, so that a range of months is one start and each month sees the one before it. Who was not
-- evaluated in it is compared with the level shown last.
{% if is_incremental() -%}
    month_before as (
        select
            program_id,
            subject_type,
            subject_id,
            period_index + 1 as period_index,
            {{ level_shown_last("level_id") }} as level_id,
            {{ level_shown_last("level_rank") }} as level_rank,
            -- Rows of before there was the column know of no earlier month.
            coalesce({{ level_shown_last("period_index") }}, period_index - 1) as shown_period_index,
            held_level_id,
            held_since_period,
            valid_until_period
        from {{ this }}
        where
            ({{ level_shown_last("level_id") }} is not null or held_level_id is not null)
            {%- if month_before_batch() %}
                and period_index = {{ month_before_batch() }}
            {%- endif %}
    ),
{%- else -%}
    month_before as (
        select
            program_id,
            subject_type,
            subject_id,
            period_index,
            qualified_level_id as level_id,
            qualified_rank as level_rank,
            period_index as shown_period_index,
            qualified_level_id as held_level_id,
            period as held_since_period,
            period as valid_until_period
        from qualified
        where false
    ),
{%- endif %}

programs_before as (
    select distinct
        program_id,
        period_index
    from month_before
),

-- An event has no month before it. A held level that the program no longer has is not held. Ranks are those of today, so that a level
-- that was put between others moves nobody; of a shown level that the program no longer has, the rank is the one that it had.
before as (
    select
        month_before.program_id,
        month_before.subject_type,
        month_before.subject_id,
        targets.period,
        month_before.period_index,
        month_before.level_id,
        coalesce(shown_levels.level_rank, month_before.level_rank) as level_rank,
        case when month_before.level_id is not null then month_before.shown_period_index end as shown_period_index,
        held_levels.level_id as held_level_id,
        held_levels.level_rank as held_level_rank,
        month_before.held_since_period,
        month_before.valid_until_period
    from month_before
    inner join targets on month_before.period_index = targets.period_index
    inner join programs on month_before.program_id = programs.program_id and not programs.is_event
    left join levels as shown_levels
        on month_before.program_id = shown_levels.program_id and month_before.level_id = shown_levels.level_id
    left join levels as held_levels
        on month_before.program_id = held_levels.program_id and month_before.held_level_id = held_levels.level_id
),

-- What the review of a version needs to know of a month: months are reckoned here, not row by row.
terms as (
    select
        versions.program_id,
        versions.version as policy_version,
        targets.period,
        coalesce(versions.validity_months, 0) > 0 and not programs.is_event as has_review,
        coalesce(versions.fall, 'to_qualified') = 'one_level' as falls_one_level,
        coalesce(versions.grace_months, 0) as grace_months,
        {{ period_from_index("(targets.period_index + coalesce(versions.validity_months, 0) - 1)") }} as next_valid_until_period,
        -- A level that was valid until this month or later is still in grace.
        {{ period_from_index("(targets.period_index - coalesce(versions.grace_months, 0))") }} as first_period_in_grace,
        programs_before.program_id is not null and not programs.is_event as was_graded_before
    from versions
    inner join programs on versions.program_id = programs.program_id
    cross join targets
    left join programs_before on versions.program_id = programs_before.program_id and targets.period_index = programs_before.period_index
),

-- Rows without a side of their own month are leavers: graded last month, and of no scope in this one.
met as (
    select
        coalesce(qualified.program_id, before.program_id) as program_id,
        coalesce(qualified.subject_type, before.subject_type) as subject_type,
        coalesce(qualified.subject_id, before.subject_id) as subject_id,
        coalesce(qualified.period, before.period) as period,
        coalesce(qualified.period_index, before.period_index) as period_index,
        coalesce(qualified.period_date, {{ first_day("before.period") }}) as period_date,
        coalesce(qualified.status, 'out_of_scope') as status,
        case when qualified.program_id is null then 'left' else qualified.status_reason end as status_reason,
        qualified.matched_rule_id,
        qualified.policy_version,
        qualified.policy_hash,
        qualified.qualified_level_id,
        qualified.qualified_rank as qualified_level_rank,
        qualified.cap_id,
        qualified.cap_level_id,
        qualified.cap_rank as cap_level_rank,
        qualified.next_level_id,
        qualified.missing_attribute,
        qualified.missing_amount,
        qualified.is_amount_enough,
        qualified.population_size,
        qualified.population_rank,
        qualified.score,
        qualified.rank_value,
        qualified.event_date,
        qualified.evidence,
        before.level_id as previous_level_id,
        before.level_rank as previous_level_rank,
        before.shown_period_index as previous_period_index,
        before.held_level_id as held_before_id,
        before.held_level_rank as held_before_rank,
        before.held_since_period as held_before_since_period,
        before.valid_until_period as held_before_until_period
    from qualified
    full outer join before
        on
            qualified.program_id = before.program_id
            and qualified.subject_type = before.subject_type
            and qualified.subject_id = before.subject_id
            and qualified.period_index = before.period_index
    where qualified.program_id is not null or before.level_id is not null
),

reviewed as (
    select
        met.*,
        lower_levels.lower_level_id,
        lower_levels.lower_level_rank,
        terms.next_valid_until_period,
        terms.grace_months,
        coalesce(terms.was_graded_before, false) as was_graded_before,
        case
            when met.status <> 'decided' then null
            when not coalesce(terms.has_review, false) then 'follows'
            when met.held_before_id is null then 'first'
            when met.qualified_level_rank > met.held_before_rank then 'rose'
            -- A level that was held without validity has no month until which it is held: its first review is due.
            when met.period <= met.held_before_until_period then 'held'
            when met.qualified_level_rank = met.held_before_rank then 'renewed'
            when met.held_before_until_period >= terms.first_period_in_grace then 'grace'
            when terms.falls_one_level then 'fell_one_level'
            else 'fell_to_qualified'
        end as review
    from met
    left join terms
        on met.program_id = terms.program_id and met.policy_version = terms.policy_version and met.period = terms.period
    left join lower_levels
        on
            met.program_id = lower_levels.program_id
            and met.policy_version = lower_levels.policy_version
            and met.held_before_id = lower_levels.level_id
),

-- Who is not evaluated keeps what was held, with its months.
held as (
    select
        *,
        case
            when review in ('held', 'renewed', 'grace') then held_before_id
            when review = 'fell_one_level' then lower_level_id
            when review is not null then qualified_level_id
            when status = 'not_evaluated' then held_before_id
        end as held_level_id,
        case
            when review in ('held', 'renewed', 'grace') then held_before_rank
            when review = 'fell_one_level' then lower_level_rank
            when review is not null then qualified_level_rank
            when status = 'not_evaluated' then held_before_rank
        end as held_level_rank,
        case
            when review in ('held', 'grace') then held_before_until_period
            when review <> 'follows' then next_valid_until_period
            when status = 'not_evaluated' and held_before_id is not null then held_before_until_period
        end as valid_until_period
    from reviewed
),

-- What covers the held level does not change it: the lowest cap, then the highest at-least override, then the newest set one.
capped as (
    select
        held.*,
        case when cap_level_rank < held_level_rank then cap_level_id else held_level_id end as capped_level_id,
        case when cap_level_rank < held_level_rank then cap_level_rank else held_level_rank end as capped_level_rank,
        overrides.at_least_level_id,
        overrides.at_least_level_rank,
        overrides.at_least_nomination_id,
        overrides.set_level_id,
        overrides.set_level_rank,
        overrides.set_nomination_id
    from held
    left join overrides
        on
            held.program_id = overrides.program_id
            and held.subject_id = overrides.subject_id
            and held.period = overrides.period
            and held.status = 'decided'
),

raised as (
    select
        *,
        case when at_least_level_rank > capped_level_rank then at_least_level_id else capped_level_id end as raised_level_id,
        case when at_least_level_rank > capped_level_rank then at_least_level_rank else capped_level_rank end as raised_level_rank
    from capped
),

covered as (
    select
        *,
        case
            when review in ('held', 'renewed') then concat(review, ' until ', valid_until_period)
            when review = 'grace' then concat('grace until ', {{ period_from_index("(" ~ period_index("valid_until_period") ~ " + grace_months)") }})
            else replace(review, '_', ' ')
        end as review_reason,
        case when status = 'decided' then coalesce(set_level_id, raised_level_id) end as level_id,
        case when status = 'decided' then coalesce(set_level_rank, raised_level_rank) end as level_rank
    from raised
)

select
    cast(program_id as varchar) as program_id,
    cast(subject_type as varchar) as subject_type,
    cast(subject_id as varchar) as subject_id,
    cast(period as varchar) as period,
    cast(period_index as integer) as period_index,
    period_date,
    cast(level_id as varchar) as level_id,
    cast(level_rank as integer) as level_rank,
    cast(qualified_level_id as varchar) as qualified_level_id,
    cast(qualified_level_rank as integer) as qualified_level_rank,
    cast(held_level_id as varchar) as held_level_id,
    cast(held_level_rank as integer) as held_level_rank,
    {{ decision_steps() }} as steps,
    cast(status as varchar) as status,
    cast(status_reason as varchar) as status_reason,
    cast(matched_rule_id as varchar) as matched_rule_id,
    cast(policy_version as varchar) as policy_version,
    cast(policy_hash as varchar) as policy_hash,
    cast(previous_level_id as varchar) as previous_level_id,
    cast(previous_level_rank as integer) as previous_level_rank,
    case
        when level_id is null and previous_level_id is not null and status = 'out_of_scope' then 'left'
        when level_id is null then null
        when level_id = previous_level_id then 'same'
        when previous_level_id is not null and level_rank > previous_level_rank then 'rose'
        when previous_level_id is not null and level_rank < previous_level_rank then 'fell'
        when previous_level_id is not null then 'same'
        when was_graded_before then 'joined'
        else 'first'
    end as movement,
    case
        when held_level_id = held_before_id then held_before_since_period
        when held_level_id is not null then period
    end as held_since_period,
    cast(valid_until_period as varchar) as valid_until_period,
    cast(next_level_id as varchar) as next_level_id,
    cast(missing_attribute as varchar) as missing_attribute,
    cast(missing_amount as decimal(18, 4)) as missing_amount,
    cast(population_size as bigint) as population_size,
    cast(population_rank as bigint) as population_rank,
    cast(score as decimal(18, 6)) as score,
    cast(evidence as varchar) as evidence,
    cast(review as varchar) as review,
    cast(case when status = 'decided' then cap_level_rank end as integer) as cap_level_rank,
    cast(at_least_level_rank as integer) as at_least_level_rank,
    cast(set_level_rank as integer) as set_level_rank,
    cast(event_date as date) as event_date,
    cast(rank_value as decimal(24, 4)) as rank_value,
    cast(case when status = 'decided' then cap_level_id end as varchar) as cap_level_id,
    cast(at_least_level_id as varchar) as at_least_level_id,
    cast(set_level_id as varchar) as set_level_id,
    cast(is_amount_enough as boolean) as is_amount_enough,
    cast(previous_period_index as integer) as previous_period_index
from covered
