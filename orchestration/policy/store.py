"""Policies written into the warehouse: a typed table per seed, and the compiled SQL that models read."""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.policy.model import Policies
from orchestration.policy.reader import ColumnSchema

_ARROW = {"integer": pa.int64(), "decimal": pa.decimal128(18, 4), "boolean": pa.bool_(), "date": pa.date32()}


def _array(column: ColumnSchema, values: list[Any]) -> pa.Array:
    return pa.array(["|".join(v) or None if isinstance(v, tuple) else v for v in values], _ARROW.get(column.type, pa.string()))


def store_policies(con: duckdb.DuckDBPyConnection, policies: Policies, compiled: dict[str, str]) -> None:
    """Replace the tables of schema ``policy`` (one per seed) and ``ctl.compiled_sql`` (name, sql, sha256).

    Lists stay as seeds write them (``a|b``), so that a table copied to CSV is a seed again. The caller owns the transaction.
    """
    con.execute("create schema if not exists policy")
    con.execute("create schema if not exists ctl")
    for seed in policies.seeds.values():
        columns = ", ".join(f'"{name}" {column.sql_type}' for name, column in seed.schema.columns.items())
        con.execute(f'create or replace table policy."{seed.name}" ({columns})')
        if seed.rows:
            arrays = {name: _array(column, [row[name] for row in seed.rows]) for name, column in seed.schema.columns.items()}
            con.register("seed_rows", pa.table(arrays))
            con.execute(f'insert into policy."{seed.name}" select * from seed_rows')
            con.unregister("seed_rows")
    con.execute("create or replace table ctl.compiled_sql (name varchar, sql varchar, sha256 varchar)")
    con.executemany(
        "insert into ctl.compiled_sql values (?, ?, ?)",
        [(name, text, hashlib.sha256(text.encode()).hexdigest()) for name, text in compiled.items()],
    )
