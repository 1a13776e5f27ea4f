select
    staff_id,
    valid_from_date,
    role,
    team,
    joined_date,
    left_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "staff") }}
