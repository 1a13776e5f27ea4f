"""A small warehouse with the marts' columns, for tests of gate, release and channels that need no ingest and no dbt.

Customers c1 … c<n>; levels by number; one period after the other. ``faults`` are SQL statements run on it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from orchestration.channels import Contract
from orchestration.channels.contract import Column, Condition
from orchestration.deployment import Config, Deployment
from orchestration.ledger import Ledger


@dataclass
class Plan:
    run_id: str
    periods: list[str]
    cutoff_seq: int = 0
    policy_hash: str = "policy"
    inputs_hash: str = "inputs"
    code_version: str = "0.1.0"
    undelivered: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def silent(_: str) -> None:
    """A ``say`` that says nothing."""


def make_place(folder: Path, **limits: float) -> tuple[Deployment, Ledger]:
    """A deployment whose data is in ``folder``, without any drop; ``limits`` are keys of its ``tierhouse.yaml``."""
    config = Config(
        name="testing",
        title="Testing",
        currency="CNY",
        timezone="Asia/Shanghai",
        first_period="2026-01",
        data=str(folder / "data"),
        drops=str(folder / "drops"),
        **limits,
    )
    (folder / "deployment").mkdir(parents=True, exist_ok=True)
    deployment = Deployment(folder / "deployment", config)
    deployment.data.mkdir(parents=True, exist_ok=True)
    return deployment, Ledger(deployment.ledger)


def build_warehouse(
    deployment: Deployment,
    periods: Sequence[str],
    *,
    customers: int = 60,
    faults: Iterable[str] = (),
) -> None:
    """Replace the warehouse by one in which every check passes, then run ``faults``."""
    deployment.warehouse.unlink(missing_ok=True)
    con = duckdb.connect(str(deployment.warehouse))
    con.execute("create schema marts; create schema intermediate; create schema policy; create schema ctl; create schema landing")
    listed = ", ".join(f"('{p}', {i})" for i, p in enumerate(periods))
    con.execute(f"create temp table p as select * from (values {listed}) t(period, n)")
    con.execute(
        f"""create table intermediate.int_customer_metrics as
        select 'c' || i as customer_id, period, true as is_in_scope, cast(10 * (i % 7) as decimal(18,4)) as spend_amount,
            case i % 3 when 0 then 'gotone' when 1 then 'easyown' end as brand, 'north' as region
        from range(1, {customers + 1}) r(i), p"""
    )
    for other in ("group", "prospect", "staff", "reception"):
        con.execute(f"create table intermediate.int_{other}_metrics (subject_id varchar, period varchar, is_in_scope boolean)")
    con.execute(
        "create table intermediate.int_application_states (program_id varchar, subject_id varchar, period varchar, is_event boolean)"
    )
    con.execute(
        """create table marts.fct_decisions as
        select 'six_star' as program_id, 'customer' as subject_type, customer_id as subject_id, period,
            'star_' || lvl as level_id, lvl as level_rank,
            'star_' || lvl as qualified_level_id, lvl as qualified_level_rank,
            'star_' || lvl as held_level_id, lvl as held_level_rank,
            '[{"step":"scope"}]' as steps, 'decided' as status, cast(null as varchar) as status_reason,
            'rule_' || lvl as matched_rule_id, 'v1' as policy_version, 'abc' as policy_hash,
            cast(null as varchar) as previous_level_id, cast(null as integer) as previous_level_rank,
            'first' as movement, cast(null as varchar) as movement_cause, period as held_since_period,
            cast(null as varchar) as valid_until_period, cast(null as varchar) as next_level_id,
            cast(null as varchar) as missing_attribute, cast(12.5 as decimal(18,4)) as missing_amount,
            cast(null as bigint) as population_size, cast(null as bigint) as population_rank,
            cast(null as decimal(18,6)) as score, '{"spend_6m_amount": 10.0000}' as evidence,
            'follows' as review, cast(null as integer) as cap_level_rank, cast(null as integer) as at_least_level_rank,
            cast(null as integer) as set_level_rank, cast(null as date) as event_date, cast(null as decimal(24,4)) as rank_value
        from (select *, cast(1 + (cast(substr(customer_id, 2) as integer) % 6) as integer) as lvl from intermediate.int_customer_metrics)"""
    )
    con.execute(
        """create table marts.fct_customer_tags as
        select customer_id, period, 'complaint_open' as tag_id, 'T6' as category_id, '{}' as evidence,
            last_day(cast(period || '-01' as date)) as expires_date, 'open' as state
        from intermediate.int_customer_metrics where customer_id like '%5'
        union all
        select customer_id, period, 'rent_ends', 'T4', '{}', last_day(cast(period || '-01' as date)), 'due'
        from intermediate.int_customer_metrics where customer_id like '%15'"""
    )
    con.execute(
        """create table marts.fct_conservation as
        select period, cast(count(*) as bigint) as landed_line_count, cast(sum(spend_amount) as decimal(38,4)) as landed_amount,
            cast(sum(spend_amount) - 5 as decimal(38,4)) as decided_amount, cast(5 as decimal(38,4)) as unattributed_amount,
            cast(0 as decimal(38,4)) as difference_amount
        from intermediate.int_customer_metrics group by period"""
    )
    con.execute(
        """create table marts.fct_tier_movements as
        select program_id, subject_type, subject_id, period, level_id as from_level_id, level_id as to_level_id, 'rose' as direction, 'new_spend' as movement_cause
        from marts.fct_decisions where false"""
    )
    con.execute(
        """create view marts.fct_movement_counts as
        select program_id, period, movement_cause, direction, count(*) as subjects from marts.fct_tier_movements group by all"""
    )
    con.execute("create view marts.dim_customers as select customer_id, period, brand, region from intermediate.int_customer_metrics")
    con.execute(
        "create table marts.dim_programs as select 'six_star' as program_id, 'customer' as subject_type, 'Six stars' as name_en, '六星级' as name_zh"
    )
    con.execute(
        """create table marts.dim_levels as
        select 'six_star' as program_id, 'star_' || i as level_id, cast(i as integer) as level_rank, i || ' stars' as name_en, i || '星' as name_zh
        from range(1, 7) r(i)"""
    )
    con.execute(
        """create table policy.policy_versions as
        select 'six_star' as program_id, 'v1' as version, '2020-01' as valid_from_period, cast(null as varchar) as valid_to_period,
            'owner' as author, 'approver' as approver, cast(null as bigint) as validity_months,
            cast(null as bigint) as grace_months, cast(null as varchar) as fall"""
    )
    con.execute(
        """create table policy.programs as
        select 'six_star' as program_id, 'customer' as subject_type, 'month' as clock, cast(null as varchar) as event_entity, true as enabled"""
    )
    con.execute(
        """create table landing.nominations (nomination_id varchar, program_id varchar, subject_id varchar, kind varchar, level_id varchar, requester_id varchar,
            approver_id varchar, approved_date date, start_date date, end_date date)"""
    )
    con.execute("create table policy.levels as select program_id, level_id, level_rank as rank from marts.dim_levels")
    con.execute("create table policy.charge_types as select 'voice' as charge_type, true as counts_as_spend")
    con.execute(
        """create table intermediate.int_landed_charges as
        select period, 'voice' as charge_type, cast(sum(spend_amount) as decimal(18,4)) as landed_amount, count(*) as landed_line_count
        from intermediate.int_customer_metrics group by period"""
    )
    # The windows of a period reach six months.
    con.execute(
        """create table ctl.charge_periods as
        select period, strftime(cast(period || '-01' as date) - to_months(cast(back as integer)), '%Y-%m') as charge_period from p, range(6) r(back)"""
    )
    con.execute(
        "create table policy.caps (program_id varchar, version varchar, cap_id varchar, level_id varchar, attribute varchar, operator varchar, value varchar)"
    )
    con.execute("create table policy.channels as select 'hotline' as channel_id, 'six_star' as program_id")
    con.execute("create table policy.tags as select unnest(['complaint_open', 'rent_ends']) as tag_id")
    con.execute("create table ctl.compiled_sql as select 'decisions' as name, 'select 1' as sql, 'x' as sha256")
    for statement in faults:
        con.execute(statement)
    con.close()


def record_build(ledger: Ledger, run_id: str, ok: bool = True) -> None:
    """What the warehouse step records after dbt."""
    ledger.append("build", {"run_id": run_id, "ok": ok, "periods": [], "message": "" if ok else "model fct_decisions failed"})


def make_vault(deployment: Deployment, customers: int = 60) -> None:
    """Personal columns of the customers; phone 1380000<number>."""
    con = duckdb.connect(str(deployment.vault))
    con.execute(
        f"""create table customers as select 'c' || i as customer_id, 'Zhang ' || i as name, '1380000' || lpad(cast(i as varchar), 4, '0') as phone,
            cast(null as date) as _as_of_date, 'f' as _file_id, i as _row from range(1, {customers + 1}) r(i)"""
    )
    con.close()


def contract(
    channel_id: str = "hotline", *, audience: Sequence[Condition] = (), columns: Sequence[Column] = (), order_by: tuple[str, ...] = ()
) -> Contract:
    """A contract with the given columns, by default those of a hotline."""
    return Contract(
        channel_id=channel_id,
        version=1,
        program_id="six_star",
        format="csv",
        order_by=order_by,
        staleness_hours=24,
        transport="file",
        mode="full",
        audience=tuple(audience),
        columns=tuple(columns)
        or (
            Column("customer_id", "customer_id", False, "none"),
            Column("phone", "vault.customers.phone", True, "none"),
            Column("level_id", "level_id", False, "none"),
            Column("priority", "priority", False, "none"),
            Column("tags", "tags", False, "none"),
            Column("as_of_period", "as_of_period", False, "none"),
            Column("catalog", "catalog", False, "none"),
            Column("stale_after_at", "stale_after_at", False, "none"),
        ),
    )
