{{ config(materialized="view") }}

select
    customer_id,
    period,
    spend_amount,
    cast(net_amount - spend_amount as decimal(18, 4)) as other_amount,
    net_amount,
    bill_line_count
from {{ ref("int_customer_metrics") }}
