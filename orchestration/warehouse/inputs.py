"""What dbt reads: views over exactly the landed parts of a cut-off, the tables of the run's control, and policies.

One transaction writes them all, so that a killed run leaves either the inputs of the run before or those of this one.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from orchestration.deployment import Deployment
from orchestration.ledger.readers import (
    begins_anew,
    releases_in_catalog,
)
from orchestration.ledger.store import Ledger
from orchestration.periods import add_months, first_day, last_day, period_index
from orchestration.release.folder import mart_files, release_folder
from orchestration.sqltext import literal, parquet
from orchestration.warehouse.database import Held, has_table, read_held, warehouse
from orchestration.warehouse.landed import Landed, landed_at
from orchestration.warehouse.plan import CARRIED, RunPlan, window_months

_STATE = """
create schema if not exists ctl;
create table if not exists ctl.applied (period varchar, digest varchar, cutoff_seq bigint);
create table if not exists ctl.state (key varchar, value varchar);
"""


def write_inputs(
    deployment: Deployment, ledger: Ledger, plan: RunPlan, store_policies: Callable[[duckdb.DuckDBPyConnection], None]
) -> None:
    """Write the schemas ``landing``, ``ctl`` and ``policy`` of the warehouse for ``plan``."""
    landed = landed_at(deployment, ledger, plan.cutoff_seq)
    held = read_held(deployment.warehouse)
    with warehouse(deployment.warehouse) as con:
        con.execute("begin")
        for statement in _STATE.strip().split(";\n"):
            con.execute(statement)
        _forget_outdated(con, held, plan)
        if begins_anew(ledger, plan.periods[0]):
            _forget_never_released(con, plan.periods[0])
        _write_landing(con, landed, plan)
        _write_control(con, deployment, landed, plan)
        _write_released_movements(con, deployment, ledger, plan)
        store_policies(con)
        con.execute("commit")


def _forget_outdated(con: duckdb.DuckDBPyConnection, held: Held, plan: RunPlan) -> None:
    """Drop what was made by other code or other measures: it is made again as a whole."""
    for schema in ("landing", "policy", "staging", "intermediate", "marts"):
        con.execute(f"create schema if not exists {schema}")
    if held.months_version != plan.months_version:
        for table in ("int_customer_months", "int_landed_charges"):
            con.execute(f"drop table if exists intermediate.{table}")
        con.execute("delete from ctl.applied")
    # Of a run that ends before its rows are said to be applied nobody knows what it has made of its months: the next one reads them again,
    # also where they are made from the same again as they were before it.
    con.execute("delete from ctl.applied where period in (select unnest(?))", [plan.input_periods])
    if held.windows_version != plan.windows_version:
        con.execute("drop table if exists intermediate.int_customer_windows")
    con.execute("delete from ctl.state")
    con.execute("insert into ctl.state values ('months_version', ?), ('windows_version', ?)", [plan.months_version, plan.windows_version])


def _forget_never_released(con: duckdb.DuckDBPyConnection, first: str) -> None:
    """Drop what runs that were never released have left of the months before ``first``: a level would go on from what nobody has seen."""
    for table in (f"intermediate.{CARRIED}", "intermediate.int_movement_causes"):
        if has_table(con, table):
            con.execute(f"delete from {table} where period < ?", [first])


def _write_landing(con: duckdb.DuckDBPyConnection, landed: Landed, plan: RunPlan) -> None:
    """Bill lines of the months that are read again, points of the months that the run's windows read, all else as far as any window reaches.

    What has a state is read whole: it counts until it is closed, in every month, however long ago it was opened.
    """
    within_reach = {add_months(period, -back) for period in plan.periods for back in range(plan.reach_months)}
    periods = {"bill_lines": set(plan.input_periods), "points": set(plan.points_periods)}
    for entity, contract in landed.contracts.items():
        is_whole = not contract.by_period or any(column.changes_with for column in contract.columns.values())
        select = landed.select(entity, None if is_whole else periods.get(entity, within_reach))
        con.execute(f'create or replace view landing."{entity}" as {select}')


def _write_control(con: duckdb.DuckDBPyConnection, deployment: Deployment, landed: Landed, plan: RunPlan) -> None:
    changed_from = min([*plan.input_periods, *plan.periods, *plan.extra_window_periods])
    con.execute(
        """
        create or replace table ctl.run as select
            cast(? as varchar) as run_id, cast(? as bigint) as cutoff_seq, cast(? as varchar) as code_version, cast(? as varchar) as policy_hash,
            cast(? as varchar) as inputs_hash, cast(? as varchar) as currency, cast(? as varchar) as timezone, cast(? as varchar) as customers_from,
            cast(? as integer) as totals_base_index, cast(? as integer) as first_changed_index
        """,
        [
            plan.run_id,
            plan.cutoff_seq,
            plan.code_version,
            plan.policy_hash,
            plan.inputs_hash,
            deployment.config.currency,
            deployment.config.timezone,
            deployment.config.customers_from,
            period_index(plan.totals_base) if plan.totals_base else None,
            period_index(changed_from),
        ],
    )
    con.execute("create or replace table ctl.target_periods (period varchar, period_index integer, first_day date, last_day date)")
    con.executemany(
        "insert into ctl.target_periods values (?, ?, ?, ?)", [[p, period_index(p), first_day(p), last_day(p)] for p in plan.periods]
    )
    con.execute("create or replace table ctl.input_periods (period varchar, period_index integer, has_bills_of_customers_alone boolean)")
    if plan.input_periods:
        alone = landed.periods_of_customers(plan.input_periods)
        con.executemany("insert into ctl.input_periods values (?, ?, ?)", [[p, period_index(p), p in alone] for p in plan.input_periods])
    con.execute("create or replace table ctl.window_months (period varchar, period_index integer, month_index integer)")
    con.execute(
        "insert into ctl.window_months select * from (values "
        + ", ".join(f"({literal(period)}, {target}, {month})" for period, target, month in window_months(plan))
        + ")"
    )
    con.execute("create or replace table ctl.charge_periods (period varchar, charge_period varchar)")
    reached = [[period, month] for period, months in plan.charge_periods.items() for month in months]
    if reached:
        con.executemany("insert into ctl.charge_periods values (?, ?)", reached)
    con.execute("create or replace table ctl.entities (entity varchar, parts bigint, is_delivered boolean)")
    con.executemany(
        "insert into ctl.entities values (?, ?, ?)",
        [[entity, len(found), entity not in plan.undelivered] for entity, found in landed.parts.items()],
    )


def _write_released_movements(con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, plan: RunPlan) -> None:
    """The movements of the eleven months before the plan's, as readers see them: those that the warehouse has of a month may never have been
    released, or were rolled back. Failed where the files of one of these releases are gone."""
    seen = releases_in_catalog(ledger)
    releases = [seen[period] for back in range(1, 12) if (period := add_months(plan.periods[0], -back)) in seen]
    files = [mart_files(release_folder(deployment, release)).get("fct_tier_movements") for release in releases]
    there = [file for file in files if file is not None]
    texts = "program_id, subject_type, subject_id, period, movement_cause"
    nothing = ", ".join(f"cast(null as varchar) as {name}" for name in texts.split(", "))
    ranks = ", ".join(f"cast(null as integer) as {name}" for name in ("to_level_rank", "from_level_rank"))
    source = parquet(there) if there else f"(select {nothing}, {ranks} where false)"
    con.execute(
        f"""
        create or replace view ctl.released_movements as
        select {texts}, to_level_rank as level_rank, from_level_rank as previous_level_rank from {source}
        """
    )


def record_applied(deployment: Deployment, plan: RunPlan) -> None:
    """Say that the warehouse now holds what ``plan`` read; called only after dbt has succeeded."""
    with warehouse(deployment.warehouse) as con:
        con.execute("begin")
        for period, made_from in plan.period_digests.items():
            con.execute("delete from ctl.applied where period = ?", [period])
            con.execute("insert into ctl.applied values (?, ?, ?)", [period, made_from, plan.cutoff_seq])
        con.execute("commit")
