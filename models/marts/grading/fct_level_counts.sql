{{ config(materialized="view") }}

with levels as (
    select * from {{ ref("dim_levels") }}
),

-- Nothing here asks for a cause, and each reading names the decisions itself: who asks for one period then reads no other.
program_periods as (
    select distinct
        program_id,
        period
    from {{ ref("int_held_decisions") }}
),

counted as (
    select
        program_id,
        period,
        level_id,
        count(*) as subjects,
        count(*) filter (where movement = 'rose') as rose,
        count(*) filter (where movement = 'fell') as fell,
        count(*) filter (where movement = 'joined') as joined
    from {{ ref("int_held_decisions") }}
    where level_id is not null
    group by program_id, period, level_id
)

-- Every level of a program has its row in every period, also the empty ones.
select
    program_periods.program_id,
    program_periods.period,
    levels.level_id,
    levels.level_rank,
    cast(coalesce(counted.subjects, 0) as bigint) as subjects,
    cast(coalesce(counted.rose, 0) as bigint) as rose,
    cast(coalesce(counted.fell, 0) as bigint) as fell,
    cast(coalesce(counted.joined, 0) as bigint) as joined
from program_periods
inner join levels on program_periods.program_id = levels.program_id
left join counted
    on
        program_periods.program_id = counted.program_id
        and program_periods.period = counted.period
        and levels.level_id = counted.level_id
