"""Great Expectations on DuckDB, which it does not support by itself.

Through plain SQLAlchemy every expectation fails with ``IndexError``, because GX closes the connection before it fetches
(great_expectations #10738, #11579). Keeping one connection open is all that is missing. GX finds the data source by its
``type`` as soon as this module is imported: ``context.data_sources.add_duckdb(...)``.

The classes must live in a module that can be imported by name. Importing it imports GX, which takes seconds: only the
gate's validation does.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
from great_expectations.execution_engine import SqlAlchemyExecutionEngine

from orchestration.interruption import as_keyboard_interrupt


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):  # type: ignore[misc]
    """Keeps its one connection open for as long as it lives."""

    _kept: Any = None

    @contextmanager
    def get_connection(self) -> Iterator[Any]:
        if self._kept is None:
            self._kept = self.engine.connect()
        # GX takes any Exception for a metric that has failed, and tries again or reports it as that.
        with as_keyboard_interrupt():
            yield self._kept

    def end_transaction(self) -> None:
        """Let what other connections have made since be seen."""
        if self._kept is not None:
            self._kept.rollback()

    def release(self) -> None:
        """Close the connection and with it every database that it has open."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self.engine.dispose()


class DuckDBDatasource(SQLDatasource):  # type: ignore[misc]
    """``add_duckdb(name=…, connection_string="duckdb:///:memory:<name>")``."""

    type: Literal["duckdb"] = "duckdb"

    @property
    def execution_engine_type(self) -> builtins.type[DuckDBExecutionEngine]:
        return DuckDBExecutionEngine
