{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where period in (select period from ctl.input_periods){% endif %}",
    )
}}

-- Straight from the landing, past every join and policy: what conservation and the charge types are measured against.
select
    bill_period as period,
    charge_type,
    cast(sum(net_amount) as decimal(18, 4)) as landed_amount,
    count(*) as landed_line_count
from {{ ref("stg_landing__bill_lines") }}
group by bill_period, charge_type
