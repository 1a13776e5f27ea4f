"""The one scan of a drop: typed columns and, for every row, a bit for each thing that is wrong with it.

Everything here is SQL text made from contract and mapping; nothing is executed but a look at types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb

from orchestration.deployment import Config
from orchestration.errors import BadInput
from orchestration.ingest.drops import Drop
from orchestration.ingest.expressions import Expression
from orchestration.ingest.mapping import Feed
from orchestration.ingest.reading import REPLACEMENT
from orchestration.periods import periods_between
from orchestration.sqltext import literal, quoted

# What is wrong with a row as a whole. A row that cannot be split into its columns has no other reason.
STRUCTURAL = ("broken_encoding", "truncated_row", "missing_column", "malformed_row")
DUPLICATE = "duplicate_key"
ENDS_BEFORE_START = "end_before_start"
# What a period may be; a cast to this enum is the cheapest check of one.
PERIOD_TYPE = "create type _period as enum (" + ", ".join(f"'{p}'" for p in periods_between("1900-01", "2199-12")) + ")"


@dataclass
class Check:
    """One bit: ``reason`` as the quarantine names it, the contract column it is about, and its predicate."""

    reason: str
    column: str | None
    predicate: str | None


@dataclass
class Scan:
    """SQL select list over a relation of the file's columns, and what its ``_mask`` bits mean."""

    feed: Feed
    inner: str
    typed: str
    outer: str
    checks: list[Check] = field(default_factory=list)

    def select(self, relation: str, carry: str = "", extra_mask: str = "0") -> str:
        """The scan over ``relation``; ``carry`` are columns handed through, ``extra_mask`` bits known beforehand."""
        through = f", {carry}" if carry else ""
        return (
            f"select {self.outer.replace('__EXTRA__', extra_mask)}{through} "
            f"from (select *, {self.typed} from (select {self.inner}{through} from {relation}))"
        )

    def reasons(self, mask: int) -> list[str]:
        """Reasons of a mask, each once."""
        return list(dict.fromkeys(check.reason for bit, check in enumerate(self.checks) if mask >> bit & 1))

    def details(self, mask: int) -> list[str]:
        """Reasons with the column each is about: ``bad_date: joined_date``."""
        return [f"{c.reason}: {c.column}" if c.column else c.reason for bit, c in enumerate(self.checks) if mask >> bit & 1]

    def mask(self, reason: str) -> int:
        """All bits of ``reason``."""
        return sum(1 << bit for bit, check in enumerate(self.checks) if check.reason == reason)


def build_scan(con: duckdb.DuckDBPyConnection, drop: Drop, config: Config, known: Mapping[str, str], lacking: frozenset[str]) -> Scan:
    """The scan of ``drop``; of its rows only the types are looked at.

    ``known`` is, per contract column with a reference, the table that lists the values that exist. ``lacking`` are columns
    that the mapping names and the file has not.
    """
    feed = drop.feed
    absent = {name for name, expression in feed.columns.items() if _lacks(expression, lacking)}
    is_told = feed.where is not None and not _lacks(feed.where, lacking)
    inner = _as_read(drop, absent, lacking)
    types = _types(con, feed, drop.relation, inner)
    typed: list[str] = []
    checks = _row_checks(drop, absent, is_told, lacking)
    for name, column in feed.contract.columns.items():
        expression = feed.columns.get(name)
        if expression is None or name in absent:
            typed.append(f"null::{column.sql_type} as {quoted(name)}")
            if column.required and expression is None:
                checks.append(Check("missing_value", name, "true"))
            continue
        cell, kind = _cell(feed, name, types["r_" + name])
        if column.type == "timestamp":
            inner.append(f"try_cast({expression.sql} as timestamp) as {quoted('t_' + name)}")
            value = _utc(cell, quoted("t_" + name), kind, feed.config.timezone or config.timezone)
        else:
            value = _typed(column.type, column.sql_type, cell, kind)
        typed.append(f"{value} as {quoted(name)}")
        checks.extend(_column_checks(feed, name, cell, kind, config.currency, known.get(name)))
    if feed.entity == "bill_lines":
        checks.extend(_bill_checks(feed, absent))
    return Scan(feed, ", ".join(inner), ", ".join(typed), _judged(drop, checks, is_told, config.timezone), checks)


def _as_read(drop: Drop, absent: Collection[str], lacking: frozenset[str]) -> list[str]:
    """What the expressions give for a row: ``r_`` and a column's value, ``f_`` whether a cast or function of it failed, ``p_`` predicates."""
    feed = drop.feed
    found: list[str] = []
    for name in feed.contract.columns:
        expression = None if name in absent else feed.columns.get(name)
        found.append(f"{'null::varchar' if expression is None else expression.sql} as {quoted('r_' + name)}")
        if expression is not None and expression.failed:
            found.append(f"({' or '.join(expression.failed)}) as {quoted('f_' + name)}")
    for key, predicate in (("unattributed", feed.unattributed), ("where", feed.where)):
        found.append(f"{_predicate(predicate, lacking)} as {quoted('p_' + key)}")
    if feed.where is not None and not _lacks(feed.where, lacking):
        is_no_answer = f"({feed.where.sql} is not null and {_predicate(feed.where, lacking)} is null)"
        found.append(f"({' or '.join(filter(None, (feed.where.raised, is_no_answer)))}) as f_where")
        # Parquet has text or none.
        found.append(f"{'false' if feed.config.format == 'parquet' else _holds_broken(feed.where.columns)} as w_broken")
    if drop.broken:
        found.append(f"{_holds_broken(drop.header)} as p_broken")
    return found


def _cell(feed: Feed, name: str, kind: str) -> tuple[str, str]:
    """A column as the file has it, null where it is empty, and its type."""
    raw = quoted("r_" + name)
    if kind == "FLOAT" and feed.contract.columns[name].scale is not None:
        # What the source wrote is the shortest number that the type tells from its neighbours; a cast to decimal takes another.
        return f"cast({raw} as varchar)", "VARCHAR"
    # An empty cell of a text file is null already.
    is_bare_text = feed.config.format == "csv" and feed.columns[name].column is not None
    return raw if kind != "VARCHAR" or is_bare_text else f"nullif({raw}, '')", kind


def _row_checks(drop: Drop, absent: set[str], is_told: bool, lacking: frozenset[str]) -> list[Check]:
    """What may be wrong with a row as a whole. ``is_told``: ``where`` can be asked whether it is of this entity."""
    feed = drop.feed
    checks = [Check(reason, None, None) for reason in (*STRUCTURAL, DUPLICATE)]
    checks[0].predicate = " or ".join([*(["p_broken"] if drop.broken else []), *_nul_tests(feed, absent)]) or None
    if is_told:
        # Nobody knows whose row it is.
        checks.append(Check("bad_value", "where", "f_where"))
    if absent or any(predicate is not None and _lacks(predicate, lacking) for predicate in (feed.where, feed.unattributed)):
        # One bit says it for the row; the columns are told once, in the file's report.
        checks[2].predicate = "true"
    return checks


def _column_checks(feed: Feed, name: str, cell: str, kind: str, currency: str, known: str | None) -> Iterator[Check]:
    """What may be wrong with the value of a column. ``cell``, ``kind``: see :func:`_cell`; ``known``: table of the values that it may refer to."""
    column, value = feed.contract.columns[name], quoted(name)
    empty = f"({cell}) is null"
    failed = quoted("f_" + name) if feed.columns[name].failed else None
    if column.type != "text":
        bad = f"{value} is null and not ({empty})"
        if failed:
            bad = f"({bad}) or ({empty} and {failed})"
        if column.scale is not None or column.type == "integer":
            bad = _inexact(bad, cell, value, kind, column.scale or 0)
        if column.type in ("date", "timestamp"):
            bad = _out_of_time(bad, value, column.type, derives=feed.entity == "bill_lines" and name == "billed_at")
            if kind == "VARCHAR":
                # A year of two digits is read as one of the first century, and days of it come in the wrong order.
                bad += rf" or ({value} < {column.type} '1000-01-01' and not regexp_matches({cell}, '^\s*\d{{4}}'))"
        yield Check(column.bad_reason, name, bad)
    elif failed:
        yield Check(column.bad_reason, name, f"{empty} and {failed}")
    if column.required:
        yield Check("missing_value", name, f"{empty} and not {failed}" if failed else empty)
    if column.allowed:
        yield Check("not_allowed", name, f"{value} not in ({', '.join(literal(v) for v in column.allowed)})")
    if column.allowed_currency:
        yield Check("wrong_currency", name, f"{value} <> {literal(currency)}")
    if column.minimum is not None:
        is_amount = column.minimum == 0 and column.scale is not None and name.split("_")[-1] == "amount"
        yield Check("negative_amount" if is_amount else "out_of_range", name, f"{value} < {column.minimum:g}")
    if column.maximum is not None:
        yield Check("out_of_range", name, f"{value} > {column.maximum:g}")
    if column.negative == "credit_or_adjustment":
        unexplained = f"{value} < 0 and not coalesce(is_credit_note, false) and not coalesce(is_adjustment, false)"
        yield Check("negative_amount", name, unexplained)
    if column.not_before is not None:
        yield Check(ENDS_BEFORE_START, name, is_before(name, column.not_before))
    if known is not None:
        counted = " and not coalesce(p_unattributed, false)" if feed.unattributed else ""
        instead = column.references_without
        asked = f"case when {quoted(instead)} is null then {value} end" if instead in feed.columns else value
        unknown = f"({asked}) is not null and not coalesce(({asked}) in (select value from {known}), false){counted}"
        yield Check("unknown_reference", name, unknown)


def _judged(drop: Drop, checks: list[Check], is_told: bool, zone: str) -> str:
    """The columns of a row, its ``_mask`` of ``checks``, whether it is of another entity, whether of no customer, and its period."""
    feed = drop.feed
    predicates = (f"(case when {c.predicate} then {1 << bit} else 0 end)" for bit, c in enumerate(checks) if c.predicate is not None)
    mask = " | ".join(["(__EXTRA__)", *predicates])
    # A number names its holder as well: of what belongs to nobody neither is kept.
    names_somebody = {name for name, column in feed.contract.columns.items() if "customer_id" in (name, column.references_without)}
    columns = [
        f"case when p_unattributed then null else {quoted(name)} end as {quoted(name)}"
        if name in names_somebody and feed.unattributed
        else quoted(name)
        for name in feed.contract.columns
    ]
    # A row that cannot be split has that reason alone: what stands in its cells means nothing.
    unsplit = sum(1 << bit for bit, reason in enumerate(STRUCTURAL) if reason in ("truncated_row", "malformed_row", "missing_column"))
    other = "false"
    if is_told:
        # Where that gives no answer, or the answer hangs on a broken cell, no feed may take the row for another's.
        other = f"coalesce(not p_where, not f_where and (__EXTRA__) & {unsplit} = 0)"
        other = f"({other} and not (({'p_broken or ' if drop.broken else ''}(__EXTRA__) & 1 <> 0) and w_broken))"
    return (
        f"{', '.join(columns)}, cast(case when {other} then 0 when (__EXTRA__) & {unsplit} <> 0 then (__EXTRA__) else {mask} end as bigint) as _mask, "
        f"{other} as _other, coalesce(p_unattributed, false) as _unattributed, {_period(feed.entity, zone)} as _period"
    )


def settings_used(feed: Feed, config: Config, *, days_in_texts: bool = True) -> dict[str, str]:
    """The settings of the deployment that, beside its mapping, decide how a file of the feed is read.

    ``days_in_texts``: also for days that texts may state as moments with a zone; earlier versions did not record it for these.
    """
    used = {}
    if any(column.allowed_currency for column in feed.contract.columns.values()):
        used["currency"] = config.currency
    # A file with types of its own may hold moments that a cast turns to days and months; a text, moments that are asked for as days.
    local = {"timestamp", "date", "period"} if feed.config.format == "parquet" else {"timestamp", *(["date"] if days_in_texts else [])}
    reads_times = any(feed.contract.columns[name].type in local for name in feed.columns) or any(
        "timestamp" in expression.sql.lower() for expression in feed.expressions.values()
    )
    # The zone of a mapping goes before the deployment's, but for the month in which a bill counts.
    if (reads_times and not feed.config.timezone) or (feed.entity == "bill_lines" and "billed_at" in feed.columns):
        used["timezone"] = config.timezone
    return used


def is_before(name: str, start: str) -> str:
    """Predicate of rows whose column ``name`` holds an earlier day than ``start``, which it must not."""
    return f"{quoted(name)} < {quoted(start)}"


def _holds_broken(columns: Iterable[str]) -> str:
    """Predicate of rows of which one of these columns holds what was no text."""
    return f"contains(concat_ws(' ', {', '.join(['null', *map(quoted, sorted(columns))])}), {literal(REPLACEMENT)})"


def _nul_tests(feed: Feed, absent: set[str]) -> list[str]:
    """Predicates of texts that hold a NUL, which no text may: PostgreSQL, where marts go, cannot hold it.

    Parquet and escapes in JSON can bring one. In CSV it was marked in the bytes (see ``reading``).
    """
    if feed.config.format == "csv":
        return []
    texts = [name for name, expression in feed.columns.items() if feed.contract.columns[name].type == "text" and expression.columns]
    return [f"contains({quoted(name)}, chr(0))" for name in texts if name not in absent]


def _predicate(predicate: Expression | None, lacking: frozenset[str]) -> str:
    if predicate is None or _lacks(predicate, lacking):
        return "null::boolean"
    return f"try_cast({predicate.sql} as boolean)"


def _lacks(expression: Expression, lacking: frozenset[str]) -> bool:
    return bool({c.lower() for c in expression.columns} & lacking)


def _types(con: duckdb.DuckDBPyConnection, feed: Feed, relation: str, inner: list[str]) -> dict[str, str]:
    try:
        rows = con.execute(f"describe select {', '.join(inner)} from {relation}").fetchall()
    except duckdb.Error as err:
        raise _unbound(con, feed, relation, err) from err
    return {row[0]: str(row[1]) for row in rows}


def _unbound(con: duckdb.DuckDBPyConnection, feed: Feed, relation: str, err: duckdb.Error) -> BadInput:
    """Find the expression that DuckDB cannot bind."""
    for key, expression in feed.expressions.items():
        try:
            con.execute(f"describe select {expression.sql} from {relation}").fetchall()
        except duckdb.Error as inner:
            what = str(inner).splitlines()[0]
            return BadInput(
                f"the expression does not fit the file: {what}", feed.place(key), "cast the column to the type that the expression needs"
            )
    return BadInput(
        f"the mapping does not fit the file: {str(err).splitlines()[0]}", str(feed.mapping_file), "compare it with the file's columns"
    )


def _typed(kind: str, sql_type: str, cell: str, source: str) -> str:
    if kind == "period":
        if source in ("DATE", "TIMESTAMP", "TIMESTAMP_NS"):
            cell = f"strftime({cell}, '%Y-%m')"
        return f"cast(try_cast(cast({cell} as varchar) as _period) as varchar)"
    if kind == "text":
        return f"cast({cell} as varchar)"
    plain = f"try_cast({cell} as {sql_type})"
    if kind == "date" and source == "VARCHAR":
        # The day of a moment is that of the session's zone, which is the feed's. DuckDB takes no offset behind a space.
        joined = rf"regexp_replace({cell}, '\s+([+-]\d|Z\s*$)', '\1')"
        day = f"coalesce(cast(try_cast({joined} as timestamptz) as date), {plain})"
        return f"case when length({cell}) > 10 and {_moves_day(cell)} then {day} else {plain} end"
    return plain


def _states_zone(cell: str) -> str:
    """Predicate of texts of a moment that state its zone: Z, +08, -0500, a name. A cast to timestamp or date drops it."""
    return rf"regexp_matches({cell}, ':.*[^0-9:.\s]')"


def _moves_day(cell: str) -> str:
    """Predicate of texts of a moment whose zone may make it another day here.

    Not all that is no digit is a zone where a day is asked for: AM and PM are none, and CST is China's as well as Chicago's.
    """
    return rf"regexp_matches({cell}, ':.*[\d\s](Z|UTC|GMT|[+-]\d\d(:?\d\d){{0,2}}|[A-Za-z_]+/\S+)\s*$')"


def _fixed_offset(zone: str) -> timedelta | None:
    """Offset of a zone that has had one offset only since 2000 and plans no other (so arithmetic can take the place of ICU)."""
    info = ZoneInfo(zone)
    offsets = {datetime(year, month, 1, tzinfo=UTC).astimezone(info).utcoffset() for year in range(2000, 2038) for month in range(1, 13)}
    return offsets.pop() if len(offsets) == 1 else None


def _utc(cell: str, naive: str, source: str, zone: str) -> str:
    """UTC of a timestamp; ``naive`` is the cell cast to a timestamp, made once, because the cast is what costs."""
    if source == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {cell})"
    offset = _fixed_offset(zone)
    exact = f"timezone('UTC', timezone({literal(zone)}, {naive}))"
    if zone == "UTC":
        local = naive
    elif offset is None:
        local = exact
    else:
        local = f"case when {naive} >= timestamp '2000-01-02' then {naive} - to_seconds({int(offset.total_seconds())}) else {exact} end"
    if source != "VARCHAR":
        return f"({local})"
    return f"(case when {_states_zone(cell)} then timezone('UTC', try_cast({cell} as timestamptz)) else {local} end)"


def _inexact(bad: str, cell: str, value: str, kind: str, scale: int) -> str:
    """Money is never rounded: a value with more digits than the contract keeps is bad."""
    if kind == "VARCHAR":
        # An exponent below zero holds digits without a point (3e-05).
        small = f"contains({cell}, 'e-') or contains({cell}, 'E-')"
        suspect = f"((strpos({cell}, '.') > 0 and length({cell}) - strpos({cell}, '.') > {scale}) or {small})"
        return f"({bad}) or ({suspect} and coalesce(try_cast({cell} as decimal(38, 18)) <> {value}, true))"
    if kind.startswith("DECIMAL") and int(kind.rstrip(")").split(",")[1]) > scale:
        return f"({bad}) or ({cell} <> {value})"
    if kind in ("DOUBLE", "FLOAT"):
        # Noise of a few sums and products is no digit. From where it reaches the last digit, whole numbers alone are certain.
        noise = f"greatest(abs({cell}), 1) * {2.0**-50!r}"
        return f"({bad}) or abs({cell} - cast({value} as double)) > {noise} or ({noise} > {10.0 ** -(scale + 1)!r} and {cell} <> trunc({cell}))"
    return bad


def _out_of_time(bad: str, value: str, kind: str, *, derives: bool) -> str:
    """What no calendar holds is bad; the years 1 and 9999 are what sources write for open ends.

    A timestamp that gives its row a period (``derives``) must be one of a time in which there are periods, in every zone.
    """
    # A timestamp may be a day off in UTC.
    low, high = {"date": ("0001-01-01", "9999-12-31"), "timestamp": ("0001-12-31 (BC)", "10000-01-02")}[kind]
    tests = [bad, f"{value} not between {kind} '{low}' and {kind} '{high}'"]
    if derives:
        tests.append(f"(bill_period is null and {value} not between timestamp '1900-01-02' and timestamp '2199-12-31')")
    return " or ".join(f"({test})" for test in tests)


def _bill_checks(feed: Feed, absent: set[str]) -> list[Check]:
    """Rules of bill lines that concern more than one column."""
    checks = []
    if not {"bill_period", "billed_at"} & absent:
        tests = ["bill_period is null", "billed_at is null"]
        tests += [
            f"nullif(cast({quoted('r_' + name)} as varchar), '') is null" for name in ("bill_period", "billed_at") if name in feed.columns
        ]
        tests += [
            f"not {quoted('f_' + name)}" for name in ("bill_period", "billed_at") if name in feed.columns and feed.columns[name].failed
        ]
        checks.append(Check("missing_value", "bill_period", " and ".join(tests)))
    if not {"customer_id", "line_id"} & absent:
        checks.append(
            Check("missing_value", "customer_id", "customer_id is null and line_id is null and not coalesce(p_unattributed, false)")
        )
    if "bill_line_id" in feed.columns and "bill_line_id" not in absent:
        checks.append(Check("missing_value", "bill_line_id", "bill_line_id is null"))
    return checks


def _period(entity: str, zone: str) -> str:
    """The period that a row counts in, where landing is kept by period."""
    if entity == "points":
        return "period"
    if entity != "bill_lines":
        return "null::varchar"
    offset = _fixed_offset(zone)
    local = (
        f"billed_at + to_seconds({int(offset.total_seconds())})"
        if offset is not None
        else f"timezone({literal(zone)}, timezone('UTC', billed_at))"
    )
    return f"coalesce(case when is_credit_note then refers_to_period end, bill_period, strftime({local}, '%Y-%m'))"
