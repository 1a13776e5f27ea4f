select
    nomination_id,
    program_id,
    subject_id,
    kind,
    level_id,
    reason,
    requester_id,
    approver_id,
    approved_date,
    start_date,
    end_date,
    _source,
    _file_id,
    _row
from {{ source("landing", "nominations") }}
