with landed as (
    select * from {{ source("landing", "lines") }}
),

-- Most numbers have had one holder: only the others are put in order.
passed_on as (
    select line_id
    from landed
    group by line_id
    having count(*) > 1
),

ordered as (
    select
        *,
        cast(null as date) as next_start_date
    from landed
    where line_id not in (select passed_on.line_id from passed_on where passed_on.line_id is not null)
    union all
    select
        *,
        lead(start_date) over (partition by line_id order by start_date, _source) as next_start_date
    from landed
    where line_id in (select passed_on.line_id from passed_on)
)

-- A number has one holder a day: who takes it over ends the interval before, whatever that one's end date says.
select
    line_id,
    customer_id,
    start_date,
    case
        when next_start_date is null then end_date
        when end_date is null or end_date >= next_start_date then {{ add_days("next_start_date", -1) }}
        else end_date
    end as end_date,
    is_primary,
    plan,
    _source,
    _file_id,
    _row
from ordered
