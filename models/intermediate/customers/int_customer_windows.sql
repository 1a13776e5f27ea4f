{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook=[
            "{% if is_incremental() %}delete from {{ this }} where period_index >= (select first_changed_index from ctl.run) or period_index < (select totals_base_index - 2 from ctl.run){% endif %}",
            "{{ plain_storage(true) }}",
        ],
        post_hook="{{ plain_storage(false) }}",
    )
}}

with run as (
    select * from {{ source("ctl", "run") }}
),

bill_months as (
    select
        *,
        spend_amount > 0 as is_active,
        period_index as first_bill_index,
        period_index as last_bill_index
    from {{ ref("int_customer_months") }}
    where customer_id is not null
),

points_months as (
    select * from {{ ref("int_points_months") }}
),

-- One row a customer without any amount, so that who has never had a bill has windows too, of zero; -1 is no month.
customers as (
    select distinct
        customer_id,
        -1 as period_index
    from {{ ref("stg_landing__customers") }}
),

{% if is_incremental() -%}
    -- What every month up to the base period adds up to, as one row a customer.
    carried as (
        select
            customer_id,
            -1 as period_index,
            {{ columns_without_prefix("total_") }}
        from {{ this }}
        where period_index = (select totals_base_index from run)
    ),

{% endif -%}
all_months as (
    {{ union_by_name(["bill_months", "points_months", "customers"] + (["carried"] if is_incremental() else [])) }}
),

months as (
    select
        *,
        period_index = -1 or period_index > coalesce((select totals_base_index from run), -1) as is_after_base
    from all_months
)

-- `case` inside of the aggregates: DuckDB takes a third longer with `filter`.
select
    m.customer_id,
    {{ period_from_index("t.period_index") }} as period,
    t.period_index,
    cast(coalesce(sum(case when m.period_index = t.period_index then m.net_amount end), 0) as decimal(18, 4)) as net_amount,
    cast(coalesce(sum(case when m.period_index = t.period_index then m.spend_amount end), 0) as decimal(18, 4)) as spend_amount,
    cast(coalesce(sum(case when m.period_index = t.period_index then m.bill_line_count end), 0) as bigint) as bill_line_count,
    min(case when m.is_after_base then m.first_bill_index end) as total_first_bill_index,
    max(case when m.is_after_base then m.last_bill_index end) as total_last_bill_index{{ compiled_columns("window_metrics", "carried_totals") }}
from months as m
inner join {{ source("ctl", "window_months") }} as t on m.period_index = t.month_index
group by m.customer_id, t.period_index
