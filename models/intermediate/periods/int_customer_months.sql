{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook=[
            "{% if is_incremental() %}delete from {{ this }} where period_index in (select period_index from ctl.input_periods){% endif %}",
            "{{ plain_storage(true) }}",
        ],
        post_hook="{{ plain_storage(false) }}",
    )
}}

{%- set apart = months_with_customers() %}
{%- set sums %}
    cast(sum(l.net_amount) as decimal(18, 4)) as net_amount,
    count(*) as bill_line_count{{ compiled_columns("bill_line_measures") }}
{%- endset %}

-- The two halves name the same model instead of one CTE: an engine that keeps a CTE would copy every bill line to do so.
with numbers_only as (
    select
        bill_lines.*,
        {{ local_date("bill_lines.billed_at", "run.timezone") }} as billed_date
    from {{ ref("stg_landing__bill_lines") }} as bill_lines
    cross join {{ source("ctl", "run") }} as run
    where bill_lines.customer_id is null
),

holders as (
    select *
    from {{ ref("int_line_holders") }}
    where line_id in (select numbers_only.line_id from numbers_only)
),

-- Only lines without a customer meet the holders of numbers: the others are most of the bills and need no join.
with_customer as (
    select
        customer_id,
        bill_period_index,
        charge_type,
        document_id,
        product,
        quantity,
        net_amount,
        cost_amount,
        is_credit_note,
        is_adjustment
    from {{ ref("stg_landing__bill_lines") }}
    where customer_id is not null
    union all
    select
        holders.customer_id,
        numbers_only.bill_period_index,
        numbers_only.charge_type,
        numbers_only.document_id,
        numbers_only.product,
        numbers_only.quantity,
        numbers_only.net_amount,
        numbers_only.cost_amount,
        numbers_only.is_credit_note,
        numbers_only.is_adjustment
    from numbers_only
    left join holders
        on
            numbers_only.line_id = holders.line_id
            and numbers_only.bill_period_index between holders.first_index and holders.last_index
            -- In a month with a handover the day of use decides; a bill that does not say it belongs to nobody.
            and (
                (
                    coalesce(holders.last_index_before < numbers_only.bill_period_index, true)
                    and coalesce(holders.first_index_after > numbers_only.bill_period_index, true)
                )
                or (
                    {{ month_index("numbers_only.billed_date") }} = numbers_only.bill_period_index
                    and numbers_only.billed_date >= holders.start_date
                    and (holders.end_date is null or numbers_only.billed_date <= holders.end_date)
                )
            )
)

select
    l.customer_id,
    l.bill_period_index as period_index,
    {{- sums }}
from with_customer as l
where {{ "l.bill_period_index not in (" ~ apart | join(", ") ~ ")" if apart else "true" }}
group by l.customer_id, l.bill_period_index
{%- for index in apart %}
union all
select
    l.customer_id,
    cast({{ index }} as integer) as period_index,
    {{- sums }}
from {{ ref("stg_landing__bill_lines") }} as l
where l.bill_period_index = {{ index }} and l.customer_id is not null
group by l.customer_id
{%- endfor %}
