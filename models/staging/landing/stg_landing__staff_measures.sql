select
    staff_id,
    period,
    measure,
    score,
    _source,
    _file_id,
    _row
from {{ source("landing", "staff_measures") }}
