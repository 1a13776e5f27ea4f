select
    contact_id,
    customer_id,
    contacted_at,
    channel,
    topic,
    is_inbound,
    _source,
    _file_id,
    _row
from {{ source("landing", "service_contacts") }}
