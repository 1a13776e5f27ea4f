select
    payment_id,
    customer_id,
    paid_at,
    amount,
    currency,
    payment_channel,
    due_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "payments") }}
