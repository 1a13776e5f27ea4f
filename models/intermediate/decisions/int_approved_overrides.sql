with overrides as (
    select
        *,
        row_number() over (
            partition by program_id, subject_id, period, kind
            order by
                case when kind = 'at_least' then level_rank end desc nulls last,
                case when kind = 'at_least' then nomination_id end asc nulls last,
                approved_date desc,
                nomination_id desc,
                level_rank desc
        ) as place
    from {{ ref("int_approved_requests") }}
    where kind in ('at_least', 'set')
)

select
    program_id,
    subject_id,
    period,
    max(case when kind = 'at_least' then level_id end) as at_least_level_id,
    max(case when kind = 'at_least' then level_rank end) as at_least_level_rank,
    max(case when kind = 'at_least' then nomination_id end) as at_least_nomination_id,
    max(case when kind = 'set' then level_id end) as set_level_id,
    max(case when kind = 'set' then level_rank end) as set_level_rank,
    max(case when kind = 'set' then nomination_id end) as set_nomination_id
from overrides
where place = 1
group by program_id, subject_id, period
