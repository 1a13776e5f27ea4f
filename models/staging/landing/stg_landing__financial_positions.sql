select
    customer_id,
    as_of_date,
    asset_amount,
    card_spend_year_amount,
    is_overdue,
    occupation,
    _source,
    _file_id,
    _row
from {{ source("landing", "financial_positions") }}
