select
    household_id,
    customer_id,
    role,
    start_date,
    end_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "household_members") }}
