"""Names and texts as SQL. Values of policies are typed: see ``policy.sql``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# What DuckDB reads in a path as a pattern of names.
PATTERN_SIGNS = "*?["
# Where landing keeps a part per period, its folder is `period=2026-06`.
PERIOD_FOLDER = "period"


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def parquet(paths: Iterable[Path | str], options: str = "", *, by_period: bool = False) -> str:
    """``read_parquet`` over files (at least one) that are ours: no name of a folder is a column of them. ``options``: further ones, ``, name = value``.

    ``by_period``: but the folder ``period=2026-06`` of each, the text :data:`PERIOD_FOLDER`.
    """
    folders = f"true, hive_types = {{'{PERIOD_FOLDER}': varchar}}" if by_period else "false"
    return f"read_parquet([{', '.join(literal(str(path)) for path in paths)}], hive_partitioning = {folders}{options})"


def one_file(path: Path) -> str:
    """``path`` as an SQL string for ``read_csv`` and ``read_parquet``, which would look for other files where a name has a sign of a pattern."""
    return literal("".join(f"[{sign}]" if sign in PATTERN_SIGNS else sign for sign in str(path)))
