{{ config(materialized="table") }}

with tags as (
    select * from {{ ref("int_tags__expiring") }}
    union all
    select * from {{ ref("int_tags__complaints") }}
),

in_scope as (
    select
        customer_id,
        period
    from {{ ref("int_customer_metrics") }}
)

select
    tags.customer_id,
    tags.period,
    tags.tag_id,
    tags.category_id,
    tags.evidence,
    tags.expires_date,
    tags.state
from tags
inner join in_scope on tags.customer_id = in_scope.customer_id and tags.period = in_scope.period
