{{ config(materialized="table") }}

with steps as (
    select * from {{ ref("fct_application_steps") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

decisions as (
    select * from {{ ref("int_held_decisions") }}
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

-- Of a subject's applications the one begun last counts: the others, until it was begun.
followed as (
    select
        application_id,
        program_id,
        period,
        lead(first_step_date) over (partition by program_id, subject_id, period order by first_step_date, application_id) as next_begun_date
    from applications
),

decided as (
    select
        steps.application_id,
        steps.program_id,
        steps.period,
        decisions.period as level_period,
        decisions.level_id,
        row_number() over (
            partition by steps.program_id, steps.application_id, steps.period order by decisions.period desc, steps.step_order
        ) as place
    from steps
    inner join followed
        on steps.program_id = followed.program_id and steps.application_id = followed.application_id and steps.period = followed.period
    inner join decisions
        on
            steps.program_id = decisions.program_id
            and steps.subject_id = decisions.subject_id
            and {{ month_index("steps.step_date") }} = decisions.period_index
    where
        decisions.level_id is not null
        and (followed.next_begun_date is null or {{ month_index("followed.next_begun_date") }} > decisions.period_index)
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
    case
        when applications.outcome is not null then applications.outcome
        when applications.reviewed_date is not null or applications.decided_date is not null then 'reviewed'
        else 'applied'
    end as state,
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
