{{ config(materialized="view") }}

select
    customer_id,
    period,
    brand,
    plan,
    region,
    segment,
    is_real_name,
    credit_class,
    joined_date,
    left_date,
    cast(tenure_months as integer) as tenure_months,
    is_in_service
from {{ ref("int_customer_metrics") }}
