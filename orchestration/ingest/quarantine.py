"""Rejected rows with every reason, their line number and their original text: one Parquet file per drop.

Rows that lack nothing but what they refer to are also kept as they would land, in the waiting folder: see ``readmission``.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.checking import Scan
from orchestration.ingest.drops import Drop, original_texts
from orchestration.ingest.files import file_in, place_privately
from orchestration.ingest.mapping import Feed
from orchestration.ingest.parts import Landed, origin_of
from orchestration.sqltext import literal, parquet, quoted

SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("reasons", pa.list_(pa.string())),
        ("details", pa.list_(pa.string())),
        ("text", pa.string()),
        ("key", pa.string()),
        ("amount", pa.decimal128(18, 4)),
    ]
)
_BATCH = 20_000


def write_quarantine(con: duckdb.DuckDBPyConnection, drop: Drop, scan: Scan, bad: str, target: Path) -> dict[str, int]:
    """Write the rows of ``bad`` (a relation line, mask, key, amount) to ``target``; rows per reason.

    Texts are taken from the drop line by line, in order, so that memory stays small however many rows are bad.
    """
    counts: dict[str, int] = {}
    named: dict[int, tuple[list[str], list[str]]] = {}
    reader = con.cursor()
    reader.execute(f"select line, mask, key, amount from {bad} order by line, key")
    with pq.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
        while rows := reader.fetchmany(_BATCH):
            lines: list[int] = [row[0] for row in rows]
            distinct = list(dict.fromkeys(lines))
            texts = dict(zip(distinct, original_texts(con, drop, ((line, drop.tall.get(line, 1)) for line in distinct)), strict=True))
            reasons, details = [], []
            for _, mask, _, _ in rows:
                if mask not in named:
                    named[mask] = (scan.reasons(mask), scan.details(mask))
                reasons.append(named[mask][0])
                details.append(named[mask][1])
                for reason in named[mask][0]:
                    counts[reason] = counts.get(reason, 0) + 1
            amounts: list[Decimal | None] = [row[3] for row in rows]
            writer.write_table(
                pa.table(
                    {
                        "line": lines,
                        "reasons": reasons,
                        "details": details,
                        "text": [texts[line] for line in lines],
                        "key": [row[2] for row in rows],
                        "amount": amounts,
                    },
                    schema=SCHEMA,
                )
            )
    return counts


def write_waiting(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, feed: Feed, rows: str, references: int, key: str, file_id: str
) -> dict[str, Any] | None:
    """Keep the rows of ``rows`` whose mask has no bit but those of ``references``; where they lie, or None if there are none.

    Personal columns are among them: like the quarantine, the folder is to be treated like the vault.
    """
    contract = feed.contract
    columns = ", ".join(quoted(name) for name in contract.columns)
    content = "_content_hash" if key == "_key" else "cast(null as varchar)"
    return place_waiting(
        con,
        deployment,
        f"select {columns}, _period, cast(_line as bigint) as _line, {key} as _key, {content} as _content_hash from {rows} "
        f"where not _other and _mask <> 0 and (_mask | {references}) = {references} order by _line, _key",
        deployment.waiting / contract.entity / feed.source / f"{file_id}.parquet",
    )


def add_to_quarantine(con: duckdb.DuckDBPyConnection, deployment: Deployment, drop: dict[str, Any], rows: str, file_id: str) -> str:
    """Write what the quarantine holds of a drop as it stands, nothing where its file is gone, and ``rows`` (a query of :data:`SCHEMA`) to a file
    of its own; where it lies."""
    made = deployment.scratch / "quarantine.parquet"
    if drop["quarantine"] and (deployment.data / drop["quarantine"]).exists():
        before = f"from {parquet([deployment.data / drop['quarantine']])}"
        # Of a row that was there before, and was admitted, it has the original text.
        there = f"select (line, key) from ({before}) where reasons = ['unknown_reference'] and key is not null"
        rows = f"{before} union all by name from ({rows}) where (line, key) not in ({there})"
    con.execute(f"copy (from ({rows}) order by line, key) to {literal(str(made))} (format parquet, compression zstd)").fetchall()
    target = deployment.quarantine / drop["entity"] / drop["source"] / f"{file_id}.parquet"
    place_privately(made, target)
    return str(target.relative_to(deployment.data))


def place_waiting(con: duckdb.DuckDBPyConnection, deployment: Deployment, query: str, target: Path) -> dict[str, Any] | None:
    """Write the rows of ``query`` to ``target``: its path and number of rows for the ledger, None if there are none."""
    made = deployment.scratch / "waiting.parquet"
    rows = con.execute(f"copy ({query}) to {literal(str(made))} (format parquet, compression zstd)").fetchall()[0][0]
    if not rows:
        return None
    place_privately(made, target)
    return {"path": str(target.relative_to(deployment.data)), "rows": int(rows)}


def quarantined_rows(deployment: Deployment, drop: dict[str, Any], limit: int) -> list[tuple[int, list[str], str]]:
    """Line, reasons and text of the first ``limit`` rows of a drop as it stands that are in quarantine still. Failed if its file is gone."""
    query = f"select line, reasons, text from {_rejected(deployment, [drop])} order by line, key limit ?"
    try:
        return duckdb.execute(query, [limit]).fetchall()
    except duckdb.IOException as err:
        raise Failed(
            f"the rejected rows of {drop['file']} cannot be read",
            file_in(str(err)) or str(deployment.quarantine),
            "restore the file from a backup; `tierhouse quarantine --limit 0` counts them without it",
        ) from err


def _rejected(deployment: Deployment, drops: Iterable[dict[str, Any]]) -> str:
    """FROM clause of the rows of drops as they stand (at least one, all with a quarantine) that are in quarantine still, with the ``drop_id`` of
    each: their files, but for the rows that were admitted."""
    drops = list(drops)
    waiting = "select null::varchar, null::bigint, null::varchar where false"
    waits = {drop["file_id"]: deployment.data / drop["waiting"]["path"] for drop in drops if drop["waiting"]}
    if waits:
        waiting = f"select drop_id, _line, _key from {_of_drops(waits)}"
    return (
        f"(from {_of_drops({drop['file_id']: deployment.data / drop['quarantine'] for drop in drops})} where reasons <> ['unknown_reference'] "
        f"or (drop_id, line, coalesce(key, '')) in (select (drop_id, _line, _key) from ({waiting}) as w(drop_id, _line, _key)))"
    )


def _of_drops(files: dict[str, Path]) -> str:
    """FROM clause of the rows of Parquet files, each with the ``drop_id`` that it has in ``files``."""
    named = ", ".join(f"({literal(str(path))}, {literal(drop_id)})" for drop_id, path in files.items())
    return (
        f"(select f.* exclude (filename), d.drop_id from {parquet(files.values(), ', filename = true')} as f "
        f"join (values {named}) as d(path, drop_id) on f.filename = d.path)"
    )


def corrected_since(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, drops: Iterable[dict[str, Any]]
) -> dict[str, int]:
    """File id of each of some drops of a feed as they stand → its rejected rows whose key a later drop of the feed has landed: what was wrong
    with them has been sent right. Drops of which it is none, or whose rejected rows are gone, are left out.

    Rows without a key, and those of sources without keys, cannot be told from new ones.
    """
    drops = [drop for drop in drops if drop["quarantine"] and (deployment.data / drop["quarantine"]).exists()]
    if not drops:
        return {}
    [source], [entity] = {drop["source"] for drop in drops}, {drop["entity"] for drop in drops}
    here = {drop["file_id"]: known.drop(origin_of(drop)) for drop in drops}
    places = ", ".join(f"({literal(file_id)}, {item.seq})" for file_id, item in here.items() if item)
    con.execute(
        f"create or replace temp table _rejected_keys as select drop_id, seq, key from {_rejected(deployment, drops)} "
        f"join (values {places}) as p(drop_id, seq) using (drop_id) where key is not null"
    ).fetchall()
    low, high, first = con.execute("select min(key), max(key), min(seq) from _rejected_keys").fetchall()[0]
    counting = known.counting_ids(entity, source)
    later = [
        part
        for part in known.parts(entity, source)
        if low is not None
        and part.position > first
        and part.file_id in counting
        and part.min_key is not None
        and part.max_key is not None
        and part.min_key <= high
        and part.max_key >= low
    ]
    if not later:
        return {}
    positions = ", ".join(f"({literal(part.file_id)}, {part.position})" for part in {part.file_id: part for part in later}.values())
    newest = (
        f"select l._key as key, max(p.position) as position from {parquet(part.path for part in later)} as l "
        f"join (values {positions}) as p(file_id, position) on l._file_id = p.file_id "
        "where l._key in (select key from _rejected_keys) group by 1"
    )
    try:
        return dict(
            con.execute(
                f"select r.drop_id, count(*) from _rejected_keys as r join ({newest}) as n using (key) where n.position > r.seq group by 1"
            ).fetchall()
        )
    except duckdb.IOException as err:
        raise Failed(
            f"the rows that landed after {drops[0]['file']} cannot be read",
            file_in(str(err)) or str(deployment.landing),
            "restore the file from a backup",
        ) from err
