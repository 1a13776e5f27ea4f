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
{%- set carries_points = compiled("points_carried_totals") | trim != "" %}

with run as (
    select * from {{ source("ctl", "run") }}
),

window_months as (
    select * from {{ source("ctl", "window_months") }}
),

targets as (
    select distinct
        period,
        period_index
    from window_months
),

bill_months as (
    select
        *,
        spend_amount > 0 as is_active,
        period_index as first_bill_index,
        period_index as last_bill_index,
        case when spend_amount > 0 then period_index end as last_active_index
    from {{ ref("int_customer_months") }}
    where customer_id is not null
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
bill_rows as (
    {{ union_by_name(["bill_months", "customers"] + (["carried"] if is_incremental() else [])) }}
),

bills as (
    select
        *,
        period_index = -1 or period_index > coalesce((select totals_base_index from run), -1) as is_after_base
    from bill_rows
),

-- `case` inside of the aggregates: DuckDB takes a third longer with `filter`.
bill_windows as (
    select
        m.customer_id,
        t.period_index,
        sum(case when m.period_index = t.period_index then m.net_amount end) as net_amount,
        sum(case when m.period_index = t.period_index then m.spend_amount end) as spend_amount,
        sum(case when m.period_index = t.period_index then m.bill_line_count end) as bill_line_count,
        min(case when m.is_after_base then m.first_bill_index end) as total_first_bill_index,
        max(case when m.is_after_base then m.last_active_index end) as total_last_active_index,
        max(case when m.is_after_base then m.last_bill_index end) as total_last_bill_index{{ compiled_columns("window_metrics", "carried_totals") }}
    from bills as m
    inner join window_months as t on m.period_index = t.month_index
    group by m.customer_id, t.period_index
),

point_months as (
    select * from {{ ref("int_points_months") }}
),

point_rows as (
    {{ union_by_name(["point_months"] + (["carried"] if is_incremental() and carries_points else [])) }}
),

points as (
    select
        *,
        period_index = -1 or period_index > coalesce((select totals_base_index from run), -1) as is_after_base
    from point_rows
),

-- Apart from the bills: there are as many rows of points as of bills, and few windows ask for them.
point_windows as (
    select
        m.customer_id,
        t.period_index{{ compiled_columns("points_window_metrics", "points_carried_totals") }}
    from points as m
    inner join window_months as t on m.period_index = t.month_index
    group by m.customer_id, t.period_index
),

windows as (
    select
        b.customer_id,
        b.period_index,
        cast(coalesce(b.net_amount, 0) as decimal(18, 4)) as net_amount,
        cast(coalesce(b.spend_amount, 0) as decimal(18, 4)) as spend_amount,
        cast(coalesce(b.bill_line_count, 0) as bigint) as bill_line_count,
        b.total_first_bill_index,
        b.total_last_bill_index,
        b.total_last_active_index{{ compiled_columns("window_columns") }}
    from bill_windows as b
    left join point_windows as p on b.customer_id = p.customer_id and b.period_index = p.period_index
)

select
    windows.*,
    targets.period
from windows
inner join targets on windows.period_index = targets.period_index
