{{ config(materialized="view") }}

select
    p.customer_id,
    p.period_index{{ compiled_columns("points_measures") }}
from {{ ref("stg_landing__points") }} as p
where {{ compiled("points_rows") }}
