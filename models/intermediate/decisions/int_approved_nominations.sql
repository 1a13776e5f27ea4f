with nominations as (
    select * from {{ ref("stg_landing__nominations") }}
),

levels as (
    select * from {{ source("policy", "levels") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- Approved by someone else, by the end of the period, and in force on any of its days.
approved as (
    select
        nominations.program_id,
        nominations.subject_id,
        targets.period,
        nominations.level_id,
        levels.rank as level_rank,
        nominations.nomination_id,
        row_number() over (
            partition by nominations.program_id, nominations.subject_id, targets.period order by levels.rank desc, nominations.nomination_id
        ) as highest_first
    from nominations
    inner join levels on nominations.program_id = levels.program_id and nominations.level_id = levels.level_id
    inner join targets
        on
            nominations.start_date <= targets.last_day
            and nominations.end_date >= targets.first_day
            and nominations.approved_date <= targets.last_day
    where nominations.kind = 'nominate' and nominations.approver_id <> nominations.requester_id
)

select
    program_id,
    subject_id,
    period,
    level_id,
    level_rank,
    nomination_id
from approved
where highest_first = 1
