with tags as (
    select *
    from {{ source("policy", "tags") }}
    where
        evidence in ('complaint_recent', 'complaint_serial')
        and enabled
        -- What had landed before its source was taken out says nothing of today.
        and exists (
            select 1
            from {{ source("ctl", "entities") }} as entities
            where entities.entity = 'complaints' and entities.is_delivered
        )
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

complaints as (
    select
        complaints.complaint_id,
        complaints.customer_id,
        complaints.topic,
        complaints.state,
        complaints.contact_line_id,
        complaints._source,
        {{ local_date("complaints.opened_at", "run.timezone") }} as opened_date,
        {{ local_date("complaints.closed_at", "run.timezone") }} as closed_date
    from {{ ref("stg_landing__complaints") }} as complaints
    cross join {{ source("ctl", "run") }} as run
),

-- A complaint as it stood on the last day of the period: one closed later was still open then. Of one that is closed without a day nobody
-- knows until when it was open.
as_of as (
    select
        complaints.complaint_id,
        complaints.customer_id,
        complaints.topic,
        complaints.contact_line_id,
        complaints._source,
        complaints.opened_date,
        {{ month_index("complaints.opened_date") }} as opened_index,
        targets.period,
        targets.period_index,
        coalesce(complaints.closed_date > targets.last_day, complaints.state <> 'closed') as is_open,
        case
            when coalesce(complaints.closed_date <= targets.last_day, complaints.state = 'closed') then 'closed'
            when complaints.state = 'answered' then 'answered'
            else 'open'
        end as state
    from complaints
    inner join targets on complaints.opened_date <= targets.last_day
),

evidence as (
    select
        as_of.*,
        tags.tag_id,
        tags.category_id,
        tags.evidence as evidence_kind,
        tags.window_months,
        tags.lifetime_months,
        coalesce(tags.minimum_count, 1) as minimum_count
    from as_of
    inner join tags
        on
            as_of.opened_index > as_of.period_index - tags.window_months
            or (as_of.is_open and tags.evidence = 'complaint_recent')
),

ordered as (
    select
        *,
        row_number() over (
            partition by customer_id, period, tag_id order by is_open desc, opened_date desc, complaint_id, _source desc
        ) as telling_first,
        row_number() over (partition by customer_id, period, tag_id order by opened_date desc, complaint_id, _source desc) as newest_first
    from evidence
),

tagged as (
    select
        customer_id,
        period,
        tag_id,
        category_id,
        count(*) as complaint_count,
        count(*) filter (where is_open) as open_count,
        max(complaint_id) filter (where telling_first = 1) as complaint_id,
        max(topic) filter (where telling_first = 1) as topic,
        max(opened_date) filter (where telling_first = 1) as opened_date,
        max(state) filter (where telling_first = 1) as state,
        count(distinct contact_line_id) as line_count,
        {{ listed("distinct contact_line_id", "contact_line_id") }} as line_ids,
        -- The month in which too few complaints would be left in the window; an open one is looked at again every month.
        greatest(
            max(opened_index + window_months) filter (where newest_first = minimum_count),
            max(period_index + 1) filter (where is_open and evidence_kind = 'complaint_recent')
        )
        + max(lifetime_months) as expires_index
    from ordered
    group by customer_id, period, tag_id, category_id
    having count(*) >= max(minimum_count)
)

select
    customer_id,
    period,
    tag_id,
    category_id,
    {{
        json_object(
            {
                "complaint_id": "complaint_id",
                "topic": "topic",
                "opened_date": "cast(opened_date as varchar)",
                "complaint_count": "complaint_count",
                "open_count": "open_count",
                "line_count": "line_count",
                "line_ids": "line_ids",
            }
        )
    }} as evidence,
    {{ last_day_of_index("expires_index") }} as expires_date,
    state
from tagged
