select
    customer_id,
    period,
    _period_index as period_index,
    points_type,
    points,
    _source,
    _file_id,
    _row
from {{ source("landing", "points") }}
