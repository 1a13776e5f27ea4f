with intervals as (
    select
        customer_id,
        {{ month_index("start_date") }} as first_index,
        coalesce({{ month_index("end_date") }}, 999999) as last_index
    from {{ ref("stg_landing__lines") }}
    where end_date is null or end_date >= start_date
),

-- How many months before the target an interval begins (from_bit is nearer to the target, to_bit further back).
bits as (
    select
        intervals.customer_id,
        targets.period,
        greatest(targets.period_index - intervals.last_index, 0) as from_bit,
        least(targets.period_index - intervals.first_index, 59) as to_bit
    from intervals
    -- Of who takes the first number later, other days say until then since when there was service.
    inner join {{ source("ctl", "target_periods") }} as targets on intervals.first_index <= targets.period_index
)

select
    customer_id,
    period,
    bit_or(case when to_bit >= from_bit then {{ month_bits("from_bit", "to_bit") }} else 0 end) as line_mask
from bits
group by customer_id, period
