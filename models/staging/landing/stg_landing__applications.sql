-- A step that two sources tell is one: the newest counts, of one day that of the last source.
with told as (
    select
        *,
        row_number() over (
            partition by program_id, subject_id, application_id, step order by step_date desc, _source desc, _file_id desc, _row desc
        ) as newest_first
    from {{ source("landing", "applications") }}
)

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
from told
where newest_first = 1
