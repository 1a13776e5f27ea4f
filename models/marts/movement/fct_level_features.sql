{{ config(materialized="view") }}

with features as (
    select * from {{ ref("int_level_features") }}
)

select
    cast(program_id as varchar) as program_id,
    cast(period as varchar) as period,
    cast(attribute_id as varchar) as attribute_id,
    cast(top_level_id as varchar) as top_level_id,
    cast(top_subjects as bigint) as top_subjects,
    cast(other_subjects as bigint) as other_subjects,
    cast(top_mean as decimal(24, 6)) as top_mean,
    cast(other_mean as decimal(24, 6)) as other_mean,
    cast(top_median as decimal(24, 6)) as top_median,
    cast(other_median as decimal(24, 6)) as other_median,
    cast(cohens_d as decimal(18, 6)) as cohens_d,
    cast(cliffs_delta as decimal(18, 6)) as cliffs_delta,
    cast(p_value as double) as p_value,
    cast(
        rank() over (
            partition by program_id, period order by cast(abs(cliffs_delta) as decimal(18, 6)) desc nulls last, attribute_id
        ) as integer
    ) as effect_rank
from features
