select
    survey_id,
    customer_id,
    answered_at,
    channel,
    score,
    _source,
    _file_id,
    _row
from {{ source("landing", "surveys") }}
