{{ config(materialized="view") }}

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
    cast(tags.action_zh as varchar) as action_zh
from {{ source("policy", "tags") }} as tags
inner join {{ source("policy", "tag_categories") }} as categories on tags.category_id = categories.category_id
where tags.enabled
