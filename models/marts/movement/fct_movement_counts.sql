{{ config(materialized="view") }}

with movements as (
    select * from {{ ref("fct_tier_movements") }}
)

select
    program_id,
    period,
    movement_cause,
    direction,
    cast(count(*) as bigint) as subjects
from movements
group by program_id, period, movement_cause, direction
