{{ config(event_time="period_date") }}
{%- set metrics = ref("int_customer_metrics") -%}
{%- set nominations = ref("int_approved_nominations") -%}

with decided as (
    {{ compiled("decisions") | replace("__METRICS__", metrics | string) | replace("__NOMINATIONS__", nominations | string) }}
)

select
    decided.*,
    {{ first_day("decided.period") }} as period_date
from decided
