select
    prospect_id,
    valid_from_date,
    region,
    owner_id,
    closeness,
    uses_competitor,
    expected_amount,
    first_contact_date,
    closed_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "prospects") }}
