select
    subscription_id,
    customer_id,
    line_id,
    kind,
    product,
    start_date,
    end_date,
    monthly_amount,
    _source,
    _file_id,
    _row
from {{ source("landing", "subscriptions") }}
