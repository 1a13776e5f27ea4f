{{ config(materialized="view") }}

select
    cast(program_id as varchar) as program_id,
    cast(level_id as varchar) as level_id,
    cast(rank as integer) as level_rank,
    cast(name_en as varchar) as name_en,
    cast(name_zh as varchar) as name_zh
from {{ source("policy", "levels") }}
