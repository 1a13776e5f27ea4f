{{ config(materialized="table") }}

with steps as (
    select * from {{ ref("fct_application_steps") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

decisions as (
    select * from {{ ref("fct_decisions") }}
),

applications as (
    select
        application_id,
        program_id,
        subject_id,
        period,
        min(step_date) as first_step_date,
        max(case when step = 'application' then step_date end) as applied_date,
        max(case when step = 'review' then step_date end) as reviewed_date,
        max(case when step = 'review' then decided_by end) as reviewed_by,
        max(case when step = 'decision' then step_date end) as decided_date,
        max(case when step = 'decision' then decided_by end) as decided_by,
        max(case when step = 'decision' then outcome end) as outcome,
        max(case when step = 'notification' then step_date end) as notified_date,
        {{ listed("step || ': ' || findings", "step_order") }} as findings
    from steps
    group by application_id, program_id, subject_id, period
),

step_months as (
    select
        steps.*,
        {{ period_from_index(month_index("step_date")) }} as step_period
    from steps
),

-- Of a subject's applications in a month the one with the newest step decides that month.
newest_first as (
    select
        step_months.*,
        row_number() over (
            partition by program_id, subject_id, period, step_period order by step_date desc, application_id desc, step_order desc
        ) as place
    from step_months
),

decided as (
    select
        newest_first.application_id,
        newest_first.program_id,
        newest_first.period,
        decisions.period as level_period,
        decisions.level_id,
        row_number() over (
            partition by newest_first.program_id, newest_first.application_id, newest_first.period order by decisions.period desc
        ) as place
    from newest_first
    inner join decisions
        on
            newest_first.program_id = decisions.program_id
            and newest_first.subject_id = decisions.subject_id
            and newest_first.step_period = decisions.period
    where newest_first.place = 1 and decisions.level_id is not null
)

select
    applications.application_id,
    applications.program_id,
    applications.subject_id,
    applications.period,
    applications.applied_date,
    applications.reviewed_date,
    applications.reviewed_by,
    applications.decided_date,
    applications.decided_by,
    applications.outcome,
    applications.notified_date,
    coalesce(applications.outcome, case when applications.reviewed_date is not null then 'reviewed' else 'applied' end) as state,
    applications.outcome is null or applications.notified_date is null as is_open,
    case
        when applications.outcome is null or applications.notified_date is null
            then {{ days_between("applications.first_step_date", "targets.last_day") }}
        else {{ days_between("applications.first_step_date", "applications.notified_date") }}
    end as total_days,
    decided.level_id,
    decided.level_period,
    applications.findings
from applications
inner join targets on applications.period = targets.period
left join decided
    on
        applications.program_id = decided.program_id
        and applications.application_id = decided.application_id
        and applications.period = decided.period
        and decided.place = 1
