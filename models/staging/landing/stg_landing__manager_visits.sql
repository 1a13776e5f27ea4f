select
    visit_id,
    customer_id,
    staff_id,
    visited_at,
    purpose,
    outcome,
    _source,
    _file_id,
    _row
from {{ source("landing", "manager_visits") }}
