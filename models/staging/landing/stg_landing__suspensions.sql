select
    suspension_id,
    customer_id,
    line_id,
    reason,
    start_date,
    end_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "suspensions") }}
