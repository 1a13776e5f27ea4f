"""Rows that a source without keys sends again after columns were added to its mapping: their key is another one since.

The key of such a row is made of its content, and a mapping with more columns gives the same row more content. So whatever a drop brings
that an earlier one, landed under fewer columns, has landed or set aside is listed beside the landing: the key that the row has, and the one
that it had in that drop. Wherever rows of the same key are looked for, those are rows of the same key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.contracts import Contract
from orchestration.ingest.files import place
from orchestration.ingest.mapping import Feed
from orchestration.ingest.parts import Landed, Standing
from orchestration.sqltext import literal, parquet, quoted

_NONE = "select null::varchar as key, null::varchar as drop_id, null::varchar as before where false"


def content(contract: Contract, without: Collection[str] = ()) -> str:
    """SQL for the content of a row, as a feed reads it that does not map the columns ``without``."""
    cells = ("chr(0)" if name in without else f"coalesce(cast({quoted(name)} as varchar), chr(0))" for name in contract.landed)
    return f"md5(concat_ws(chr(31), {', '.join(cells)}))"


def list_earlier_keys(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, feed: Feed, key: str, waits: int, file_id: str
) -> dict[str, Any] | None:
    """Put the earlier keys of rows of ``_rows`` in place as the list of ``file_id``; where it lies, or None if no row has one.

    ``waits``: mask of what a row may lack that is set aside. The list is left in the table ``_earlier`` (key, drop_id, before).
    """
    if feed.entity != "bill_lines":
        return None
    con.execute(f"create or replace table _earlier as {_NONE}").fetchall()
    for mapped in known.mapped(feed.source, feed.entity):
        if not set(mapped) < set(feed.columns):
            continue
        standing = known.standing_of(feed.source, feed.entity)
        landed = [drop for drop in standing if drop.payload.get("columns") == list(mapped) and not drop.is_replaced]
        as_read = content(feed.contract, set(feed.columns) - set(mapped))
        con.execute(
            "create or replace table _as_before as select key, document_id, "
            "document_id || '|' || content || '|' || row_number() over (partition by document_id, content, _mask order by place) as before "
            f"from (select {key} as key, document_id, {as_read} as content, _mask, rowid as place from _rows "
            f"where not _other and (_mask | {waits}) = {waits})"
        ).fetchall()
        low, high = con.execute("select min(document_id), max(document_id) from _as_before").fetchall()[0]
        if landed and low is not None and (there := " union all ".join(_rows_of(deployment, known, landed, low, high))):
            con.execute(
                f"insert into _earlier select distinct key, drop_id, before from _as_before join ({there}) using (before)"
            ).fetchall()
    rows = con.execute("select count(*) from _earlier").fetchall()[0][0]
    if not rows:
        return None
    made = deployment.scratch / "earlier_keys.parquet"
    con.execute(f"copy (from _earlier order by all) to {literal(str(made))} (format parquet, compression zstd)").fetchall()
    target = deployment.landing / "_earlier_keys" / feed.entity / f"{file_id}.parquet"
    place(made, target)
    return {"path": str(target.relative_to(deployment.data)), "rows": int(rows)}


def _rows_of(deployment: Deployment, known: Landed, drops: list[Standing], low: str, high: str) -> Iterable[str]:
    """Queries of the rows that drops have landed or set aside (drop_id, before), those of documents from ``low`` to ``high`` at least."""
    of_file = {file_id: drop.payload["file_id"] for drop in drops for file_id in drop.file_ids}
    [source], [entity] = {drop.payload["source"] for drop in drops}, {drop.payload["entity"] for drop in drops}
    parts = [
        (str(part.path), of_file[part.file_id])
        for part in known.parts(entity, source)
        if part.file_id in of_file and (part.min_document or "") <= high and (part.max_document or low) >= low
    ]
    waiting = [
        (str(deployment.data / drop.payload["waiting"]["path"]), drop.payload["file_id"]) for drop in drops if drop.payload["waiting"]
    ]
    for files in (parts, waiting):
        if files:
            named = ", ".join(f"({literal(path)}, {literal(drop_id)})" for path, drop_id in files)
            yield (
                f"select d.drop_id, r._key as before from {parquet((path for path, _ in files), ', filename = true')} as r "
                f"join (values {named}) as d(path, drop_id) on r.filename = d.path"
            )


def earlier_keys(deployment: Deployment, drops: Iterable[Standing]) -> str:
    """Query of key, drop_id and before: what the lists of ``drops`` say."""
    paths = [deployment.data / drop.payload["earlier_keys"]["path"] for drop in drops if drop.payload.get("earlier_keys")]
    return f"select key, drop_id, before from {parquet(paths)}" if paths else _NONE


def landed_under(deployment: Deployment, known: Landed, drops: Iterable[Standing]) -> str:
    """:func:`earlier_keys` of the rows that ``drops`` have landed, with their ``file_id``: what still waits takes no other row's place."""
    found = []
    for drop in drops:
        source, entity = drop.payload["source"], drop.payload["entity"]
        paths = [part.path for part in known.parts(entity, source) if part.file_id in drop.counting_ids]
        if drop.payload.get("earlier_keys") and paths:
            rows = f"select _file_id as file_id, _key as key from {parquet(paths)}"
            found.append(f"select r.file_id, e.* from ({rows}) as r join ({earlier_keys(deployment, [drop])}) as e using (key)")
    return " union all ".join(found) or f"select null::varchar as file_id, * from ({_NONE})"


def files_named(con: duckdb.DuckDBPyConnection, drops: Iterable[Standing]) -> dict[str, str]:
    """File id of each part of the ``drops`` that the table ``_earlier`` names → the drop that it is of."""
    named = {drop_id for (drop_id,) in con.execute("select distinct drop_id from _earlier").fetchall()}
    return {file_id: drop.payload["file_id"] for drop in drops if drop.payload["file_id"] in named for file_id in drop.file_ids}
