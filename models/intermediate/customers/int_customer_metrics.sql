{{ config(materialized="table", pre_hook="{{ plain_storage(true) }}", post_hook="{{ plain_storage(false) }}") }}

with attributes as (
    select
        *,
        {{ month_index("joined_date") }} as joined_index,
        {{ month_index("left_date") }} as left_index
    from {{ ref("int_customer_attributes") }}
),

line_service as (
    select * from {{ ref("int_customer_line_service") }}
),

windows as (
    select windows.*
    from {{ ref("int_customer_windows") }} as windows
    inner join {{ source("ctl", "target_periods") }} as targets on windows.period = targets.period
),

joined as (
    select
        windows.*,
        attributes.brand,
        attributes.plan,
        attributes.region,
        attributes.segment,
        attributes.is_real_name,
        attributes.credit_class,
        attributes.joined_date,
        attributes.left_date,
        attributes.left_index,
        attributes.away_mask,
        line_service.line_mask,
        coalesce(attributes.joined_index, windows.total_first_bill_index) as first_index,
        case
            when attributes.away_mask is null then coalesce(attributes.joined_index, windows.total_first_bill_index)
            else coalesce({{ month_index("attributes.first_joined_date") }}, least(attributes.joined_index, windows.total_first_bill_index))
        end as served_from_index
    from windows
    left join attributes on windows.customer_id = attributes.customer_id and windows.period = attributes.period
    left join line_service on windows.customer_id = line_service.customer_id and windows.period = line_service.period
),

-- Months of service by the best source there is: numbers held, else the dates of joining and leaving, else the first bill on. Between leaving and
-- coming back there are none.
served as (
    select
        *,
        coalesce(
            line_mask,
            case when served_from_index <= period_index then {{ month_bits("0", "least(period_index - served_from_index, 59)") }} end,
            0
        ) & ~coalesce(away_mask, 0) & case
            when left_index is null or left_index >= period_index then {{ month_bits("0", "59") }}
            when left_index >= period_index - 59 then {{ month_bits("period_index - left_index", "59") }}
            else 0
        end as service_mask
    from joined
),

there as (
    select
        *,
        (service_mask & 1) = 1 as is_in_service
    from served
    where (service_mask & 1) = 1 or bill_line_count > 0
)

select
    s.customer_id,
    s.period,
    s.period_index,
    {{ first_day("s.period") }} as period_date,
    s.brand,
    s.plan,
    s.region,
    s.segment,
    s.is_real_name,
    s.credit_class,
    s.joined_date,
    s.left_date,
    s.service_mask,
    s.is_in_service,
    s.is_in_service as is_in_scope,
    case when not s.is_in_service then 'not_in_service' end as scope_reason,
    case when s.first_index <= s.period_index then s.period_index - s.first_index + 1 end as tenure_months,
    s.net_amount,
    s.spend_amount,
    s.bill_line_count,
    s.total_first_bill_index as first_bill_index,
    s.total_last_bill_index as last_bill_index,
    cast(s.period_index - s.total_last_active_index as integer) as months_since_active{{ compiled_columns("metric_columns", "service_metrics") }}
from there as s
