select
    campaign_id,
    customer_id,
    targeted_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "campaign_targets") }}
