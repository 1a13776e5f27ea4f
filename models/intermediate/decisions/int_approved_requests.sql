with requests as (
    select * from {{ ref("stg_landing__nominations") }}
),

levels as (
    select * from {{ source("policy", "levels") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
)

select
    requests.program_id,
    requests.subject_id,
    targets.period,
    requests.kind,
    requests.nomination_id,
    requests.level_id,
    levels.rank as level_rank,
    requests.approved_date
from requests
inner join levels on requests.program_id = levels.program_id and requests.level_id = levels.level_id
inner join targets
    on
        requests.start_date <= targets.last_day
        and requests.end_date >= targets.first_day
        and requests.approved_date <= targets.last_day
where not ({{ is_same_person("requests.approver_id", "requests.requester_id") }})
