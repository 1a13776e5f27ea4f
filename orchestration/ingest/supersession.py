"""Newer rows take the place of older ones of the same key; credit notes find the period of the bill they refer to."""

from __future__ import annotations

from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.expressions import literal
from orchestration.ingest.files import place
from orchestration.ingest.parts import Part, superseded_files
from orchestration.ledger.store import Ledger


def paths_sql(paths: list[str]) -> str:
    """A list of paths for ``read_parquet``."""
    return "[" + ", ".join(literal(path) for path in paths) + "]"


def supersede(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    ledger: Ledger,
    entity: str,
    older: list[Part],
    parts: list[dict[str, Any]],
    key: str,
    file_id: str,
) -> dict[str, Any]:
    """Record the rows of ``older`` parts whose key stands in the good rows of ``_rows``: path, rows, by file, periods.

    Parts whose key range does not meet the new one are not read. A row that was superseded before is not again.
    """
    nothing: dict[str, Any] = {"path": None, "rows": 0, "by_file": {}, "periods": []}
    if not parts:
        return nothing
    low, high = min(p["min_key"] for p in parts), max(p["max_key"] for p in parts)
    met = [part for part in older if part.min_key is not None and part.max_key is not None and part.min_key <= high and part.max_key >= low]
    if not met:
        return nothing
    old = " union all ".join(
        f"select _file_id as file_id, _row as row, _key, {literal(part.period) if part.period else 'cast(null as varchar)'} as period "
        f"from read_parquet({literal(str(part.path))}, hive_partitioning = false)"
        for part in met
    )
    # Keys are unique within a file; line numbers are not, where one line gave several rows.
    known = [str(path) for path in superseded_files(deployment, ledger, entity)]
    gone = f" anti join (select file_id, key from read_parquet({paths_sql(known)})) g on o.file_id = g.file_id and o._key = g.key" if known else ""
    con.execute(
        f"create or replace table _superseded as select o.file_id, o.row, o._key as key, o.period from ({old}) o "
        f"semi join (select {key} as _key from _rows where _mask = 0 and not _other) n on o._key = n._key{gone} order by 1, 2, 3"
    ).fetchall()
    by_file = dict(con.execute("select file_id, count(*) from _superseded group by 1 order by 1").fetchall())
    if not by_file:
        return nothing
    periods = [row[0] for row in con.execute("select distinct period from _superseded where period is not null order by 1").fetchall()]
    made = deployment.scratch / "superseded.parquet"
    con.execute(f"copy _superseded to {literal(str(made))} (format parquet, compression zstd)").fetchall()
    target = deployment.landing / "_superseded" / entity / f"{file_id}.parquet"
    place(made, target)
    return {"path": str(target.relative_to(deployment.data)), "rows": sum(by_file.values()), "by_file": by_file, "periods": periods}


def referred_periods(con: duckdb.DuckDBPyConnection, older: list[Part]) -> None:
    """Give credit notes that name a bill but not its period the period of that bill, where it is known."""
    columns = {row[0] for row in con.execute("select column_name from duckdb_columns() where table_name = '_rows'").fetchall()}
    if "refers_to_document_id" not in columns:
        return
    con.execute(
        "create or replace table _notes as select rowid as place, refers_to_document_id as document from _rows "
        "where is_credit_note and refers_to_period is null and refers_to_document_id is not null and _mask = 0"
    ).fetchall()
    low, high = con.execute("select min(document), max(document) from _notes").fetchall()[0]
    if low is None:
        return
    sources = ["select document_id, _period as period from _rows where _mask = 0 and not _other and not coalesce(is_credit_note, false)"]
    sources += [
        f"select document_id, {literal(part.period)} from read_parquet({literal(str(part.path))}, hive_partitioning = false) where not coalesce(is_credit_note, false)"
        for part in older
        if part.period and part.min_document is not None and part.max_document is not None and part.min_document <= high and part.max_document >= low
    ]
    con.execute(
        f"update _rows set _period = b.period from (select n.place, min(d.period) as period from _notes n "
        f"join ({' union all '.join(sources)}) d on d.document_id = n.document group by 1) b where _rows.rowid = b.place"
    ).fetchall()
