{{ config(materialized="table") }}

with grids as (
    select program_id
    from {{ source("policy", "programs") }}
    where method = 'grid'
),

decisions as (
    select decisions.*
    from {{ ref("int_held_decisions") }} as decisions
    inner join grids on decisions.program_id = grids.program_id
    inner join {{ source("ctl", "target_periods") }} as targets on decisions.period = targets.period
)

select
    cast(program_id as varchar) as program_id,
    cast(period as varchar) as period,
    cast(previous_level_id as varchar) as from_level_id,
    cast(previous_level_rank as integer) as from_level_rank,
    cast(level_id as varchar) as to_level_id,
    cast(level_rank as integer) as to_level_rank,
    cast(count(*) as bigint) as subjects
from decisions
where previous_level_id is not null and level_id is not null
group by program_id, period, previous_level_id, previous_level_rank, level_id, level_rank
