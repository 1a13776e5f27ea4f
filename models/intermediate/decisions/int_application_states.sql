with applications as (
    select * from {{ ref("stg_landing__applications") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- What is known of each application by the end of each period.
known as (
    select
        applications.program_id,
        applications.subject_id,
        applications.application_id,
        targets.period,
        min(applications.step_date) as applied_date,
        max(applications.step_date) as event_date,
        max(case when applications.step_date >= targets.first_day then 1 else 0 end) = 1 as is_event,
        max(case when applications.step = 'decision' then applications.outcome end) as outcome,
        max(case when applications.step in ('review', 'decision') then 1 else 0 end) = 1 as is_reviewed
    from applications
    inner join targets on applications.step_date <= targets.last_day
    group by applications.program_id, applications.subject_id, applications.application_id, targets.period
),

newest as (
    select
        *,
        row_number() over (partition by program_id, subject_id, period order by applied_date desc, application_id desc) as newest_first
    from known
)

select
    program_id,
    subject_id,
    period,
    application_id,
    case when outcome is not null then outcome when is_reviewed then 'reviewed' else 'applied' end as state,
    event_date,
    is_event
from newest
where newest_first = 1
