{{ config(materialized="view") }}

select
    cast(program_id as varchar) as program_id,
    cast(name_en as varchar) as name_en,
    cast(name_zh as varchar) as name_zh,
    cast(subject_type as varchar) as subject_type,
    cast(method as varchar) as method,
    cast(hit_policy as varchar) as hit_policy,
    cast(clock as varchar) as clock,
    cast(enabled as boolean) as is_enabled
from {{ source("policy", "programs") }}
