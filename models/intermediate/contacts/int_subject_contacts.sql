with run as (
    select * from {{ source("ctl", "run") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

planned as (
    select count(*) as plans from {{ source("policy", "contact_plans") }}
),

made as (
    select
        customer_id,
        visited_at as made_at
    from {{ ref("stg_landing__manager_visits") }}
    union all
    select
        customer_id,
        contacted_at as made_at
    from {{ ref("stg_landing__service_contacts") }}
    where not coalesce(is_inbound, false)
),

dated as (
    select
        made.customer_id,
        {{ local_date("made.made_at", "run.timezone") }} as made_date
    from made
    cross join run
    inner join planned on planned.plans > 0
)

select
    'customer' as subject_type,
    dated.customer_id as subject_id,
    targets.period,
    count(*) as contacts
from dated
inner join targets on {{ month_index("dated.made_date") }} = targets.period_index
group by dated.customer_id, targets.period
