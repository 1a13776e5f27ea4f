{{ config(materialized="table") }}

with notices as (
    select * from {{ ref("stg_landing__receptions") }}
),

nominations as (
    select * from {{ ref("stg_landing__nominations") }}
    where kind = 'nominate'
),

counted as (
    select * from {{ ref("int_approved_nominations") }}
),

decisions as (
    select * from {{ ref("int_held_decisions") }}
    where subject_type = 'reception'
),

levels as (
    select * from {{ ref("dim_levels") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

run as (
    select * from {{ source("ctl", "run") }}
),

first_notices as (
    select
        reception_id,
        last_day(min(noted_date)) as month_end_date
    from notices
    group by reception_id
),

-- Of a reception that nobody had noted by the end of its month: what was noted by the end of the month in which it came to light.
newest_notices as (
    select
        notices.*,
        targets.period,
        row_number() over (
            partition by notices.reception_id, targets.period
            order by notices.noted_date desc, notices._source desc, notices._file_id desc
        ) as place
    from notices
    inner join first_notices on notices.reception_id = first_notices.reception_id
    inner join targets on notices.noted_date <= greatest(targets.last_day, first_notices.month_end_date)
),

-- The request that counted; else the highest one that had been made by then, to say why it did not.
requests as (
    select
        nominations.program_id,
        nominations.subject_id,
        targets.period,
        nominations.nomination_id,
        nominations.level_id as asked_level_id,
        nominations.requester_id,
        case when nominations.approved_date <= targets.last_day then nominations.approver_id end as approver_id,
        case when nominations.approved_date <= targets.last_day then nominations.approved_date end as approved_date,
        case
            when counted.nomination_id is not null then 'counted'
            when nominations.end_date < targets.first_day then 'ended'
            when nominations.approver_id is null or nominations.approved_date is null or nominations.approved_date > targets.last_day then 'open'
            when {{ is_same_person("nominations.approver_id", "nominations.requester_id") }} then 'self_approved'
            else 'outranked'
        end as request_state,
        row_number() over (
            partition by nominations.program_id, nominations.subject_id, targets.period
            order by
                case when counted.nomination_id is not null then 0 else 1 end,
                levels.level_rank desc,
                nominations.nomination_id
        ) as place
    from nominations
    inner join targets on nominations.start_date <= targets.last_day
    inner join levels on nominations.program_id = levels.program_id and nominations.level_id = levels.level_id
    left join counted
        on
            nominations.program_id = counted.program_id
            and nominations.subject_id = counted.subject_id
            and nominations.nomination_id = counted.nomination_id
            and targets.period = counted.period
)

select
    decisions.program_id,
    decisions.subject_id as reception_id,
    decisions.period,
    decisions.level_id,
    decisions.level_rank,
    decisions.matched_rule_id,
    decisions.policy_version,
    newest_notices.noted_date,
    newest_notices.arrives_at,
    {{ local_time("newest_notices.arrives_at", "run.timezone") }} as arrives_local,
    newest_notices.leaves_at,
    newest_notices.title,
    newest_notices.standing,
    newest_notices.guests,
    newest_notices.room,
    newest_notices.requester_id as noted_by,
    requests.nomination_id,
    requests.asked_level_id,
    requests.requester_id as asked_by,
    requests.approver_id as approved_by,
    requests.approved_date,
    coalesce(requests.request_state, 'none') as request_state,
    coalesce(
        requests.request_state = 'counted' and requests.approved_date > {{ local_date("newest_notices.arrives_at", "run.timezone") }}, false
    ) as is_approved_after_arrival
from decisions
inner join newest_notices
    on decisions.subject_id = newest_notices.reception_id and decisions.period = newest_notices.period and newest_notices.place = 1
cross join run
left join requests
    on
        decisions.program_id = requests.program_id
        and decisions.subject_id = requests.subject_id
        and decisions.period = requests.period
        and requests.place = 1
