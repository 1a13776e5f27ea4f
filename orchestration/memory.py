"""How much memory DuckDB may use, from the environment."""

from __future__ import annotations

import os
import re

from orchestration.errors import BadInput

_DEFAULT = "4GB"
# Below this DuckDB cannot even open a large file.
_LEAST = 64 * 10**6
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B", re.IGNORECASE)


def ingest_memory() -> str:
    """What ingest may use, as DuckDB writes sizes."""
    return _limit("TIERHOUSE_INGEST_MEMORY")


def query_memory() -> str:
    """What the warehouse, the gate, a release and a command that reads them may each use, as DuckDB writes sizes.

    As dbt's profile has it: millions of decisions are sorted and grouped by way of the disk instead of taking the machine's memory.
    """
    return _limit("TIERHOUSE_MEMORY_LIMIT")


def _limit(variable: str) -> str:
    """BadInput for what is no size, or too little to work with."""
    text = os.environ.get(variable, _DEFAULT)
    found = _SIZE.fullmatch(text.strip())
    base = 1024 if found and found[3] else 1000
    if not found or float(found[1]) * base ** " KMGT".index(found[2].upper() or " ") < _LEAST:
        raise BadInput(
            f"{text!r} is no amount of memory to work with", f"environment variable {variable}", "write a size from 64MB on, e.g. 4GB"
        )
    return text
