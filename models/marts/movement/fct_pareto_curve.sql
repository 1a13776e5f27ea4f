{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period in (select period from ctl.target_periods){% endif %}",
    )
}}

with contributions as (
    select
        decisions.program_id,
        decisions.period,
        decisions.level_id,
        decisions.level_rank,
        decisions.rank_value
    from {{ ref("int_held_decisions") }} as decisions
    inner join {{ source("policy", "programs") }} as programs on decisions.program_id = programs.program_id
    inner join {{ source("ctl", "target_periods") }} as targets on decisions.period = targets.period
    where programs.method = 'percentile' and decisions.rank_value is not null
),

-- Equal amounts stay together: what follows counts steps of the curve, not subjects in some order.
amounts as (
    select
        program_id,
        period,
        rank_value,
        count(*) as subjects,
        sum(rank_value) as amount
    from contributions
    group by program_id, period, rank_value
),

summed as (
    select
        program_id,
        period,
        rank_value,
        sum(subjects) over down_to_here as subjects,
        sum(amount) over down_to_here as amount,
        sum(greatest(amount, 0)) over down_to_here as positive_amount,
        sum(subjects) over everybody as all_subjects,
        sum(amount) over everybody as total_amount,
        sum(greatest(amount, 0)) over everybody as total_positive_amount,
        sum(subjects) over down_to_here - subjects as subjects_above,
        sum(amount) over down_to_here - amount as amount_above,
        sum(greatest(amount, 0)) over down_to_here - greatest(amount, 0) as positive_amount_above
    from amounts
    window
        down_to_here as (partition by program_id, period order by rank_value desc rows between unbounded preceding and current row),
        everybody as (partition by program_id, period)
),

-- Per cents of the subjects that the curve has reached with a step, and had reached before it.
reached as (
    select
        *,
        cast(subjects * 100 // all_subjects as bigint) as reached_pct,
        cast(subjects_above * 100 // all_subjects as bigint) as reached_pct_above
    from summed
),

-- The first step of the curve that holds so many per cent of the subjects.
per_cent_points as (
    select
        *,
        cast(unnest(range(reached_pct_above + 1, reached_pct + 1)) as integer) as subjects_pct
    from reached
    where reached_pct > reached_pct_above
),

level_tops as (
    select
        program_id,
        period,
        level_id,
        level_rank,
        max(rank_value) as rank_value
    from contributions
    where level_id is not null
    group by program_id, period, level_id, level_rank
),

points as (
    select
        program_id,
        period,
        'per_cent' as point_kind,
        subjects_pct,
        cast(null as varchar) as level_id,
        cast(null as integer) as level_rank,
        subjects,
        rank_value,
        amount,
        positive_amount,
        all_subjects,
        total_amount,
        total_positive_amount
    from per_cent_points
    union all
    select
        summed.program_id,
        summed.period,
        'level_begins' as point_kind,
        cast(null as integer) as subjects_pct,
        level_tops.level_id,
        level_tops.level_rank,
        summed.subjects_above as subjects,
        summed.rank_value,
        summed.amount_above as amount,
        summed.positive_amount_above as positive_amount,
        summed.all_subjects,
        summed.total_amount,
        summed.total_positive_amount
    from level_tops
    inner join summed
        on
            level_tops.program_id = summed.program_id
            and level_tops.period = summed.period
            and level_tops.rank_value = summed.rank_value
)

select
    program_id,
    period,
    point_kind,
    subjects_pct,
    level_id,
    level_rank,
    cast(subjects as bigint) as subjects,
    cast(rank_value as decimal(24, 4)) as bar_amount,
    cast(amount as decimal(38, 4)) as cumulative_amount,
    cast(cast(subjects as double) / all_subjects as decimal(18, 6)) as subjects_share,
    cast(
        case when total_positive_amount > 0 then cast(positive_amount as double) / cast(total_positive_amount as double) end as decimal(18, 6)
    ) as contribution_share,
    -- Of sums that all but cancel no share can be written.
    try_cast(
        case when total_amount > 0 then cast(amount as double) / cast(total_amount as double) end as decimal(18, 6)
    ) as net_contribution_share
from points
