"""Rejected rows with every reason, their line number and their original text: one Parquet file per drop."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.ingest.checking import Scan
from orchestration.ingest.drops import Drop, original_texts

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
