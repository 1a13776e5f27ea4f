"""Released periods that would be computed from other rows now: what has landed since, and belongs to them or to a month before them.

Told from the ledger and the landed parts; nothing is computed again. A row that came with the same content as before is no
change. Also those that went on from another revision of the month before than stands now. Not here: whether the change alters a level; only
a run tells.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest import parts
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.parts import Part
from orchestration.ingest.supersession import in_force
from orchestration.ledger.readers import behind_the_month_before, last_computed, releases_in_catalog
from orchestration.ledger.store import Ledger
from orchestration.memory import query_memory
from orchestration.periods import add_months
from orchestration.policy.load import clock_of
from orchestration.policy.subjects import SUBJECT_TYPES
from orchestration.sqltext import literal, parquet, quoted

# Entities whose rows are graded in the month of one moment alone: its column.
EVENTS = {subject.entity: subject.at_column for subject in SUBJECT_TYPES.values() if subject.at_column}
# Days that tags announce, and how many months before: a release is read in the month after its own.
ANNOUNCED_MONTHS = {"subscriptions": {"end_date": 1}}


@dataclass(frozen=True)
class LateInput:
    """A released period with rows that landed, changed or were taken back after it was computed.

    ``rows``: their number by entity, of this month; ``earlier``: of months before, which this one reads through windows, newest
    rows and held levels. ``is_behind``: the month before was released anew since, or is behind itself.
    """

    period: str
    release: str
    rows: dict[str, int]
    earlier: dict[str, int]
    is_behind: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Drop:
    """An entry about a drop that was recorded after some period was computed; ``upto`` is the newest such period.

    ``undone``: where another file has replaced the drop, the entries whose lists of superseded rows count no more since.
    """

    seq: int
    upto: str
    payload: dict[str, Any]
    undone: tuple[dict[str, Any], ...] = ()


def late_inputs(deployment: Deployment, ledger: Ledger) -> list[LateInput]:
    """The released periods with late input, in order. Reads only; Failed if a landed file is gone or cannot be read."""
    visible = releases_in_catalog(ledger)
    computed = last_computed(ledger)
    cutoffs = {period: int(computed[period]["cutoff_seq"]) for period in visible}
    late: dict[str, list[_Drop]] = {}
    for seq, payload, undone in parts.with_undone(parts.landed(ledger)):
        upto = max((period for period, cutoff in cutoffs.items() if cutoff < seq), default=None)
        if upto is not None:
            late.setdefault(payload["entity"], []).append(_Drop(seq, upto, payload, tuple(undone)))
    rows: dict[str, Counter[str]] = {period: Counter() for period in cutoffs}
    earlier: dict[str, Counter[str]] = {period: Counter() for period in cutoffs}
    for entity, drops in sorted(late.items()):
        landed = parts.landed_parts(deployment, ledger, entity)
        superseded = parts.superseded_files(deployment, ledger, entity)
        for since, seq, month, number in _changes(deployment, load_contracts()[entity], drops, landed, superseded):
            for period in (period for period, cutoff in cutoffs.items() if since <= cutoff < seq):
                if month == period:
                    rows[period][entity] += number
                elif month < period and entity not in EVENTS:
                    earlier[period][entity] += number
    behind = behind_the_month_before(ledger)
    for period in sorted(cutoffs):
        if add_months(period, -1) in behind:
            behind.add(period)
    return [
        LateInput(period, visible[period], dict(rows[period]), dict(earlier[period]), period in behind)
        for period in sorted(cutoffs)
        if rows[period] or earlier[period] or period in behind
    ]


def _changes(
    deployment: Deployment, contract: Contract, drops: list[_Drop], landed: list[Part], superseded: list[Path]
) -> list[tuple[int, int, str, int]]:
    """What the drops added, changed or took back, in months that they may concern: (first, last, month, rows). ``superseded``: the lists of
    superseded rows.

    It concerns what was computed at cut-offs from ``first`` until before ``last``: there the row was another one than it is now.
    """
    by_file = {drop.payload["file_id"]: drop for drop in drops}
    came = [part for part in landed if part.file_id in by_file and (part.period is None or part.period <= by_file[part.file_id].upto)]
    gone = _parts_in([drop.payload for drop in drops], landed)
    back = _parts_in([payload for drop in drops for payload in drop.undone], landed)
    if not came and not gone and not back:
        return []
    since = ", ".join(f"({literal(drop.payload['file_id'])}, {drop.seq}, {literal(drop.upto)})" for drop in drops)
    lists = _listed(deployment, [(drop, drop.payload) for drop in drops])
    undone = _listed(deployment, [(drop, payload) for drop in drops for payload in drop.undone])
    differs = " or ".join(f"n.{quoted(c)} is distinct from o.{quoted(c)}" for c in ["_key", *contract.landed])
    query = f"""
        with since (file_id, seq, upto) as (values {since}),
        lists as ({lists}),
        undone as ({undone}),
        -- Rows that were superseded as they landed never came: a row taken back is a row gone, whatever its days say.
        came as (
            select l.*, since.seq, since.upto from ({_scan(contract, came)}) as l inner join since on l._file_id = since.file_id
            anti join lists on l._file_id = lists.file_id and l._key = lists.key and since.seq = lists.seq
            union all
            select l.*, undone.seq, undone.upto from ({_scan(contract, back)}) as l
            inner join undone on l._file_id = undone.file_id and l._key = undone.key
            anti join lists on l._file_id = lists.file_id and l._key = lists.key and undone.seq = lists.seq
        ),
        gone as (
            select l.*, lists.seq, lists.upto from ({_scan(contract, gone)}) as l
            inner join lists on l._file_id = lists.file_id and l._key = lists.key
            anti join since on l._file_id = since.file_id and lists.seq = since.seq
            anti join undone on l._file_id = undone.file_id and l._key = undone.key and lists.seq = undone.seq
        ),
        steps as (
            select coalesce(n._source, o._source) as source, coalesce(n._key, o._key) as key, coalesce(n.seq, o.seq) as seq,
                coalesce(n.upto, o.upto) as upto, n, o
            from came as n
            full join gone as o on n._source = o._source and n._key = o._key and n.seq = o.seq
            where {differs}
        ),
        -- A row that has changed and changed back, as where files land anew, is the row that it was.
        ended as (
            select source, key, coalesce(lag(seq) over (partition by source, key order by seq), 0) as since, seq, upto, o,
                last_value(n) over (partition by source, key order by seq rows between unbounded preceding and unbounded following) as n
            from steps
        ),
        {_earlier_days(contract, landed, superseded)}
        changed as (
            select since, seq, upto, {_changed_columns(contract, deployment.config.timezone)} from dated where {differs}
        )
        {_by_month(contract, landed, deployment.config.timezone)}
    """
    with duckdb.connect(config={"temp_directory": str(deployment.scratch), "memory_limit": query_memory()}) as con:
        try:
            con.execute("set TimeZone = 'UTC'")
            return con.execute(query).fetchall()
        except duckdb.IOException as err:
            raise Failed(
                f"the landing cannot be read: {err}",
                str(deployment.landing / contract.entity),
                "restore the file from a backup, or make it readable",
            ) from err


def _earlier_days(contract: Contract, landed: list[Part], superseded: list[Path]) -> str:
    """The CTE ``dated``: what ``ended`` holds, and as ``told`` the first day from which a row that came or went counts because of the days of
    joining and leaving that it says, which are those of the months before it, too; null where they are the ones that the row before said.

    Of customers alone: the newest row of all else speaks from its own day on. Whoever had left and comes back is there from that day on.
    """
    if contract.entity != "customers":
        return "dated as (select *, null::date as told from ended),"
    rows = in_force(_scan(contract, landed), superseded)
    return f"""
        told as (
            select source, key, seq, coalesce(n.customer_id, o.customer_id) as customer_id, coalesce(n.valid_from_date, o.valid_from_date) as day,
                coalesce(n.joined_date, o.joined_date) as joined, coalesce(n.left_date, o.left_date) as left_
            from ended where n._key is null or o._key is null
        ),
        before as (
            select t.source, t.key, t.seq, t.joined, t.left_, count(l.customer_id) > 0 as is_there,
                arg_max(struct_pack(joined := l.joined_date, left_ := l.left_date), l.valid_from_date) as b
            from told as t left join {rows} as l on t.customer_id = l.customer_id and l.valid_from_date < t.day
            group by all
        ),
        days as (
            select source, key, seq, case
                when not is_there or joined >= b.left_ then joined
                else least(
                    case when joined is distinct from b.joined then least(coalesce(joined, date '0001-01-01'), coalesce(b.joined, date '0001-01-01')) end,
                    case when left_ is distinct from b.left_ then least(left_, b.left_) end
                ) end as told
            from before
        ),
        dated as (select ended.*, days.told from ended left join days using (source, key, seq)),
    """


def _parts_in(payloads: list[dict[str, Any]], landed: list[Part]) -> list[Part]:
    """The parts of which entries list superseded rows."""
    files = {file_id for payload in payloads for file_id in payload["supersedes"]["by_file"]}
    return [part for part in landed if part.file_id in files]


def _listed(deployment: Deployment, lists: list[tuple[_Drop, dict[str, Any]]]) -> str:
    """Query of the rows that entries list as superseded, each as of the drop beside it."""
    none = "select null::varchar as file_id, null::varchar as key, null::integer as seq, null::varchar as upto where false"
    found = [
        f"select file_id, key, {drop.seq} as seq, {literal(drop.upto)} as upto from {parquet([deployment.data / payload['supersedes']['path']])}"
        for drop, payload in lists
        if payload["supersedes"]["path"]
    ]
    return " union all ".join(found) or none


def _scan(contract: Contract, some: list[Part]) -> str:
    columns = ", ".join([*map(quoted, contract.landed), "_source", "_file_id", "_key"])
    if not some:
        types = {name: contract.columns[name].sql_type for name in contract.landed} | dict.fromkeys(
            ("_source", "_file_id", "_key"), "varchar"
        )
        return f"select {', '.join(f'cast(null as {kind}) as {quoted(name)}' for name, kind in types.items())} where false"
    return f"select {columns} from {parquet(part.path for part in some)}"


def _month(contract: Contract, column: str, alias: str, timezone: str, before: int = 0) -> str:
    """Month of a column's day in the deployment's time zone, as text; or the one so many months ``before``."""
    name = f"{alias}.{quoted(column)}"
    kind = contract.columns[column].type
    if kind == "period":
        return name
    local = f"({name} at time zone 'UTC') at time zone {literal(timezone)}" if kind == "timestamp" else name
    return f"strftime({local}{f' - to_months({before})' if before else ''}, '%Y-%m')"


def _day_column(contract: Contract) -> str:
    """The column with the day that a row is from: when it happened, from when it holds, else the first day that every row has."""
    days = [name for name in contract.landed if contract.columns[name].type in ("date", "timestamp", "period")]
    return clock_of(contract.entity) or contract.history or next((name for name in days if contract.columns[name].required), days[0])


def _changed_columns(contract: Contract, timezone: str) -> str:
    """The columns of ``changed``: of an event its subject and the month of the notice, else the month from which the change counts.

    A row that differs in days alone counts from the first of them: one that was open and is closed now is another from that day on.
    One that differs in another column, too, counts from its own day, if that is earlier: unless that column changes with the day, as
    the state of a complaint does when it is closed. What a new row says of days before its own counts from these, see :func:`_earlier_days`.
    """
    day = _day_column(contract)
    if contract.entity in EVENTS:
        key, known = quoted(contract.key[0]), contract.history or day
        notices = f"{_month(contract, known, 'n', timezone)}, {_month(contract, known, 'o', timezone)}"
        return f"coalesce(n.{key}, o.{key}) as subject, least({notices}) as known"
    own = f"least({_month(contract, day, 'n', timezone)}, {_month(contract, day, 'o', timezone)}, strftime(told, '%Y-%m'))"
    dates = [] if contract.by_period else [c for c in contract.landed if contract.columns[c].type in ("date", "timestamp") and c != day]
    ahead = ANNOUNCED_MONTHS.get(contract.entity, {})
    moved = [
        f"case when n.{quoted(c)} is distinct from o.{quoted(c)} then "
        f"least({_month(contract, c, 'n', timezone, ahead.get(c, 0))}, {_month(contract, c, 'o', timezone, ahead.get(c, 0))}) end"
        for c in dates
    ]
    if not moved:
        return f"{own} as month"
    same_day = f"n.{quoted(day)} is not distinct from o.{quoted(day)}"
    others_differ = " or ".join(_differs_by_itself(c, contract.columns[c].changes_with) for c in contract.landed if c not in dates)
    return f"case when {same_day} then least({', '.join(moved)}, case when {others_differ} then {own} end) else {own} end as month"


def _differs_by_itself(column: str, day: str | None) -> str:
    """Whether a column differs in the two rows n and o, and not because the ``day`` that it changes with does."""
    alone = f" and n.{quoted(day)} is not distinct from o.{quoted(day)}" if day else ""
    return f"(n.{quoted(column)} is distinct from o.{quoted(column)}{alone})"


def _by_month(contract: Contract, landed: list[Part], timezone: str) -> str:
    """The select at the end: changes by drop and month."""
    at = EVENTS.get(contract.entity)
    if at is None:
        return "select since, seq, month, count(*) from changed where month <= upto group by since, seq, month"
    key, known = quoted(contract.key[0]), contract.history or at
    # A notice that moves the event away changes the month that it leaves, too: so every notice of the subject says a month. Notices
    # that came after the month do not count for it, but for those of an event that nobody had noted by then.
    return f"""
        , notices as (
            select l.{key} as subject, {_month(contract, at, "l", timezone)} as month, {_month(contract, known, "l", timezone)} as known
            from ({_scan(contract, landed)}) as l
        ),
        months as (
            select distinct subject, month, greatest(month, min(known) over (partition by subject)) as last_known from notices
        )
        select changed.since, changed.seq, months.month, count(distinct changed.subject)
        from changed
        inner join months on changed.subject = months.subject
        where months.month <= changed.upto and changed.known <= months.last_known
        group by all
    """
