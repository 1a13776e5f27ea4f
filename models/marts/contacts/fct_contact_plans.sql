{{ config(materialized="table") }}

with decisions as (
    select decisions.*
    from {{ ref("int_held_decisions") }} as decisions
    inner join {{ source("ctl", "target_periods") }} as targets on decisions.period = targets.period
),

plans as (
    select * from {{ source("policy", "contact_plans") }}
),

owners as (
    select * from {{ ref("int_subject_owners") }}
),

contacts as (
    select * from {{ ref("int_subject_contacts") }}
),

-- No contact is zero contacts only where contacts are delivered at all; what had landed before their source was taken out says nothing of today.
counted_types as (
    select distinct 'customer' as subject_type
    from {{ source("ctl", "entities") }}
    where entity in ('manager_visits', 'service_contacts') and parts > 0 and is_delivered
),

planned as (
    select
        decisions.program_id,
        decisions.period,
        decisions.subject_type,
        decisions.subject_id,
        decisions.level_id,
        decisions.policy_version,
        plans.contact_group,
        plans.is_priority,
        plans.contacts_min,
        plans.contacts_max,
        plans.action_en,
        plans.action_zh
    from decisions
    inner join plans
        on
            decisions.program_id = plans.program_id
            and decisions.policy_version = plans.version
            and decisions.level_id = plans.level_id
),

contacted as (
    select
        planned.*,
        owners.owner_id,
        case when counted_types.subject_type is not null then coalesce(contacts.contacts, 0) end as contacts
    from planned
    left join owners
        on
            planned.subject_type = owners.subject_type
            and planned.subject_id = owners.subject_id
            and planned.period = owners.period
    left join contacts
        on
            planned.subject_type = contacts.subject_type
            and planned.subject_id = contacts.subject_id
            and planned.period = contacts.period
    left join counted_types on planned.subject_type = counted_types.subject_type
)

select
    cast(program_id as varchar) as program_id,
    cast(period as varchar) as period,
    cast(subject_type as varchar) as subject_type,
    cast(subject_id as varchar) as subject_id,
    cast(level_id as varchar) as level_id,
    cast(policy_version as varchar) as policy_version,
    cast(owner_id as varchar) as owner_id,
    cast(contact_group as varchar) as contact_group,
    cast(is_priority as boolean) as is_priority,
    cast(contacts_min as bigint) as contacts_min,
    cast(contacts_max as bigint) as contacts_max,
    cast(contacts as bigint) as contacts,
    contacts between contacts_min and contacts_max as is_within_plan,
    cast(action_en as varchar) as action_en,
    cast(action_zh as varchar) as action_zh
from contacted
