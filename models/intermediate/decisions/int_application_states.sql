with applications as (
    select * from {{ ref("stg_landing__applications") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- What is known of each application by the end of each period.
taken as (
    select
        applications.program_id,
        applications.subject_id,
        applications.application_id,
        targets.period,
        min(applications.step_date) as begun_date,
        max(applications.step_date) as last_step_date,
        max(case when applications.step_date >= targets.first_day then 1 else 0 end) as has_moved,
        max(
            case
                when applications.step = 'decision' and applications.outcome is not null and applications.step_date >= targets.first_day then 1
                else 0
            end
        ) = 1 as is_decided_now,
        max(case when applications.step = 'decision' then applications.outcome end) as told_outcome,
        max(case when applications.step = 'application' then applications.step_date end) as applied_date,
        max(case when applications.step = 'review' then applications.step_date end) as reviewed_date,
        max(case when applications.step = 'decision' then applications.step_date end) as decided_date
    from applications
    inner join targets on applications.step_date <= targets.last_day
    group by applications.program_id, applications.subject_id, applications.application_id, targets.period
),

-- What was returned and is handed in again begins anew.
known as (
    select
        *,
        case when not {{ is_handed_in_again("applied_date", "decided_date", "told_outcome") }} then told_outcome end as outcome,
        case
            when {{ is_handed_in_again("applied_date", "decided_date", "told_outcome") }} then coalesce(reviewed_date > decided_date, false)
            else reviewed_date is not null or decided_date is not null
        end as is_reviewed
    from taken
),

counted as (
    {{ counted_applications("known") }}
)

select
    program_id,
    subject_id,
    period,
    max(case when is_counted then application_id end) as application_id,
    max(case when is_counted then case when outcome is not null then outcome when is_reviewed then 'reviewed' else 'applied' end end) as state,
    max(last_step_date) as event_date,
    max(has_moved) = 1 as is_event
from counted
where is_counted or is_newest or is_decided_now
group by program_id, subject_id, period
