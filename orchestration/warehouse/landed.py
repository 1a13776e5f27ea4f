"""What had landed at a cut-off: the parts of every entity, which of their rows newer ones replaced, and the SQL that reads the others."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest import parts
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.files import file_in
from orchestration.ingest.parts import Part
from orchestration.ingest.supersession import in_force
from orchestration.ledger.store import Ledger, digest
from orchestration.periods import first_day, last_day, periods_between
from orchestration.policy import sql
from orchestration.policy.subjects import SUBJECT_TYPES
from orchestration.sqltext import PERIOD_FOLDER, literal, parquet

LINEAGE = {"_source": "VARCHAR", "_file_id": "VARCHAR", "_row": "BIGINT", "_key": "VARCHAR", "_content_hash": "VARCHAR"}


# What the views of entities kept by period hold besides: the period as months since year 0.
PERIOD_INDEX = "_period_index"


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
