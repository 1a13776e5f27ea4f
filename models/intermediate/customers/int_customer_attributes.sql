-- One pass in the order of effect: when the next row takes over, and whether a row tells of someone who had left and has joined again.
with versions as (
    select
        *,
        row_number() over in_order = 1 as is_first,
        lead(valid_from_date) over in_order as next_from_date,
        coalesce(joined_date >= lag(left_date) over in_order, false) as comes_back,
        last_value(joined_date) over whole as newest_joined_date,
        last_value(left_date) over whole as newest_left_date
    from {{ ref("stg_landing__customers") }}
    window
        in_order as (partition by customer_id order by valid_from_date, _source, _file_id),
        whole as (
            partition by customer_id order by valid_from_date, _source, _file_id
            rows between unbounded preceding and unbounded following
        )
),

targets as (
    select * from {{ source("ctl", "target_periods") }}
),

-- Few come back: of these the time until they left is a spell of its own, of which its newest row speaks.
spell_rows as (
    select
        customer_id,
        joined_date,
        left_date,
        sum(case when comes_back then 1 else 0 end) over (
            partition by customer_id order by valid_from_date, _source, _file_id rows between unbounded preceding and current row
        ) as spell,
        lead(comes_back, 1, true) over (partition by customer_id order by valid_from_date, _source, _file_id) as is_newest_of_spell
    from versions
    where customer_id in (select came.customer_id from versions as came where came.comes_back)
),

-- The spells that had begun by the end of the period, and the first one: the newest of them counts.
spells as (
    select
        spell_rows.customer_id,
        spell_rows.spell,
        spell_rows.joined_date,
        spell_rows.left_date,
        targets.period,
        targets.period_index,
        {{ month_index("spell_rows.left_date") }} + 1 as away_first_index,
        lead({{ month_index("spell_rows.joined_date") }}) over (partition by spell_rows.customer_id, targets.period order by spell_rows.spell)
        - 1 as away_last_index,
        row_number() over (partition by spell_rows.customer_id, targets.period order by spell_rows.spell desc) as newest_first
    from spell_rows
    inner join targets on spell_rows.spell = 0 or spell_rows.joined_date <= targets.last_day
    where spell_rows.is_newest_of_spell
),

spells_now as (
    select * from spells
    where newest_first = 1
),

-- Whole months between two spells, whatever numbers were still held then.
spells_before as (
    select
        spells.customer_id,
        spells.period,
        max(case when spells.spell = 0 then spells.joined_date end) as first_joined_date,
        bit_or(
            case
                when spells.away_first_index <= spells.away_last_index and spells.period_index - spells.away_last_index <= 59
                    then
                        {{ month_bits("spells.period_index - spells.away_last_index", "least(spells.period_index - spells.away_first_index, 59)") }}
                else 0
            end
        ) as away_mask
    from spells
    inner join spells_now
        on spells.customer_id = spells_now.customer_id and spells.period = spells_now.period and spells.spell < spells_now.spell
    group by spells.customer_id, spells.period
),

-- The row that holds on the last day; where none does yet, the first one, for its day of joining alone.
as_of as (
    select
        versions.*,
        targets.period,
        targets.period_index,
        targets.last_day,
        versions.valid_from_date <= targets.last_day as holds
    from versions
    cross join targets
    where
        (versions.valid_from_date <= targets.last_day and (versions.next_from_date is null or versions.next_from_date > targets.last_day))
        or (versions.is_first and versions.valid_from_date > targets.last_day)
),

dated as (
    select
        as_of.*,
        case when spells_now.customer_id is not null then spells_now.joined_date else as_of.newest_joined_date end as joined_by_then,
        case when spells_now.customer_id is not null then spells_now.left_date else as_of.newest_left_date end as left_by_then,
        spells_before.first_joined_date,
        spells_before.away_mask
    from as_of
    left join spells_now on as_of.customer_id = spells_now.customer_id and as_of.period = spells_now.period
    left join spells_before on as_of.customer_id = spells_before.customer_id and as_of.period = spells_before.period
)

select
    customer_id,
    period,
    period_index,
    case when holds then brand end as brand,
    case when holds then plan end as plan,
    case when holds then region end as region,
    case when holds then segment end as segment,
    case when holds then is_real_name end as is_real_name,
    case when holds then credit_class end as credit_class,
    joined_by_then as joined_date,
    -- Who leaves later has not left: of the months to come the row that holds may speak, and none of after the period.
    case
        when left_by_then <= last_day then left_by_then
        when holds and left_date > last_day then left_date
    end as left_date,
    first_joined_date,
    away_mask
from dated
