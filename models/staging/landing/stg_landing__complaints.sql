select
    complaint_id,
    customer_id,
    opened_at,
    closed_at,
    topic,
    state,
    channel,
    contact_line_id,
    _source,
    _file_id,
    _row
from {{ source("landing", "complaints") }}
