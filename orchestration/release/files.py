"""The files of one release, written into a folder in scratch: Parquet and a DuckDB file of the marts, policies, compiled SQL.

Nothing here decides whether they may be released or makes them visible.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.gate.candidate import Mart, both_hashes, marts_of, select_period
from orchestration.ingest.files import sha256_file, sync_folder
from orchestration.memory import query_memory
from orchestration.release.descriptions import mart_descriptions
from orchestration.sqltext import literal, quoted

WAREHOUSE = "warehouse"
BI_FILE = "tierhouse.duckdb"
# DuckDB 1.5 cannot read the default format of 2.0.
STORAGE_VERSION = "v1.5.0"
READ_ONLY = 0o444
WRITERS = 2


def open_warehouse(deployment: Deployment) -> duckdb.DuckDBPyConnection:
    """An in-memory database with the warehouse attached read-only as ``warehouse`` (the name that dbt's views use)."""
    if not deployment.warehouse.is_file():
        raise Failed("there is no warehouse", str(deployment.warehouse), "run the months again with `tierhouse run --periods FIRST..LAST`")
    # Rows are in no order: to sort them cost more than all else of a release, and a subject is found among millions in a fifth of a second.
    config: dict[str, Any] = {"temp_directory": str(deployment.scratch), "memory_limit": query_memory(), "preserve_insertion_order": False}
    con = duckdb.connect(config=config)
    try:
        con.execute(f"attach {literal(str(deployment.warehouse))} as {WAREHOUSE} (read_only)")
    except duckdb.Error:
        con.close()
        raise
    return con


def write_marts(con: duckdb.DuckDBPyConnection, folder: Path, period: str) -> dict[str, dict[str, Any]]:
    """One Parquet file a mart and the BI file; return mart → {file, rows, hash, fingerprint}, of what was written."""
    bi_file = folder / BI_FILE
    con.execute(f"attach {literal(str(bi_file))} as bi (storage_version {literal(STORAGE_VERSION)})")
    try:
        # Two at a time: the end of writing a file keeps one core busy. The widest first, so that the last is small.
        marts = sorted(marts_of(con, WAREHOUSE), key=lambda mart: -len(mart.columns))
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="release") as pool:
            written = list(pool.map(lambda mart: _write_mart(con, mart, folder, period), marts))
        con.execute("checkpoint bi")
    finally:
        con.execute("detach bi")
    return {mart.name: table for mart, table in sorted(zip(marts, written, strict=True), key=lambda pair: pair[0].name)}


def _write_mart(con: duckdb.DuckDBPyConnection, mart: Mart, folder: Path, period: str) -> dict[str, Any]:
    file = folder / f"{mart.name}.parquet"
    written = f"read_parquet({literal(str(file))})"
    query = select_period(mart, f"{WAREHOUSE}.marts.{quoted(mart.name)}", period)
    with con.cursor() as own:
        own.execute(f"copy ({query}) to {literal(str(file))} (format parquet, compression zstd)")
        rows, digest, quick = both_hashes(own, written, mart.columns)
        own.execute(f"create table bi.{quoted(mart.name)} as select * from {written}")
        _describe(own, mart)
    return {"file": file.name, "rows": rows, "hash": digest, "fingerprint": quick}


def _describe(con: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    """Comments on the table of the BI file and its columns: who has the file alone reads there what a column means."""
    known = mart_descriptions().get(mart.name)
    if known is None:
        return
    table = f"bi.{quoted(mart.name)}"
    columns = {row[0] for row in con.execute(f"select column_name from (describe {table})").fetchall()}
    said = {f"column {table}.{quoted(name)}": text for name, text in known.columns.items() if name in columns}
    comments = "".join(f"comment on {what} is {literal(text)};" for what, text in {f"table {table}": known.text, **said}.items())
    # In one transaction: each has its own write to the disk otherwise.
    con.execute(f"begin transaction;{comments}commit")


def policies_of(con: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, str]:
    """Program/version → policy hash, of the versions that decided the period; see ``policy.past``."""
    decisions = f"read_parquet({literal(str(folder / 'fct_decisions.parquet'))})"
    query = f"select distinct program_id || '/' || policy_version, policy_hash from {decisions} where status = 'decided' order by 1"
    return dict(con.execute(query).fetchall())


def write_policies(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """``policy/<seed>.csv``, the policies as this run used them, and ``compiled.sql``, what was made of them."""
    (folder / "policy").mkdir()
    tables = con.execute(
        f"select distinct table_name from duckdb_columns() where database_name = '{WAREHOUSE}' and schema_name = 'policy'"
    ).fetchall()
    for (table,) in sorted(tables):
        target = folder / "policy" / f"{table}.csv"
        con.execute(f"copy {WAREHOUSE}.policy.{quoted(table)} to {literal(str(target))} (format csv, header true)")
    compiled = []
    if con.execute(
        f"select 1 from duckdb_tables() where database_name = '{WAREHOUSE}' and schema_name = 'ctl' and table_name = 'compiled_sql'"
    ).fetchall():
        compiled = con.execute(f"select name, sql from {WAREHOUSE}.ctl.compiled_sql order by name").fetchall()
    (folder / "compiled.sql").write_text("".join(f"-- {name}\n{sql}\n\n" for name, sql in compiled), encoding="utf-8")


def seal(folder: Path) -> dict[str, dict[str, Any]]:
    """Make every file read-only and durable; return relative path → {sha256, bytes}."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        seal_file(path)
        files[path.relative_to(folder).as_posix()] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    for inner in [p for p in folder.rglob("*") if p.is_dir()]:
        sync_folder(inner)
    return files


def seal_file(path: Path) -> None:
    """Read-only, and on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
    path.chmod(READ_ONLY)
