"""Queries of a DuckDB connection, or of one that Great Expectations keeps open."""

from __future__ import annotations

from typing import Any, Protocol


class Connection(Protocol):
    """What is used of a DuckDB connection."""

    def execute(self, query: str, parameters: Any = ...) -> Any: ...

    def fetchall(self) -> list[tuple[Any, ...]]: ...


def rows_of(con: Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    con.execute(query)
    return con.fetchall()
