select
    customer_id,
    valid_from_date,
    brand,
    plan,
    region,
    segment,
    is_real_name,
    credit_class,
    joined_date,
    left_date,
    account_manager_id,
    _source,
    _file_id,
    _row
from {{ source("landing", "customers") }}
