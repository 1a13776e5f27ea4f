with subscriptions as (
    select * from {{ ref("stg_landing__subscriptions") }}
),

tags as (
    select *
    from {{ source("policy", "tags") }}
    where
        evidence = 'subscription_ends'
        and enabled
        -- What had landed before its source was taken out says nothing of today.
        and exists (
            select 1
            from {{ source("ctl", "entities") }} as entities
            where entities.entity = 'subscriptions' and entities.is_delivered
        )
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- The release of a period is read in the month after it: a reminder of what ended in the period itself would come too late.
ending as (
    select
        subscriptions.customer_id,
        targets.period,
        tags.tag_id,
        tags.category_id,
        tags.lifetime_months,
        subscriptions.subscription_id,
        subscriptions.product,
        subscriptions.end_date,
        count(*) over (partition by subscriptions.customer_id, targets.period, tags.tag_id) as ending_count,
        row_number() over (
            partition by subscriptions.customer_id, targets.period, tags.tag_id
            order by subscriptions.end_date, subscriptions.subscription_id, subscriptions._source desc
        ) as earliest_first
    from subscriptions
    inner join tags on subscriptions.kind = tags.subscription_kind
    inner join targets
        on
            {{ month_index("subscriptions.end_date") }} = targets.period_index + coalesce(tags.window_months, 1)
            and subscriptions.start_date <= targets.last_day
)

select
    customer_id,
    period,
    tag_id,
    category_id,
    {{
        json_object(
            {
                "subscription_id": "subscription_id",
                "product": "product",
                "end_date": "cast(end_date as varchar)",
                "ending_count": "ending_count",
            }
        )
    }} as evidence,
    end_date as expires_date,
    'ending' as state
from ending
where earliest_first = 1
