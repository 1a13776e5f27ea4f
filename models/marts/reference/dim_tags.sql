{{ config(materialized="view") }}

with tags as (
    select
        *,
        case when evidence = 'subscription_ends' then 'subscriptions' else 'complaints' end as evidence_entity
    from {{ source("policy", "tags") }}
    where enabled
)

select
    cast(tags.tag_id as varchar) as tag_id,
    cast(tags.category_id as varchar) as category_id,
    cast(categories.name_en as varchar) as category_name_en,
    cast(categories.name_zh as varchar) as category_name_zh,
    cast(tags.icon as varchar) as icon,
    cast(tags.name_en as varchar) as name_en,
    cast(tags.name_zh as varchar) as name_zh,
    cast(tags.need_1_en as varchar) as need_1_en,
    cast(tags.need_1_zh as varchar) as need_1_zh,
    cast(tags.need_2_en as varchar) as need_2_en,
    cast(tags.need_2_zh as varchar) as need_2_zh,
    cast(tags.shows_en as varchar) as shows_en,
    cast(tags.shows_zh as varchar) as shows_zh,
    cast(tags.action_en as varchar) as action_en,
    cast(tags.action_zh as varchar) as action_zh,
    cast(case when entities.is_delivered then 'evaluated' else 'not_evaluated' end as varchar) as status,
    cast(case when not entities.is_delivered then 'needs ' || tags.evidence_entity end as varchar) as status_reason
from tags
inner join {{ source("policy", "tag_categories") }} as categories on tags.category_id = categories.category_id
inner join {{ source("ctl", "entities") }} as entities on tags.evidence_entity = entities.entity
