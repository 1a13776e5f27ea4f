"""Newer rows take the place of older ones of the same key; credit notes find the period of the bill they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.contracts import Contract
from orchestration.ingest.files import place, sha256_file
from orchestration.ingest.parts import Landed, Part
from orchestration.sqltext import literal, parquet


def supersede(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    contract: Contract,
    known: Landed,
    older: Iterable[Part],
    parts: list[dict[str, Any]],
    key: str,
    file_id: str,
    *,
    replaced: tuple[str, ...] = (),
    overtaken: str | None = None,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Record the rows of ``older`` parts whose key stands in the good rows of ``_rows``: path, SHA-256, rows, by file, by period, periods.

    Parts whose key range does not meet the new one are not read. Rows that were superseded before are not again. ``replaced``: file ids
    of which every row is superseded. ``overtaken``: ``_rows`` with ``_line``, of which the rows whose key stands in the table
    ``_overtaken`` are superseded as they land; None if there are none. ``earlier``: file ids of parts, and the drop of each, in which
    rows of ``_rows`` have the keys that the table ``_earlier`` says.
    """
    earlier = earlier or {}
    low, high = min((p["min_key"] for p in parts), default=""), max((p["max_key"] for p in parts), default="")
    met = [
        part
        for part in older
        if part.file_id in replaced
        or (part.file_id in earlier and _share_documents(part, parts))
        or (parts and part.min_key is not None and part.max_key is not None and part.min_key <= high and part.max_key >= low)
    ]
    if not met and not overtaken:
        return nothing_superseded()
    chosen = []
    if met:
        good = f"select {key} from _rows where _mask = 0 and not _other"
        named = f" or o.file_id in ({', '.join(map(literal, replaced))})" if replaced else ""
        if earlier:
            named += f" or (o.file_id, o.key) in ({_under_earlier_keys(earlier, good)})"
        gone = known.superseded(contract.entity, {part.file_id for part in met})
        rows = in_force(listable(contract, met), gone, "file_id", "key")
        chosen.append(f"select o.* from {rows} as o where (o.key in ({good}){named})")
    if overtaken:
        own_period = "_period" if contract.entity == "bill_lines" else _period(contract)
        chosen.append(
            f"select {literal(file_id)} as file_id, _line as row, {key} as key, {own_period} as period, {_facts(contract)}, "
            f"{_repeats('true' if key == '_key' else 'false', key)} from {overtaken} "
            f"where _mask = 0 and not _other and {key} in (select key from _overtaken)"
        )
    con.execute(f"create or replace table _superseded as {' union all '.join(chosen)}").fetchall()
    return record_superseded(con, deployment, contract, file_id)


def _under_earlier_keys(earlier: Mapping[str, str], good: str) -> str:
    """Query of (file id, key) of the rows in the files of ``earlier`` (not empty) that the rows of the keys ``good`` are, see :func:`supersede`."""
    drops = ", ".join(f"({literal(file_id)}, {literal(drop_id)})" for file_id, drop_id in earlier.items())
    return f"select (d.file_id, e.before) from _earlier as e join (values {drops}) as d(file_id, drop_id) using (drop_id) where e.key in ({good})"


def _share_documents(older: Part, parts: list[dict[str, Any]]) -> bool:
    return any(older.min_document <= part["max_document"] and older.max_document >= part["min_document"] for part in parts)


def nothing_superseded() -> dict[str, Any]:
    """What :func:`supersede` says where no row is superseded."""
    return {
        "path": None,
        "sha256": None,
        "rows": 0,
        "by_file": {},
        "amount_by_file": {},
        "unattributed_by_file": {},
        "identical_by_file": {},
        "by_period": {},
        "periods": [],
    }


def _period(contract: Contract) -> str:
    return {"bill_lines": "bill_period", "points": "period"}.get(contract.entity, "cast(null as varchar)")


def _facts(contract: Contract) -> str:
    amount = contract.amount_column or "cast(null as decimal(18,4))"
    return f"{amount} as amount, {is_nobodys(contract)} as nobody"


def is_nobodys(contract: Contract) -> str:
    """Condition that a landed row belongs to no customer."""
    return "customer_id is null and line_id is null" if contract.entity == "bill_lines" else "false"


def _repeats(has_made_key: str, key: str) -> str:
    return f"{has_made_key} and not ends_with({key}, '|1') as repeats"


def listable(contract: Contract, parts: list[Part]) -> str:
    """Query of the rows of some parts (at least one) as lists of superseded rows hold them, with what the balance needs of each."""
    return (
        f"select _file_id as file_id, _row as row, _key as key, {_period(contract)} as period, {_facts(contract)}, "
        f"{_repeats('_content_hash is not null', '_key')} from {parquet(part.path for part in parts)}"
    )


def record_superseded(con: duckdb.DuckDBPyConnection, deployment: Deployment, contract: Contract, file_id: str) -> dict[str, Any]:
    """Put the rows of the table ``_superseded`` in place as the list of ``file_id``: path, SHA-256, rows, by file, periods."""
    entity = contract.entity
    groups = con.execute(
        "select file_id, count(*), sum(amount)::decimal(38,4), count(*) filter (where nobody), count(*) filter (where repeats) "
        "from _superseded group by 1 order by 1"
    ).fetchall()
    by_file = {row[0]: row[1] for row in groups}
    if not by_file:
        return nothing_superseded()
    by_period = {
        row[0]: {"rows": row[1], "amount": None if row[2] is None else str(row[2])}
        for row in con.execute(
            "select period, count(*), sum(amount)::decimal(38,4) from _superseded where period is not null group by 1 order by 1"
        ).fetchall()
    }
    made = deployment.scratch / "superseded.parquet"
    con.execute(
        f"copy (select file_id, row, key, period from _superseded order by 1, 2, 3) to {literal(str(made))} (format parquet, compression zstd)"
    ).fetchall()
    target = deployment.landing / "_superseded" / entity / f"{file_id}.parquet"
    sha256 = sha256_file(made)
    place(made, target)
    return {
        "path": str(target.relative_to(deployment.data)),
        "sha256": sha256,
        "rows": sum(by_file.values()),
        "by_file": by_file,
        "amount_by_file": {row[0]: None if row[2] is None else str(row[2]) for row in groups},
        "unattributed_by_file": {row[0]: row[3] for row in groups},
        "identical_by_file": {row[0]: row[4] for row in groups},
        "by_period": by_period,
        "periods": list(by_period),
    }


def in_force(rows: str, lists: Iterable[Path], file_id: str = "_file_id", key: str = "_key") -> str:
    """FROM clause of the rows of a query that the ``lists`` of superseded rows do not name.

    Keys are unique within a file; line numbers are not, where one line gave several rows.
    """
    paths = sorted(str(path) for path in lists)
    if not paths:
        return f"({rows})"
    listed = f"select file_id, key from {parquet(paths)}"
    return (
        f"(select here.* from ({rows}) as here where not exists "
        f"(select 1 from ({listed}) as listed where listed.file_id = here.{file_id} and listed.key = here.{key}))"
    )


def bill_periods(con: duckdb.DuckDBPyConnection, older: list[Part], gone: list[Path]) -> str:
    """Query of document and period of the rows in force of the documents in the table ``_notes`` (never empty)."""
    low, high = con.execute("select min(document), max(document) from _notes").fetchall()[0]
    met = [
        part.path
        for part in older
        if low is not None
        and part.min_document is not None
        and part.max_document is not None
        and part.min_document <= high
        and part.max_document >= low
    ]
    if not met:
        return "select null::varchar as document_id, null::varchar as period, null::varchar as _key, null::varchar as _file_id where false"
    bills = (
        f"select document_id, bill_period as period, _key, _file_id from {parquet(met)} "
        "where not coalesce(is_credit_note, false) and document_id in (select document from _notes)"
    )
    return f"select document_id, period, _key, _file_id from {in_force(bills, gone)}"


def referred_periods(
    con: duckdb.DuckDBPyConnection, older: list[Part], gone: list[Path], key: str, earlier: Mapping[str, str] | None = None
) -> None:
    """Give credit notes of ``_rows`` that name a bill but not its period the period of that bill, where it is known.

    Where there are such notes ``_rows`` gets a column ``_own_period``: what the note's period is without the bill, null where it is that.
    ``gone``: files that list the superseded rows of ``older`` parts; rows whose key stands in ``_rows`` are superseded now, but for the
    keys in the table ``_overtaken``: of those the row of ``_rows`` is. ``earlier``: see :func:`supersede`.
    """
    con.execute(
        "create or replace table _notes as select rowid as place, refers_to_document_id as document from _rows "
        "where is_credit_note and refers_to_period is null and refers_to_document_id is not null and _mask = 0"
    ).fetchall()
    if not con.execute("select 1 from _notes limit 1").fetchall():
        return
    con.execute("alter table _rows add column if not exists _own_period varchar").fetchall()
    good = f"_mask = 0 and not _other and {key} not in (select key from _overtaken)"
    here = f"select document_id, _period as period from _rows where {good} and not coalesce(is_credit_note, false)"
    now = f"select {key} from _rows where {good}"
    under_earlier = f" and (_file_id, _key) not in ({_under_earlier_keys(earlier, now)})" if earlier else ""
    before = f"select document_id, period from ({bill_periods(con, older, gone)}) where _key not in ({now}){under_earlier}"
    con.execute(
        f"update _rows set _own_period = _period, _period = b.period from (select n.place, min(d.period) as period from _notes n "
        f"join ({here} union all {before}) d on d.document_id = n.document group by 1) b where _rows.rowid = b.place"
    ).fetchall()
