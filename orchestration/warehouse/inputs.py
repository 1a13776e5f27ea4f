"""What dbt reads: views over exactly the landed parts of a cut-off, the tables of the run's control, and policies.

One transaction writes them all, so that a killed run leaves either the inputs of the run before or those of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import Busy, Failed
from orchestration.ingest import parts
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.copies import delivered
from orchestration.ingest.files import file_in, storage_failure
from orchestration.ingest.mapping import load_mappings
from orchestration.ingest.parts import Part
from orchestration.ingest.relanding import check_currency
from orchestration.ingest.supersession import in_force
from orchestration.ledger.readers import begins_anew, releases_in_catalog, rolled_back
from orchestration.ledger.store import Ledger, digest
from orchestration.periods import add_months, first_day, last_day, period_from_index, period_index, periods_between
from orchestration.policy import sql
from orchestration.policy.model import Policies
from orchestration.policy.subjects import SUBJECT_TYPES
from orchestration.policy.used import months_of_charge_types, months_reached
from orchestration.release.folder import mart_files, release_folder
from orchestration.sqltext import PERIOD_FOLDER, literal, parquet
from orchestration.warehouse.plan import (
    CARRIED,
    USUAL_REACH_MONTHS,
    Carried,
    Held,
    RunPlan,
    check_levels_go_on,
    check_no_run_was_broken_off,
    check_periods,
    check_readers_see_what_is_read,
    choose_base,
    code_version,
    extra_windows,
    months_version,
    new_run_id,
    news,
    released_decisions,
    released_programs,
    stale_periods,
    unsettled,
    window_months,
    windows_version,
)

LINEAGE = {"_source": "VARCHAR", "_file_id": "VARCHAR", "_row": "BIGINT", "_key": "VARCHAR", "_content_hash": "VARCHAR"}
# What the views of entities kept by period hold besides: the period as months since year 0.
PERIOD_INDEX = "_period_index"

_STATE = """
create schema if not exists ctl;
create table if not exists ctl.applied (period varchar, digest varchar, cutoff_seq bigint);
create table if not exists ctl.state (key varchar, value varchar);
"""


@contextmanager
def warehouse(path: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse; errors of the environment become ours, with what to do."""
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        con = duckdb.connect(str(path), read_only=read_only)
    except OSError as err:
        raise Failed(f"the data folder cannot be written: {err.strerror}", str(path.parent), "make it writable, or free space") from err
    except duckdb.Error as err:
        if "could not set lock" in str(err).lower():
            raise Busy(
                "another process has the warehouse open", str(path), "wait until it is done; BI tools read a release, never the warehouse"
            ) from err
        remedy = "check space and permissions; if the file is damaged delete it and run all months again: they are built from the landing"
        raise Failed(f"the warehouse cannot be opened: {err}", str(path), remedy) from err
    try:
        con.execute("set TimeZone = 'UTC'")
        yield con
    except duckdb.Error as err:
        if failed := storage_failure(err, path):
            raise failed from err
        raise
    finally:
        con.close()


def relation(contract: Contract, landed: list[Part], superseded: dict[str, list[Path]]) -> str:
    """SELECT of an entity's effective rows. ``superseded``: file id → the lists that name rows of it.

    Only files of which rows were replaced meet the lists; all others are read without a join. A row is known by its key: a line of a drop
    may hold several rows. Where landing keeps a part per period the period's index is a constant of each file, made of the name of its
    folder: rows need no arithmetic on text, a filter on it leaves files unread, and who asks for one period after the other is not
    planned a scan of each for each.
    """
    types = {name: contract.columns[name].sql_type for name in contract.landed} | LINEAGE
    index = {PERIOD_INDEX: "INTEGER"} if contract.by_period else {}
    if not landed:
        empty = ", ".join(f'cast(null as {sql_type}) as "{name}"' for name, sql_type in (types | index).items())
        return f"select {empty} where false"
    names = ", ".join(f'"{name}"' for name in types | index)
    columns = ", ".join([*(f'"{name}"' for name in types), *(f"{sql.period_index(PERIOD_FOLDER)} as {name}" for name in index)])
    touched = [part.path for part in landed if part.file_id in superseded]
    untouched = [part.path for part in landed if part.file_id not in superseded]
    lists = {path for part in landed for path in superseded.get(part.file_id, [])}
    selects = []
    if untouched:
        selects.append(f"select {columns} from {parquet(untouched, by_period=contract.by_period)}")
    if touched:
        scan = f"select {columns} from {parquet(touched, by_period=contract.by_period)}"
        selects.append(f"select {names} from {in_force(scan, lists)} as landed")
    return " union all ".join(selects)


class Landed:
    """Everything landed at a cut-off: parts by entity, and which rows of which files newer rows replaced."""

    def __init__(self, deployment: Deployment, ledger: Ledger, drops: list[tuple[int, dict[str, Any]]]) -> None:
        self.contracts = load_contracts()
        self.known = parts.Landed(deployment, ledger)
        for seq, drop in drops:
            self.known.add(seq, drop)
        self.parts: dict[str, list[Part]] = {entity: self.known.parts(entity) for entity in self.contracts}
        self.lists: dict[str, list[Path]] = {entity: self.known.superseded(entity) for entity in self.contracts}
        self._con = duckdb.connect()
        self._digests: dict[str, dict[str, str]] = {}
        # Path of a part of bills → whether any of its lines has no customer.
        self._lacks_customers: dict[str, bool] = {}
        # (entity, file id of the older rows, their period) → lists
        self.replaced: dict[str, dict[str, list[Path]]] = {}
        self.replaced_in: dict[tuple[str, str], list[str]] = {}
        for entity, lists in self.lists.items():
            of_file = self.replaced[entity] = {}
            listed = (
                "select distinct filename, file_id, period from read_parquet(?, filename = true, hive_partitioning = false) order by all"
            )
            for name, file_id, period in self._rows(listed, [[str(path) for path in lists]]) if lists else []:
                path = Path(name)
                if path not in of_file.setdefault(file_id, []):
                    of_file[file_id].append(path)
                self.replaced_in.setdefault((entity, period), []).append(f"{path.stem}:{file_id}")

    def _rows(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            return self._con.execute(query, parameters or []).fetchall()
        except duckdb.IOException as err:
            where = file_in(str(err)) or (str(parameters[0]) if parameters and isinstance(parameters[0], str) else "landing")
            raise Failed(f"the landing cannot be read: {err}", where, "restore the file from a backup, or make it readable") from err

    def select(self, entity: str, periods: set[str] | None = None) -> str:
        """Effective rows of an entity; with ``periods`` only their parts."""
        wanted = [part for part in self.parts[entity] if periods is None or part.period in periods]
        return relation(self.contracts[entity], wanted, self.replaced[entity])

    def periods(self, entity: str) -> list[str]:
        return sorted({part.period for part in self.parts[entity] if part.period})

    def periods_of(self, kinds: set[str], timezone: str, newest_landing: str) -> list[str]:
        """Months in which subjects of these types can be graded without bills: from their first row on, up to their last one or to
        the month of the newest landing, for what was said once holds until it is said otherwise."""
        days = []
        for subject in (SUBJECT_TYPES[kind] for kind in sorted(kinds)):
            if self.parts[subject.entity]:
                day = subject.at_column or self.contracts[subject.entity].history
                local = f"cast(({day} at time zone 'UTC') at time zone {literal(timezone)} as date)" if subject.at_column else day
                days.append(f"select {local} as day from ({self.select(subject.entity)})")
        if not days:
            return []
        [(low, high)] = self._rows(f"select strftime(min(day), '%Y-%m'), strftime(max(day), '%Y-%m') from ({' union all '.join(days)})")
        newest = datetime.fromisoformat(newest_landing).astimezone(ZoneInfo(timezone)).strftime("%Y-%m")
        return periods_between(low, max(high, newest)) if low else []

    def hash(self) -> str:
        """Identity of all that has landed: files by entity (content-addressed) and the lists of replaced rows."""
        return digest(
            {
                entity: [sorted({part.file_id for part in landed}), sorted(path.stem for path in self.lists[entity])]
                for entity, landed in self.parts.items()
                if landed
            }
        )

    def period_digests(self, upto: str) -> dict[str, str]:
        """For each month up to ``upto``: identity of the rows that its customer-months and points-months are made from."""
        periods = sorted({*self.periods("bill_lines"), *self.periods("points")})
        periods = [period for period in periods if period <= upto]
        if upto in self._digests:
            return self._digests[upto]
        holders = self._holders_of_numbers(periods)
        self._digests[upto] = {
            period: digest(
                [
                    sorted(
                        f"{part.entity}:{part.source}:{part.file_id}"
                        for entity in ("bill_lines", "points")
                        for part in self.parts[entity]
                        if part.period == period
                    ),
                    [sorted(self.replaced_in.get((entity, period), [])) for entity in ("bill_lines", "points")],
                    holders.get(period),
                ]
            )
            for period in periods
        }
        return self._digests[upto]

    def _holders_of_numbers(self, periods: list[str]) -> dict[str, str]:
        """Identity of the number holders in each month that has bills without a customer: those bills depend on them."""
        billed = self._without_customer(periods) if self.parts["lines"] else []
        if not billed:
            return {}
        wanted = ", ".join(f"({literal(period)}, date '{first_day(period)}', date '{last_day(period)}')" for period in periods)
        rows = self._rows(
            f"""
            with months (period, first_day, last_day) as (values {wanted}),
            numbers as (
                select distinct line_id, bill_period as period from ({relation(self.contracts["bill_lines"], billed, self.replaced["bill_lines"])})
                where customer_id is null and line_id is not null
            ),
            -- As the staging model reads them: whoever takes a number over ends the interval before, also for the months after giving it back.
            intervals as (
                select line_id, customer_id, start_date,
                    least(end_date, lead(start_date) over (partition by line_id order by start_date, _source) - 1) as end_date
                from ({self.select("lines")})
                where line_id in (select line_id from numbers)
            ),
            held as (
                select months.period, l.line_id, l.customer_id, greatest(l.start_date, months.first_day) as first_day,
                    least(l.end_date, months.last_day) as last_day
                from intervals as l
                inner join numbers using (line_id)
                inner join months on numbers.period = months.period and l.start_date <= months.last_day
                where l.end_date is null or (l.end_date >= months.first_day and l.end_date >= l.start_date)
            )
            select period, cast(bit_xor(hash(line_id, customer_id, first_day, last_day)) as varchar) || ':' || count(*) from held group by period
            """
        )
        return dict(rows)

    def periods_of_customers(self, periods: Collection[str]) -> set[str]:
        """Those of the periods that have bill lines, each with a customer of its own."""
        return {*periods} & {*self.periods("bill_lines")} - {part.period for part in self._without_customer(periods)}

    def _without_customer(self, periods: Collection[str]) -> list[Part]:
        """The parts that hold any bill without a customer, by the statistics in the files' footers, which are read once: most hold none."""
        wanted = set(periods)
        billed = [part for part in self.parts["bill_lines"] if part.period in wanted]
        if unread := [str(part.path) for part in billed if str(part.path) not in self._lacks_customers]:
            rows = self._rows(
                """
                select distinct file_name from parquet_metadata(?)
                where path_in_schema = 'customer_id' and coalesce(stats_null_count, 1) > 0
                """,
                [unread],
            )
            self._lacks_customers |= dict.fromkeys(unread, False) | {name: True for (name,) in rows}
        return [part for part in billed if self._lacks_customers[str(part.path)]]


_read: dict[Path, tuple[tuple[Any, ...], Landed]] = {}


def landed_at(deployment: Deployment, ledger: Ledger, cutoff_seq: int) -> Landed:
    """What had landed at a cut-off. The last one is kept: a run plans before it takes the drops in and after, mostly over the same drops."""
    drops = parts.landed(ledger, cutoff_seq)
    identity = (deployment.data, [(seq, drop["file_id"]) for seq, drop in drops])
    known = _read.get(ledger.path)
    if known is None or known[0] != identity:
        _read[ledger.path] = known = (identity, Landed(deployment, ledger, drops))
    return known[1]


def _has_table(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    return bool(con.execute("select 1 from duckdb_tables() where schema_name || '.' || table_name = ?", [name]).fetchall())


@contextmanager
def _holding(path: Path, table: str) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """The warehouse at ``path``, to be read; None where it is not there, or has no such table."""
    if not path.exists():
        yield None
        return
    with warehouse(path, read_only=True) as con:
        yield con if _has_table(con, table) else None


def read_held(path: Path) -> Held:
    """What the warehouse at ``path`` says it holds; nothing if it is not there."""
    with _holding(path, "ctl.applied") as con:
        if con is None:
            return Held()
        state = dict(con.execute("select key, value from ctl.state").fetchall())
        windows: list[str] = []
        if _has_table(con, "intermediate.int_customer_windows"):
            windows = [
                row[0] for row in con.execute("select distinct period from intermediate.int_customer_windows order by period").fetchall()
            ]
        months_are_there = _has_table(con, "intermediate.int_customer_months")
        return Held(
            digests=dict(con.execute("select period, digest from ctl.applied").fetchall()) if months_are_there else {},
            months_version=state.get("months_version", ""),
            windows_version=state.get("windows_version", ""),
            window_periods=windows,
        )


def prepared_run(path: Path) -> str | None:
    """The run that the inputs in the warehouse at ``path`` were written for; None if there are none."""
    with _holding(path, "ctl.run") as con:
        return None if con is None else str(con.execute("select run_id from ctl.run").fetchall()[0][0])


def carried_levels(path: Path, before: str, programs: Collection[str]) -> dict[str, Carried]:
    """For each program with decisions in ``before`` or an earlier month: the newest such month in the warehouse at ``path``."""
    if not programs:
        return {}
    decisions = f"intermediate.{CARRIED}"
    levels = "bool_or(level_id is not null or held_level_id is not null)"
    with _holding(path, decisions) as con:
        if con is None:
            return {}
        # One month is read from the files' statistics; all of them only where it does not tell, which a run then refuses.
        query = f"select program_id, period_index, {levels} from {decisions} where period_index = ? group by all"
        found = {row[0]: row for row in con.execute(query, [period_index(before)]).fetchall()}
        lacking = sorted(set(programs) - found.keys())
        if lacking:
            newest = f"select program_id, max(period_index) as period_index from {decisions} where period_index < ? group by all"
            query = f"select program_id, period_index, {levels} from {decisions} semi join ({newest}) using (program_id, period_index) group by all"
            found |= {row[0]: row for row in con.execute(query, [period_index(before)]).fetchall() if row[0] in lacking}
    return {program: Carried(period_from_index(index), has_levels) for program, index, has_levels in found.values()}


def lost_periods(path: Path, released: Collection[str]) -> list[str]:
    """Which of the periods, released with decisions, the warehouse at ``path`` holds none of: it was deleted or begun anew."""
    if not released:
        return []
    decisions = f"intermediate.{CARRIED}"
    with _holding(path, decisions) as con:
        if con is None:
            return sorted(released)
        query = f"select 1 from {decisions} where period_index = ? limit 1"
        return [period for period in sorted(released) if not con.execute(query, [period_index(period)]).fetchall()]


def programs_with_levels(policies: Policies) -> set[str]:
    """Ids of the programs of which a month goes on from the month before; events carry no level."""
    return {program.program_id for program in policies.enabled() if program.row["clock"] != "event"}


def _check_levels_go_on(
    deployment: Deployment, ledger: Ledger, periods: list[str], first_landed: str, policies: Policies, new: Collection[str]
) -> None:
    """See the checks of :mod:`orchestration.warehouse.plan`."""
    enabled = programs_with_levels(policies)
    if not enabled:
        return
    check_no_run_was_broken_off(periods, ledger, deployment.config.first_period)
    check_readers_see_what_is_read(periods, rolled_back(ledger), new)
    released = {program: months for program, months in released_programs(ledger).items() if program in enabled and months[0] < periods[0]}
    carried = carried_levels(deployment.warehouse, add_months(periods[0], -1), released)
    check_levels_go_on(periods, max(deployment.config.first_period, first_landed), released, carried)


def plan_run(
    deployment: Deployment,
    ledger: Ledger,
    periods: list[str],
    policies: Policies,
    compiled: dict[str, str],
    undelivered: Collection[str],
    *,
    is_asked: bool = False,
) -> RunPlan:
    """The plan of a run over ``periods``; reads ledger, landing and warehouse, writes nothing. ``is_asked``: it is carried out though
    there may be nothing to do; BadInput where the periods would go on from rows that they may not go on from."""
    cutoff_seq, _ = ledger.head()
    landed = landed_at(deployment, ledger, cutoff_seq)
    check_currency(deployment, landed.known)
    kinds = {program.subject_type for program in policies.enabled()}
    if "customer" in kinds or not kinds:
        there = landed.periods("bill_lines")
        if there and periods[-1] > there[-1]:
            there += _months_without_bills(deployment, ledger, after=there[-1])
        check_periods(periods, deployment.config.first_period, there)
    else:
        newest = max((entry.at for entry in ledger.entries("drop_landed", upto=cutoff_seq)), default="")
        of = " or ".join(SUBJECT_TYPES[kind].entity for kind in sorted(kinds))
        there = landed.periods_of(kinds, deployment.config.timezone, newest)
        check_periods(periods, deployment.config.first_period, there, f"rows of {of}")
    held = read_held(deployment.warehouse)
    months = months_version(deployment, compiled)
    windows = windows_version(months, compiled)
    digests = landed.period_digests(periods[-1])
    input_periods = stale_periods(digests, held.digests if held.months_version == months else {})
    window_periods = held.window_periods if held.windows_version == windows else []
    base = choose_base(window_periods, min([*input_periods, *periods]))
    inputs_hash = digest([landed.hash(), deployment.config.timezone, deployment.config.currency, deployment.config.customers_from])
    made_from: dict[str, Any] = {
        "inputs_hash": inputs_hash,
        "policy_hash": policies.hash,
        "code_version": code_version(),
        "undelivered": sorted(undelivered),
    }
    new = news(ledger, periods, made_from, cutoff_seq)
    why = {**unsettled(ledger, periods), **new} or dict.fromkeys(
        lost_periods(deployment.warehouse, released_decisions(ledger, periods)), "the warehouse does not hold it any more"
    )
    if why or is_asked:
        _check_levels_go_on(deployment, ledger, periods, there[0], policies, new)
    plan = RunPlan(
        run_id=new_run_id(),
        periods=periods,
        input_periods=input_periods,
        cutoff_seq=cutoff_seq,
        nothing_new=not why,
        reasons=[f"{period}: {why[period]}" for period in periods if period in why],
        totals_base=base,
        extra_window_periods=extra_windows(periods, base),
        first_landed_period=min(digests, default=None),
        reach_months=max(USUAL_REACH_MONTHS, policies.reach_months),
        period_digests={period: digests[period] for period in input_periods},
        months_version=months,
        windows_version=windows,
        charge_periods=_charge_periods(periods, policies, landed),
        **made_from,
    )
    return replace(plan, points_periods=_points_periods(plan, policies, landed))


def _months_without_bills(deployment: Deployment, ledger: Ledger, after: str) -> list[str]:
    """Months ``after`` the last bills of which a promised file says that there are none: it has landed and holds no row."""
    feeds = {feed.source: feed for mapping in load_mappings(deployment) for feed in mapping.feeds if feed.entity == "bill_lines"}
    empty = [d for d in delivered(ledger) if d["entity"] == "bill_lines" and d["source"] in feeds and d["rows_in"] == d["not_for_entity"]]
    named = {period for drop in empty if (period := feeds[drop["source"]].period_of(drop["file"]))}
    return sorted(period for period in named if period > after)


def _points_periods(plan: RunPlan, policies: Policies, landed: Landed) -> list[str]:
    """The landed months of points that some metric in use reads in this run."""
    known = {period_index(period) for period in landed.periods("points")}
    read: set[int] = set()
    for target in {target for _, target, _ in window_months(plan)}:
        reached = known & {month for _, period, month in window_months(plan) if period == target}
        read |= months_reached(policies.used_metrics, "points", target, reached)
    return [period_from_index(index) for index in sorted(read)]


def _charge_periods(periods: list[str], policies: Policies, landed: Landed) -> dict[str, list[str]]:
    """Period → the landed months of bills in which some metric in use asks for charge types."""
    known = {period_index(period) for period in landed.periods("bill_lines")}
    return {
        period: [period_from_index(index) for index in sorted(months_of_charge_types(policies.used_metrics, period_index(period), known))]
        for period in periods
    }


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
        if _has_table(con, table):
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
