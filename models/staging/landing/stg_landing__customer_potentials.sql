select
    customer_id,
    as_of_date,
    potential_amount,
    has_right_to_decide,
    owner_id,
    _source,
    _file_id,
    _row
from {{ source("landing", "customer_potentials") }}
