{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period in (select period from ctl.input_periods){% endif %}",
    )
}}

with points as (
    select * from {{ ref("stg_landing__points") }}
),

points_months as (
    select
        p.customer_id,
        p.period,
        count(*) as points_row_count{{ compiled_columns("points_measures") }}
    from points as p
    group by p.customer_id, p.period
)

select
    *,
    {{ period_index("period") }} as period_index
from points_months
