with nominations as (
    select
        *,
        row_number() over (partition by program_id, subject_id, period order by level_rank desc, nomination_id) as highest_first
    from {{ ref("int_approved_requests") }}
    where kind = 'nominate'
)

select
    program_id,
    subject_id,
    period,
    level_id,
    level_rank,
    nomination_id
from nominations
where highest_first = 1
