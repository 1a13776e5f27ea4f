-- One pass in the order of effect: when the next row takes over, and what the newest row says about joining and leaving.
with versions as (
    select
        *,
        row_number() over in_order = 1 as is_first,
        lead(valid_from_date) over in_order as next_from_date,
        last_value(joined_date) over whole as newest_joined_date,
        last_value(left_date) over whole as newest_left_date
    from {{ ref("stg_landing__customers") }}
    window
        in_order as (partition by customer_id order by valid_from_date, _source, _file_id),
        whole as (
            partition by customer_id order by valid_from_date, _source, _file_id
            rows between unbounded preceding and unbounded following
        )
),

-- The row that holds on the last day; where none does yet, the first one, for its days of joining and leaving alone.
as_of as (
    select
        versions.*,
        targets.period,
        targets.period_index,
        versions.valid_from_date <= targets.last_day as holds
    from versions
    cross join {{ source("ctl", "target_periods") }} as targets
    where
        (versions.valid_from_date <= targets.last_day and (versions.next_from_date is null or versions.next_from_date > targets.last_day))
        or (versions.is_first and versions.valid_from_date > targets.last_day)
)

select
    customer_id,
    period,
    period_index,
    case when holds then brand end as brand,
    case when holds then plan end as plan,
    case when holds then region end as region,
    case when holds then segment end as segment,
    case when holds then is_real_name end as is_real_name,
    case when holds then credit_class end as credit_class,
    newest_joined_date as joined_date,
    newest_left_date as left_date
from as_of
