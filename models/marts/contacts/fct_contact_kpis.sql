{{ config(materialized="table") }}

with plans as (
    select * from {{ ref("fct_contact_plans") }}
),

targets as (
    select * from {{ source("policy", "contact_plans") }}
),

totals as (
    select
        program_id,
        period,
        sum(contacts) as all_contacts
    from plans
    group by program_id, period
),

grouped as (
    select
        plans.program_id,
        plans.period,
        plans.contact_group,
        count(*) as subjects,
        sum(plans.contacts) as contacts,
        max(targets.share_target_pct) as share_target_pct,
        sum(case when plans.is_priority then 1 else 0 end) as priority_subjects,
        sum(case when plans.is_priority and plans.contacts is not null then case when plans.contacts > 0 then 1 else 0 end end) as reached_subjects,
        max(case when plans.is_priority then targets.reach_target_pct end) as reach_target_pct
    from plans
    inner join targets
        on
            plans.program_id = targets.program_id
            and plans.policy_version = targets.version
            and plans.level_id = targets.level_id
    where plans.contact_group is not null
    group by plans.program_id, plans.period, plans.contact_group
)

-- Targets are compared as products: a quotient would round.
select
    cast(grouped.program_id as varchar) as program_id,
    cast(grouped.period as varchar) as period,
    cast(grouped.contact_group as varchar) as contact_group,
    cast(grouped.subjects as bigint) as subjects,
    cast(grouped.contacts as bigint) as contacts,
    cast(100.0 * grouped.contacts / nullif(totals.all_contacts, 0) as decimal(7, 4)) as share_of_contacts_pct,
    cast(grouped.share_target_pct as decimal(7, 4)) as share_target_pct,
    case when totals.all_contacts > 0 then grouped.contacts * 100 >= grouped.share_target_pct * totals.all_contacts end as is_share_met,
    cast(grouped.priority_subjects as bigint) as priority_subjects,
    cast(case when grouped.priority_subjects > 0 then grouped.reached_subjects end as bigint) as reached_subjects,
    cast(100.0 * grouped.reached_subjects / nullif(grouped.priority_subjects, 0) as decimal(7, 4)) as reach_pct,
    cast(grouped.reach_target_pct as decimal(7, 4)) as reach_target_pct,
    case
        when grouped.priority_subjects > 0 then grouped.reached_subjects * 100 >= grouped.reach_target_pct * grouped.priority_subjects
    end as is_reach_met
from grouped
inner join totals on grouped.program_id = totals.program_id and grouped.period = totals.period
