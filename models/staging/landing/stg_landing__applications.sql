select
    application_id,
    program_id,
    subject_id,
    step,
    step_date,
    decided_by,
    outcome,
    _source,
    _file_id,
    _row
from {{ source("landing", "applications") }}
