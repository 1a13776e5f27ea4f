with lines as (
    select * from {{ ref("stg_landing__lines") }}
),

intervals as (
    select
        line_id,
        customer_id,
        start_date,
        end_date,
        {{ month_index("start_date") }} as first_index,
        coalesce({{ month_index("end_date") }}, 999999) as last_index
    from lines
    where end_date is null or end_date >= start_date
)

select
    line_id,
    customer_id,
    start_date,
    end_date,
    first_index,
    last_index,
    lag(last_index) over (partition by line_id order by start_date) as last_index_before,
    lead(first_index) over (partition by line_id order by start_date) as first_index_after
from intervals
