select
    response_id,
    campaign_id,
    customer_id,
    responded_at,
    response,
    _source,
    _file_id,
    _row
from {{ source("landing", "campaign_responses") }}
