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

taken as (
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

in_rounds as (
    select
        *,
        {{ is_handed_in_again("applied_date", "decided_date", "outcome") }} as is_again
    from taken
),

-- What was returned and is handed in again waits for a review and a decision of its own.
applications as (
    select
        application_id,
        program_id,
        subject_id,
        period,
        first_step_date,
        applied_date,
        findings,
        case when not is_again or reviewed_date > decided_date then reviewed_date end as reviewed_date,
        case when not is_again or reviewed_date > decided_date then reviewed_by end as reviewed_by,
        case when not is_again then decided_date end as decided_date,
        case when not is_again then decided_by end as decided_by,
        case when not is_again then outcome end as outcome,
        -- A notification from before the decision told of an earlier one.
        case when not is_again and (decided_date is null or notified_date >= decided_date) then notified_date end as notified_date
    from in_rounds
),

-- Each month in which a subject's application moved, with what was known of all of them at its end.
months as (
    select distinct
        program_id,
        subject_id,
        {{ month_index("step_date") }} as period
    from steps
),

told as (
    select
        steps.program_id,
        steps.subject_id,
        months.period,
        steps.application_id,
        min(steps.step_date) as begun_date,
        max(case when steps.step = 'application' then steps.step_date end) as applied_date,
        max(case when steps.step = 'decision' then steps.step_date end) as decided_date,
        max(case when steps.step = 'decision' then steps.outcome end) as told_outcome,
        max(case when {{ month_index("steps.step_date") }} = months.period then 1 else 0 end) = 1 as has_moved
    from steps
    inner join months
        on
            steps.program_id = months.program_id
            and steps.subject_id = months.subject_id
            and {{ month_index("steps.step_date") }} <= months.period
    group by steps.program_id, steps.subject_id, months.period, steps.application_id
),

known as (
    select
        *,
        case when not {{ is_handed_in_again("applied_date", "decided_date", "told_outcome") }} then told_outcome end as outcome
    from told
),

counted as (
    {{ counted_applications("known") }}
),

decided as (
    select
        applications.application_id,
        applications.program_id,
        applications.subject_id,
        applications.period,
        decisions.period as level_period,
        decisions.level_id,
        row_number() over (
            partition by applications.program_id, applications.subject_id, applications.application_id, applications.period
            order by decisions.period desc
        ) as place
    from applications
    inner join targets on applications.period = targets.period
    inner join counted
        on
            applications.program_id = counted.program_id
            and applications.subject_id = counted.subject_id
            and applications.application_id = counted.application_id
            and counted.is_counted
            and counted.has_moved
            and counted.period <= targets.period_index
    inner join decisions
        on
            counted.program_id = decisions.program_id
            and counted.subject_id = decisions.subject_id
            and counted.period = decisions.period_index
    where decisions.level_id is not null
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
        and applications.subject_id = decided.subject_id
        and applications.application_id = decided.application_id
        and applications.period = decided.period
        and decided.place = 1
