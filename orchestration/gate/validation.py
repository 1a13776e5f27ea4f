"""Great Expectations, quiet and on DuckDB: one session, one batch a relation, nothing pulled into pandas.

GX is imported here and nowhere else, when a gate starts. It writes no files: the context is ephemeral, analytics and
progress bars are off, and results carry counts only (failing keys are listed by the gate's own SQL).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.gate.suites import Expectation

if TYPE_CHECKING:
    from orchestration.gate.duckdb_datasource import DuckDBDatasource


@dataclass(frozen=True)
class Verdict:
    """What GX found for one expectation; ``error``: why it could not be evaluated."""

    success: bool
    error: str | None


class Session:
    """A GX context over one in-memory DuckDB database; ``con`` is the same database for our own SQL.

    GX is imported in a thread from the start on, while the caller makes the candidate in ``con``: it takes seconds.
    """

    def __init__(self, url: str, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._url = url
        self._source: DuckDBDatasource | None = None
        self._importing = threading.Thread(target=_import_quietly, name="import great_expectations", daemon=True)
        self._importing.start()

    def _open(self) -> DuckDBDatasource:
        if self._source is None:
            self._importing.join()
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig

            from orchestration.gate.duckdb_datasource import DuckDBDatasource  # noqa: F401  (registers add_duckdb)

            context = gx.get_context(mode="ephemeral")
            context.variables.progress_bars = ProgressBarsConfig(globally=False)
            self._source = context.data_sources.add_duckdb(name="warehouse", connection_string=self._url)
        return self._source

    def close(self) -> None:
        """Close GX's connections."""
        self._importing.join()
        if self._source is not None:
            self._source.get_execution_engine().release()
            self._source.get_engine().dispose()

    def validate(self, relation: str, expectations: Sequence[Expectation]) -> list[Verdict]:
        """Verdicts in the order of the expectations. ``relation``: schema.table in the session's database."""
        source = self._open()
        import great_expectations as gx
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        source.get_execution_engine().end_transaction()
        schema, table = relation.split(".")
        with warnings.catch_warnings():
            # The schema is deprecated in favour of a connection's own, which an in-memory database has not.
            warnings.simplefilter("ignore", DeprecationWarning)
            asset = source.add_table_asset(f"{relation}#{uuid.uuid4().hex[:8]}", table_name=table, schema_name=schema)
        batch = asset.add_batch_definition_whole_table("whole").get_batch()
        suite = gx.ExpectationSuite(
            name=relation,
            expectations=[
                ExpectationConfiguration(type=item.type, kwargs=item.kwargs, meta={"position": position})
                for position, item in enumerate(expectations)
            ],
        )
        results = batch.validate(suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0})
        verdicts: dict[int, Verdict] = {}
        for result in results.results:
            position = int(result.expectation_config.meta["position"])
            verdicts[position] = Verdict(bool(result.success), _error_of(result.exception_info))
        missing = Verdict(False, "Great Expectations gave no result")
        return [verdicts.get(position, missing) for position in range(len(expectations))]


def _error_of(info: Any) -> str | None:
    """The message of an expectation that could not be evaluated."""
    if not info:
        return None
    items = [info] if "raised_exception" in info else list(info.values())
    messages = [str(item.get("exception_message")) for item in items if item.get("raised_exception")]
    return "; ".join(messages) or None


def _import_quietly() -> None:
    """Import GX with its warnings off. Fails in silence: whoever needs it imports it again and gets the error."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations.expectations.expectation_configuration  # noqa: F401

        import orchestration.gate.duckdb_datasource  # noqa: F401

        logging.getLogger("great_expectations").setLevel(logging.ERROR)


@contextlib.contextmanager
def session() -> Iterator[Session]:
    """Open a session; closing it closes every database attached to it."""
    import duckdb_engine  # noqa: F401  (the dialect)
    import sqlalchemy as sa

    # Through the dialect, because DuckDB refuses a second connection to a database with another configuration.
    url = f"duckdb:///:memory:gate_{uuid.uuid4().hex[:8]}"
    engine = sa.create_engine(url)
    raw = engine.raw_connection()
    dialect_cursor: Any = raw.cursor()
    con = dialect_cursor.cursor()
    opened = Session(url, con)
    try:
        yield opened
    finally:
        opened.close()
        con.close()
        raw.close()
        engine.dispose()
