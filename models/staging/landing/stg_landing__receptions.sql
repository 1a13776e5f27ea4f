select
    reception_id,
    noted_date,
    arrives_at,
    leaves_at,
    title,
    standing,
    guests,
    room,
    requester_id,
    _source,
    _file_id,
    _row
from {{ source("landing", "receptions") }}
