select
    customer_id,
    start_date,
    maker,
    model,
    is_5g,
    price_amount,
    _source,
    _file_id,
    _row
from {{ source("landing", "devices") }}
