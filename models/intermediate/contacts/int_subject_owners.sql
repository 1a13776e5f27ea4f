with targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- Only what plans or lists ask for: without either nothing is read.
wanted as (
    select distinct programs.subject_type
    from {{ source("policy", "programs") }} as programs
    where
        programs.enabled
        and (
            programs.program_id in (select contact_plans.program_id from {{ source("policy", "contact_plans") }} as contact_plans)
            or programs.program_id in (select target_lists.program_id from {{ source("policy", "target_lists") }} as target_lists)
        )
),

-- Whoever visits a customer by the sales force's own list comes before the account manager of the customer master.
said as (
    select
        'customer' as subject_type,
        customer_id as subject_id,
        as_of_date as said_date,
        owner_id,
        1 as source_order,
        _source,
        _file_id
    from {{ ref("stg_landing__customer_potentials") }}
    union all
    select
        'customer' as subject_type,
        customer_id as subject_id,
        valid_from_date as said_date,
        account_manager_id as owner_id,
        2 as source_order,
        _source,
        _file_id
    from {{ ref("stg_landing__customers") }}
    union all
    select
        'prospect' as subject_type,
        prospect_id as subject_id,
        valid_from_date as said_date,
        owner_id,
        1 as source_order,
        _source,
        _file_id
    from {{ ref("stg_landing__prospects") }}
    union all
    select
        'group' as subject_type,
        group_id as subject_id,
        valid_from_date as said_date,
        manager_id as owner_id,
        1 as source_order,
        _source,
        _file_id
    from {{ ref("stg_landing__groups") }}
),

ranked as (
    select
        said.subject_type,
        said.subject_id,
        targets.period,
        said.owner_id,
        said.source_order,
        row_number() over (
            partition by said.subject_type, said.subject_id, targets.period, said.source_order
            order by said.said_date desc, said._source desc, said._file_id desc
        ) as newest_first
    from said
    inner join wanted on said.subject_type = wanted.subject_type
    inner join targets on said.said_date <= targets.last_day
),

newest as (
    select
        subject_type,
        subject_id,
        period,
        coalesce(max(case when source_order = 1 then owner_id end), max(case when source_order = 2 then owner_id end)) as owner_id
    from ranked
    where newest_first = 1
    group by subject_type, subject_id, period
)

select *
from newest
where owner_id is not null
