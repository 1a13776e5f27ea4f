{{ config(materialized="table") }}

with targets as (
    select
        period,
        period_index
    from {{ source("ctl", "target_periods") }}
),

landed as (
    select
        period,
        sum(landed_line_count) as landed_line_count,
        sum(landed_amount) as landed_amount
    from {{ ref("int_landed_charges") }}
    group by period
),

customer_months as (
    select
        customer_months.customer_id,
        targets.period,
        customer_months.net_amount
    from {{ ref("int_customer_months") }} as customer_months
    inner join targets on customer_months.period_index = targets.period_index
),

-- Groups, staff or applicants alone are not all that have bills: where no program grades every customer, whom one could grade stands in.
every_customer as (
    select
        metrics.customer_id as subject_id,
        metrics.period
    from {{ ref("int_customer_metrics") }} as metrics
    where
        not exists (
            select 1
            from {{ source("policy", "programs") }} as programs
            where programs.enabled and programs.subject_type = 'customer' and programs.clock = 'month'
        )
),

decisions as (
    select
        decisions.subject_id,
        decisions.period
    from {{ ref("int_held_decisions") }} as decisions
    inner join targets on decisions.period = targets.period
    where decisions.subject_type = 'customer'
    union all
    select
        subject_id,
        period
    from every_customer
),

-- A customer counts once, however many programs decide on it.
decided as (
    select
        customer_months.period,
        sum(customer_months.net_amount) as decided_amount
    from customer_months
    where
        exists (
            select 1
            from decisions
            where decisions.subject_id = customer_months.customer_id and decisions.period = customer_months.period
        )
    group by customer_months.period
),

unattributed as (
    select
        period,
        sum(net_amount) as unattributed_amount
    from customer_months
    where customer_id is null
    group by period
),

amounts as (
    select
        targets.period,
        coalesce(landed.landed_line_count, 0) as landed_line_count,
        coalesce(landed.landed_amount, 0) as landed_amount,
        coalesce(decided.decided_amount, 0) as decided_amount,
        coalesce(unattributed.unattributed_amount, 0) as unattributed_amount
    from targets
    left join landed on targets.period = landed.period
    left join decided on targets.period = decided.period
    left join unattributed on targets.period = unattributed.period
)

select
    period,
    cast(landed_line_count as bigint) as landed_line_count,
    cast(landed_amount as decimal(38, 4)) as landed_amount,
    cast(decided_amount as decimal(38, 4)) as decided_amount,
    cast(unattributed_amount as decimal(38, 4)) as unattributed_amount,
    cast(landed_amount - decided_amount - unattributed_amount as decimal(38, 4)) as difference_amount
from amounts
