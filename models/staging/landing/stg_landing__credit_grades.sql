select
    customer_id,
    as_of_date,
    grade,
    _source,
    _file_id,
    _row
from {{ source("landing", "credit_grades") }}
