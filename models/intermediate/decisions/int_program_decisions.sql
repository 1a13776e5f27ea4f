{{ config(event_time="period_date") }}

with decided as (
    {{ compiled_relation("decisions") }}
)

select
    decided.*,
    {{ first_day("decided.period") }} as period_date
from decided
