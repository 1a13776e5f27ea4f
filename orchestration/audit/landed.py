"""The landed rows behind a window: each with the drop and the line it came from, as known at a release's cut-off.

Read from the landing alone, not from the warehouse: an explanation compares its own sum with the one in the decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.parts import Landed, landed
from orchestration.ingest.supersession import in_force
from orchestration.ledger import Ledger
from orchestration.people import same_person
from orchestration.periods import first_day, last_day
from orchestration.policy.subjects import MONTH_TABLES

_FOREVER = date(9999, 12, 31)
_RESTORE = "restore the landing folder from a backup: the release cannot be traced without it"
_IN_PROGRAM = "l.subject_id = $subject and l.program_id = $program"


@dataclass(frozen=True)
class BillRow:
    """One bill line. ``row`` is the line of the drop as a text editor shows it; ``amount`` is net, in the deployment's currency.

    ``customer_id``: whose it is, named or by the number; ``values``: other columns that a measure asks for.
    """

    source: str
    file: str
    row: int
    document_id: str
    line_id: str | None
    period: str
    charge_type: str
    amount: Decimal
    is_credit_note: bool
    customer_id: str
    cost: Decimal | None
    values: dict[str, Any]


@dataclass(frozen=True)
class PointsRow:
    """One month of points of one kind."""

    source: str
    file: str
    row: int
    period: str
    points_type: str
    points: int
    customer_id: str


@dataclass(frozen=True)
class NominationRow:
    """A nomination or override that asks for a level of this subject in this program."""

    source: str
    file: str
    row: int
    nomination_id: str
    kind: str
    level_id: str
    reason: str
    requester_id: str
    approver_id: str | None
    approved_date: date | None
    start_date: date
    end_date: date

    def standing(self, period: str) -> str:
        """Whether it counts in ``period``: ``counts``, or the first reason why not."""
        if self.approver_id is None or self.approved_date is None:
            return "not_approved"
        if same_person(self.approver_id, self.requester_id):
            return "self_approved"
        if self.approved_date > last_day(period):
            return "approved_later"
        return "counts" if self.start_date <= last_day(period) and self.end_date >= first_day(period) else "not_in_force"


@dataclass(frozen=True)
class ApplicationStep:
    """One dated step of an application."""

    source: str
    file: str
    row: int
    application_id: str
    step: str
    step_date: date
    decided_by: str | None
    outcome: str | None


@dataclass(frozen=True)
class EntityRow:
    """A row of any other entity; ``values`` by column, personal columns are not landed."""

    source: str
    file: str
    row: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Holding:
    """From when until when a customer holds a number, both days included, clipped at the next holder's start."""

    customer_id: str
    start: date
    end: date


R = TypeVar("R", PointsRow, NominationRow, ApplicationStep)


class Landing:
    """Queries on the landing as it was at ``cutoff_seq``. Opens no file but Parquet parts; close with :meth:`close`."""

    def __init__(self, deployment: Deployment, ledger: Ledger, cutoff_seq: int) -> None:
        self._deployment = deployment
        self._con = duckdb.connect()
        self._con.execute("set timezone = 'UTC'")
        self._landed = Landed(deployment, ledger)
        self._files: dict[str, str] = {}
        for seq, drop in landed(ledger, cutoff_seq):
            self._landed.add(seq, drop)
            self._files[drop["file_id"]] = drop["file"]

    def close(self) -> None:
        """Free the connection."""
        self._con.close()

    def __enter__(self) -> Landing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(
        self, entity: str, columns: str, where: str, params: dict[str, Any], periods: set[str] | None = None
    ) -> list[tuple[Any, ...]]:
        """Effective rows of an entity: source, file id, row, then ``columns``; only the parts of ``periods`` if given."""
        known = self._landed.parts(entity)
        paths = [part.path for part in known if periods is None or part.period is None or part.period in periods]
        if not paths:
            return []
        if missing := next((path for path in paths if not path.exists()), None):
            raise Failed("a landed file is gone", str(missing), _RESTORE)
        bind: dict[str, Any] = {**params, "parts": [str(path) for path in paths]}
        of_parts = "select * from read_parquet($parts, union_by_name = true, hive_partitioning = false)"
        rows = in_force(of_parts, self._landed.superseded(entity))
        query = f"select l._source, l._file_id, l._row, {columns} from {rows} as l where {where}"
        try:
            return self._con.execute(query, bind).fetchall()
        except duckdb.Error as err:
            what = f"a landed file cannot be read: {str(err).splitlines()[0]}"
            raise Failed(what, str(self._deployment.landing / entity), _RESTORE) from err

    def _typed(self, kind: type[R], entity: str, where: str, params: dict[str, Any], periods: set[str] | None = None) -> list[R]:
        """Effective rows of an entity as ``kind``, whose fields behind source, file and row are columns."""
        columns = ", ".join(f"l.{field.name}" for field in fields(kind)[3:])
        rows = self._rows(entity, columns, where, params, periods)
        return [kind(source, self._file(file_id), *rest) for source, file_id, *rest in rows]

    def first_period(self) -> str | None:
        """The earliest period that has landed bills or points."""
        periods = (part.period for entity in MONTH_TABLES for part in self._landed.parts(entity))
        return min(filter(None, periods), default=None)

    def _file(self, file_id: str) -> str:
        return self._files.get(file_id, file_id)

    def _holdings(self, customers: list[str]) -> dict[str, list[Holding]]:
        """For each number that one of the customers ever held: all its holders, in order."""
        rows = self._rows(
            "lines",
            "l.line_id, l.customer_id, l.start_date, l.end_date",
            "l.line_id in (select o.line_id from read_parquet($parts, union_by_name = true, hive_partitioning = false) o "
            "where list_contains($customers, o.customer_id))",
            {"customers": customers},
        )
        by_line: dict[str, list[tuple[date, str, date, str]]] = {}
        for source, _, _, line_id, holder, start, end in rows:
            by_line.setdefault(line_id, []).append((start, source, end or _FOREVER, holder))
        found: dict[str, list[Holding]] = {}
        for line_id, holders in by_line.items():
            # As the warehouse orders who takes a number over on one day by two sources.
            holders.sort(key=lambda holding: holding[:2])
            starts = [start for start, *_ in holders[1:]] + [None]
            clipped = [
                Holding(holder, start, min(end, following - timedelta(days=1)) if following else end)
                for (start, _, end, holder), following in zip(holders, starts, strict=True)
            ]
            # Who took a number over on the day on which another did held it on no day.
            found[line_id] = [holding for holding in clipped if holding.end >= holding.start]
        return found

    def bills(self, customers: list[str], periods: list[str], columns: Iterable[str] = ()) -> list[BillRow]:
        """Bill lines of the customers in the periods: those that name one, and those of a number while one of them held it."""
        if not periods or not customers:
            return []
        holdings = self._holdings(customers)
        more = sorted(set(columns))
        rows = self._rows(
            "bill_lines",
            "l.document_id, l.line_id, l.customer_id, l.bill_period, l.billed_at, l.charge_type, l.net_amount, "
            "coalesce(l.is_credit_note, false), l.cost_amount" + "".join(f", l.{name}" for name in more),
            "(list_contains($customers, l.customer_id) or (l.customer_id is null and list_contains($lines, l.line_id))) "
            "and list_contains($periods, l.bill_period)",
            {"customers": customers, "lines": list(holdings), "periods": periods},
            set(periods),
        )
        wanted = set(customers)
        found = []
        for source, file_id, row, document, line_id, named, period, billed_at, charge_type, amount, credit, cost, *values in rows:
            holder = named if named is not None else holder_of_bill(holdings[line_id], period, billed_at, self._deployment.zone)
            if holder in wanted:
                place = (source, self._file(file_id), row)
                others = dict(zip(more, values, strict=True))
                found.append(BillRow(*place, document, line_id, period, charge_type, amount, credit, holder, cost, others))
        return sorted(found, key=lambda bill: (bill.period, bill.source, bill.file, bill.row))

    def points(self, customers: list[str], periods: list[str]) -> list[PointsRow]:
        """Points of the customers in the periods, every kind."""
        if not periods or not customers:
            return []
        where = "list_contains($customers, l.customer_id) and list_contains($periods, l.period)"
        rows = self._typed(PointsRow, "points", where, {"customers": customers, "periods": periods}, set(periods))
        return sorted(rows, key=lambda p: (p.period, p.source, p.file, p.row))

    def entity_rows(self, entity: str, key: str, subject_id: str) -> list[EntityRow]:
        """Every effective row of an entity about one subject, ordered by source, file id and row as the warehouse orders equals."""
        columns = load_contracts()[entity].landed
        listed = ", ".join(f"l.{name}" for name in columns)
        rows = self._rows(entity, listed, f"l.{key} = $subject", {"subject": subject_id})
        return [
            EntityRow(source, self._file(file_id), row, dict(zip(columns, values, strict=True)))
            for source, file_id, row, *values in sorted(rows, key=lambda r: r[:3])
        ]

    def local_day(self, at: datetime | date) -> date:
        """The deployment's day of a UTC timestamp; a date as it is."""
        return local_day(at, self._deployment.zone) if isinstance(at, datetime) else at

    def applications(self, subject_id: str, program_id: str) -> list[ApplicationStep]:
        """Steps of the subject's applications in the program, in order."""
        told = self._typed(ApplicationStep, "applications", _IN_PROGRAM, {"subject": subject_id, "program": program_id})
        # A step that two sources tell is one: the newest counts, of one day that of the last source.
        told.sort(key=lambda s: (s.step_date, s.source))
        steps = {(s.application_id, s.step): s for s in told}
        order = ["application", "review", "decision", "notification"]
        return sorted(steps.values(), key=lambda s: (s.application_id, s.step_date, order.index(s.step)))

    def nominations(self, subject_id: str, program_id: str) -> list[NominationRow]:
        """Nominations and overrides of the subject in the program, whether or not they count."""
        rows = self._typed(NominationRow, "nominations", _IN_PROGRAM, {"subject": subject_id, "program": program_id})
        return sorted(rows, key=lambda n: (n.start_date, n.nomination_id))


def holder_of_bill(holdings: list[Holding], period: str, billed_at: datetime | None, zone: ZoneInfo) -> str | None:
    """Who holds a number for a bill of ``period``: the one holder of that month; if it changed hands within it, whoever
    held it on the local day of ``billed_at`` (UTC, naive), if that day is in the period; else no one."""
    start, end = first_day(period), last_day(period)
    holders = [h for h in holdings if h.start <= end and h.end >= start]
    if len(holders) == 1:
        return holders[0].customer_id
    if not holders or billed_at is None:
        return None
    day = local_day(billed_at, zone)
    if not start <= day <= end:
        return None
    return next((h.customer_id for h in holders if h.start <= day <= h.end), None)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The day of a UTC timestamp (naive) in a time zone."""
    return at.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).date()


def as_dict(row: BillRow | PointsRow | NominationRow | ApplicationStep | EntityRow) -> dict[str, Any]:
    """A row for JSON; amounts and dates as text."""
    return {k: {name: _plain(value) for name, value in v.items()} if isinstance(v, dict) else _plain(v) for k, v in asdict(row).items()}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal | date) else value
