{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period_index in (select period_index from ctl.input_periods){% endif %}",
    )
}}

with points as (
    select * from {{ ref("stg_landing__points") }}
),

points_months as (
    select
        p.customer_id,
        p.period as earned_period,
        count(*) as points_row_count{{ compiled_columns("points_measures") }}
    from points as p
    group by p.customer_id, p.period
)

select
    {{ all_but("points_months", "earned_period") }},
    input_periods.period_index
from points_months
inner join {{ source("ctl", "input_periods") }} as input_periods on points_months.earned_period = input_periods.period
