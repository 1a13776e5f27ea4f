{{ config(materialized="table") }}

with steps as (
    select * from {{ ref("stg_landing__applications") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- What was known at the end of the period: a step taken later has not happened yet.
as_of as (
    select
        steps.application_id,
        steps.program_id,
        steps.subject_id,
        targets.period,
        steps.step,
        case steps.step when 'application' then 1 when 'review' then 2 when 'decision' then 3 else 4 end as step_order,
        steps.step_date,
        steps.decided_by,
        steps.outcome
    from steps
    inner join targets on steps.step_date <= targets.last_day
),

with_others as (
    select
        as_of.*,
        lag(step_date) over (partition by program_id, subject_id, application_id, period order by step_order) as previous_step_date,
        max(case when step = 'application' then step_date end) over (partition by program_id, subject_id, application_id, period) as applied_date,
        max(case when step = 'review' then step_date end) over (partition by program_id, subject_id, application_id, period) as reviewed_date,
        max(case when step = 'decision' then step_date end) over (partition by program_id, subject_id, application_id, period) as decided_date,
        max(case when step = 'decision' then outcome end) over (partition by program_id, subject_id, application_id, period) as told_outcome
    from as_of
),

-- Of what was returned and is handed in again the steps of the first time stand before the application, and no review is due yet.
in_rounds as (
    select
        *,
        {{ is_handed_in_again("applied_date", "decided_date", "told_outcome") }} as is_again
    from with_others
)

select
    application_id,
    program_id,
    subject_id,
    period,
    step,
    step_order,
    step_date,
    decided_by,
    outcome,
    {{ days_between("previous_step_date", "step_date") }} as days_since_step_before,
    nullif(
        concat_ws(
            '; ',
            case
                when applied_date is null then 'no application' when step_date < applied_date and not is_again then 'before the application'
            end,
            case when step = 'decision' and reviewed_date is null then 'decision without review' end,
            case when step = 'decision' and step_date < reviewed_date and not is_again then 'decision before review' end,
            case when step = 'decision' and outcome is null then 'decision without outcome' end,
            case when step = 'notification' and decided_date is null then 'notification without decision' end,
            case when step = 'notification' and step_date < decided_date then 'notification before decision' end
        ),
        ''
    ) as findings
from in_rounds
