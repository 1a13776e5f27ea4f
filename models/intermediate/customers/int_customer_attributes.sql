with versions as (
    select * from {{ ref("stg_landing__customers") }}
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- The days of joining and leaving are facts about the relationship: the newest row knows them best, also for earlier periods.
newest as (
    select *
    from (
        select
            customer_id,
            joined_date,
            left_date,
            row_number() over (partition by customer_id order by valid_from_date desc, _source, _file_id) as newest_first
        from versions
    ) as numbered
    where newest_first = 1
),

as_of as (
    select *
    from (
        select
            versions.customer_id,
            targets.period,
            versions.brand,
            versions.plan,
            versions.region,
            versions.segment,
            versions.is_real_name,
            versions.credit_class,
            row_number() over (
                partition by versions.customer_id, targets.period order by versions.valid_from_date desc, versions._source, versions._file_id
            ) as newest_first
        from versions
        inner join targets on versions.valid_from_date <= targets.last_day
    ) as numbered
    where newest_first = 1
)

select
    newest.customer_id,
    targets.period,
    targets.period_index,
    as_of.brand,
    as_of.plan,
    as_of.region,
    as_of.segment,
    as_of.is_real_name,
    as_of.credit_class,
    newest.joined_date,
    newest.left_date
from newest
cross join targets
left join as_of on newest.customer_id = as_of.customer_id and targets.period = as_of.period
