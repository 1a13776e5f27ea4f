{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period in (select period from ctl.target_periods){% endif %}",
    )
}}

with served as (
    select * from {{ ref("int_customer_metrics") }}
),

next_levels as (
    select * from {{ ref("dim_levels") }}
),

lower_levels as (
    {{ lower_levels() }}
),

versions as (
    select * from {{ source("policy", "policy_versions") }}
),

-- What a missing amount is an amount of.
sums as (
    select
        attributes.attribute_id,
        metrics.metric_id,
        metrics.measure_id,
        metrics.window as window_kind,
        attributes.months_metric_id,
        cast(nullif(regexp_extract(metrics.window, '^([0-9]+)m$', 1), '') as integer) as window_months
    from {{ source("policy", "attributes") }} as attributes
    inner join {{ source("policy", "metrics") }} as metrics on attributes.metric_id = metrics.metric_id
    where attributes.kind in ('metric', 'average') and attributes.subject_type = 'customer'
),

decisions as (
    select
        decisions.*,
        next_levels.level_rank as next_level_rank,
        lower_levels.lower_level_id,
        coalesce(versions.grace_months, 0) as grace_months,
        coalesce(versions.fall, 'to_qualified') = 'one_level' as falls_one_level
    from {{ ref("int_held_decisions") }} as decisions
    inner join {{ source("ctl", "target_periods") }} as targets on decisions.period = targets.period
    left join next_levels on decisions.program_id = next_levels.program_id and decisions.next_level_id = next_levels.level_id
    left join lower_levels
        on
            decisions.program_id = lower_levels.program_id
            and decisions.policy_version = lower_levels.policy_version
            and decisions.held_level_id = lower_levels.level_id
    left join versions on decisions.program_id = versions.program_id and decisions.policy_version = versions.version
    where decisions.status = 'decided'
),

-- Only a level above the one that is held is a rise, and only where caps and overrides in force let it be seen; only a level that is no
-- longer qualified for can fall.
candidates as (
    select
        *,
        coalesce(
            next_level_rank > held_level_rank
            and is_amount_enough
            and missing_amount is not null
            and coalesce(
                set_level_rank,
                greatest(least(next_level_rank, coalesce(cap_level_rank, next_level_rank)), coalesce(at_least_level_rank, 0))
            ) > level_rank,
            false
        ) as can_rise,
        coalesce(qualified_level_rank < held_level_rank and valid_until_period is not null, false) as can_fall
    from decisions
),

-- recent_amount: of the last three months; window_amount and divided_months: what is compared with the bar, and by how many months an
-- average of it is divided.
summed as (
    select
        candidates.*,
        sums.window_kind,
        sums.window_months,
        sums.months_metric_id is not null as is_average,
        served.service_mask,
        cast(greatest(bit_count(served.service_mask & 7), 1) as bigint) as recent_months{{ compiled_columns("present_paces") }}
    from candidates
    left join sums on candidates.can_rise and candidates.missing_attribute = sums.attribute_id
    left join served
        on candidates.subject_type = 'customer' and candidates.subject_id = served.customer_id and candidates.period = served.period
    where candidates.can_fall or sums.attribute_id is not null
),

paced as (
    select
        *,
        coalesce(divided_months, window_months) as months_divided_by,
        cast(cast(recent_amount as decimal(38, 4)) * 10000 as bigint) // recent_months as pace_units,
        cast(cast(window_amount as decimal(38, 4)) * 10000 as bigint) as window_units,
        cast(cast(missing_amount as decimal(38, 4)) * 10000 as bigint) as missing_units,
        case
            when is_average or window_months is null then 0
            {%- for months in range(var("likely_to_rise_months") | int) %}
            when (service_mask >> greatest(window_months - {{ months + 1 }}, 0)) & 1 = 1 then {{ months }}
            {%- endfor %}
            else least({{ var("likely_to_rise_months") }}, window_months - 1)
        end as months_until_full
    from summed
),

-- What a month at the present pace brings nearer: of a full window less what leaves it, of an average that is still filling less what
-- a further month asks for. From a sum nothing leaves as long as the oldest months of its window are from before the subject's time
-- (months_until_full; no more of them than are looked ahead).
gaining as (
    select
        *,
        case
            when is_average and (window_kind = 'ytd' or months_divided_by < window_months)
                then pace_units - (window_units + missing_units) // months_divided_by
            when window_kind in ('total', 'ytd') then pace_units
            when window_months is not null then pace_units - window_units // (window_months - months_until_full)
        end as gain_units
    from paced
),

reckoned as (
    select
        *,
        case
            when pace_units > 0 and missing_units <= months_until_full * pace_units then (missing_units + pace_units - 1) // pace_units
            when gain_units > 0 then months_until_full + (missing_units - months_until_full * pace_units + gain_units - 1) // gain_units
        end as months_needed,
        {{ period_index("valid_until_period") }} + 1 - period_index as months_to_review
    from gaining
),

pathed as (
    select
        *,
        -- A window is all of the present pace after its own months, and a calendar year ends in December.
        case
            when window_kind = 'ytd' and months_needed > 11 - period_index % 12 then null
            when window_months is not null and months_needed > window_months then null
            else months_needed
        end as months_to_next_level
    from reckoned
)

select
    program_id,
    subject_type,
    subject_id,
    period,
    level_id,
    level_rank,
    held_level_id,
    qualified_level_id,
    case when can_rise then next_level_id end as next_level_id,
    case when can_rise then missing_attribute end as missing_attribute,
    case when can_rise then missing_amount end as missing_amount,
    cast(pace_units * 0.0001 as decimal(18, 4)) as pace_amount,
    cast(months_to_next_level as integer) as months_to_next_level,
    coalesce(can_rise and months_to_next_level <= {{ var("likely_to_rise_months") }}, false) as is_likely_to_rise,
    case when can_fall then valid_until_period end as valid_until_period,
    cast(case when can_fall then months_to_review end as integer) as months_to_review,
    case when can_fall then {{ period_from_index("(period_index + months_to_review + grace_months)") }} end as falls_in_period,
    case when can_fall and falls_one_level then lower_level_id when can_fall then qualified_level_id end as falls_to_level_id,
    coalesce(can_fall and months_to_review <= {{ var("review_ahead_months") }}, false) as is_about_to_fall
from pathed
where
    (can_rise and months_to_next_level <= {{ var("likely_to_rise_months") }})
    or (can_fall and months_to_review <= {{ var("review_ahead_months") }})
