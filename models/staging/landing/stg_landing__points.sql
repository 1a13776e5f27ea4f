select
    customer_id,
    period,
    points_type,
    points,
    _source,
    _file_id,
    _row
from {{ source("landing", "points") }}
