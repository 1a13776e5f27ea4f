select
    customer_id,
    period,
    purchases_amount,
    _source,
    _file_id,
    _row
from {{ source("landing", "customer_purchases") }}
