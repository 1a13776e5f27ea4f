"""The candidate of a period, and the canonical hash that says whether two sets of rows are equal.

A candidate is the rows of every relation in the warehouse's schema ``marts``: those of the period where there is a
column ``period``, all of them otherwise. No Great Expectations here: the release reads candidates too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from orchestration.ledger.store import digest
from orchestration.sqltext import literal, quoted

MARTS = "marts"
# Columns that say which run wrote a row, not what was decided.
RUN_COLUMNS = frozenset({"run_id", "computed_at", "loaded_at"})
_PIECES = 2
# The halves of the 128 bits; the sum of 2^63 of either fits a HUGEINT.
_CANONICAL_SUMS = f"sum(cast(h >> 64 as ubigint)), sum(cast(h & {2**64 - 1} as ubigint))"
# A row is hashed once; the hash of its hash makes the second sum, which equal first sums do not share.
_QUICK_SUMS = "sum(q), sum(hash(q, 1))"


@dataclass(frozen=True)
class Mart:
    """A relation of the candidate. ``columns``: name → DuckDB type, in the relation's order."""

    name: str
    columns: Mapping[str, str]

    @property
    def by_period(self) -> bool:
        return "period" in self.columns


def marts_of(con: duckdb.DuckDBPyConnection, catalog: str) -> list[Mart]:
    """The relations of schema ``marts`` of an attached warehouse, by name."""
    found: dict[str, dict[str, str]] = {}
    of_marts = f"database_name = {literal(catalog)} and schema_name = {literal(MARTS)}"
    query = f"select table_name, column_name, data_type from duckdb_columns() where {of_marts} order by table_name, column_index"
    for table, column, kind in con.execute(query).fetchall():
        found.setdefault(table, {})[column] = kind
    return [Mart(name, columns) for name, columns in sorted(found.items())]


def select_period(mart: Mart, relation: str, period: str) -> str:
    """SELECT of the candidate's rows of one mart."""
    return f"select * from {relation}" + (f" where period = {literal(period)}" if mart.by_period else "")


def business_columns(columns: Iterable[str]) -> list[str]:
    """The columns that say what was decided, by name: all but those about the run."""
    return sorted(name for name in columns if name not in RUN_COLUMNS and not name.startswith("_"))


def both_hashes(con: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str]) -> tuple[int, str, str]:
    """Number of rows, canonical hash and :func:`fingerprint` of a relation that is read once, whatever the order of rows or columns.

    For the canonical hash a row is its business values as text in the order of the columns' names, texts with their length so that no
    two rows look alike, null apart from the empty text. Both halves of its MD5 are summed over the rows: a sum does not depend on
    order, and counts a row that stands twice. DuckDB's own hash() may change between versions; this does not. It says
    that rows are equal; that nobody changed them is said by the files' SHA-256 in the manifest (docs/adr/0015).
    """
    inner = f"select {_canonical_row(columns)} as h, {_quick_hash(columns)} as q from {relation}"
    rows, *sums = con.execute(f"select count(*), {_CANONICAL_SUMS}, {_QUICK_SUMS} from ({inner})").fetchall()[0]
    return int(rows), _canonical_digest(columns, rows, sums[:_PIECES]), _quick_digest(columns, rows, sums[_PIECES:])


def _canonical_row(columns: Mapping[str, str]) -> str:
    """The MD5 of a row as a number."""
    # concat() takes null for nothing: a null text has no length before its colon, and no other value is empty.
    parts = [
        f"strlen({quoted(name)}), ':', {quoted(name)}" if columns[name] in ("VARCHAR", "JSON") else quoted(name)
        for name in business_columns(columns)
    ]
    text = ", '|', ".join(parts) or "''"
    return f"md5_number(concat({text}))"


def _canonical_digest(columns: Mapping[str, str], rows: int, sums: Sequence[object]) -> str:
    content = {"columns": business_columns(columns), "rows": rows, "sums": [str(value) for value in sums]}
    return digest(content)


def fingerprint(con: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str]) -> tuple[int, str]:
    """Number of rows and a quick hash of a relation, whatever the order of its rows.

    Made of DuckDB's own hash, which may differ between its versions: it ties a gate's verdict to the rows that are
    then released, minutes later, and is compared with nothing older. What is kept is the canonical hash, see :func:`both_hashes`.
    """
    rows, *sums = con.execute(f"select count(*), {_QUICK_SUMS} from (select {_quick_hash(columns)} as q from {relation})").fetchall()[0]
    return int(rows), _quick_digest(columns, rows, sums)


def _quick_hash(columns: Mapping[str, str]) -> str:
    return f"hash({', '.join(quoted(name) for name in business_columns(columns))})"


def _quick_digest(columns: Mapping[str, str], rows: int, sums: Sequence[object]) -> str:
    return digest([duckdb.__version__, dict(sorted(columns.items())), rows, *(str(value) for value in sums)])


def combined_hash(hashes: Mapping[str, str]) -> str:
    """One hash over the hashes of several relations."""
    return digest(dict(hashes))
