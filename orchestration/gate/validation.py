"""Great Expectations, quiet and on DuckDB: one session, one batch a relation, nothing pulled into pandas.

GX is imported here and nowhere else, when a gate starts. It writes no files: the context is ephemeral, analytics and
progress bars are off, and results carry counts only (failing keys are listed by the gate's own SQL).
"""

from __future__ import annotations

import logging
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestration.gate.candidate import Connection
from orchestration.gate.suites import Expectation

if TYPE_CHECKING:
    from orchestration.gate.duckdb_datasource import DuckDBDatasource


@dataclass(frozen=True)
class Verdict:
    """What GX found for one expectation. ``unexpected`` counts rows, where the expectation is about rows."""

    expectation: str
    success: bool
    unexpected: int | None
    observed: str | None
    error: str | None


class Session:
    """A GX context over one in-memory DuckDB database; ``con`` is the same database for our own SQL."""

    def __init__(self, source: DuckDBDatasource, con: Connection) -> None:
        self._source = source
        self._engine = source.get_execution_engine()
        self.con = con

    def validate(self, relation: str, expectations: Sequence[Expectation]) -> list[Verdict]:
        """Verdicts in the order of the expectations. ``relation``: schema.table in the session's database."""
        import great_expectations as gx
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        self._engine.end_transaction()
        schema, table = relation.split(".")
        asset = self._source.add_table_asset(f"{relation}#{uuid.uuid4().hex[:8]}", table_name=table, schema_name=schema)
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
            observed = result.result.get("observed_value")
            verdicts[position] = Verdict(
                expectation=expectations[position].type,
                success=bool(result.success),
                unexpected=result.result.get("unexpected_count"),
                observed=None if observed is None else str(observed),
                error=_error_of(result.exception_info),
            )
        missing = Verdict("", False, None, None, "Great Expectations gave no result")
        return [verdicts.get(position, missing) for position in range(len(expectations))]


def _error_of(info: Any) -> str | None:
    """The message of an expectation that could not be evaluated."""
    if not info:
        return None
    items = [info] if "raised_exception" in info else list(info.values())
    messages = [str(item.get("exception_message")) for item in items if item.get("raised_exception")]
    return "; ".join(messages) or None


@contextmanager
def session() -> Iterator[Session]:
    """Open a session; closing it closes every database attached to it."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        from orchestration.gate.duckdb_datasource import DuckDBDatasource  # noqa: F401  (registers add_duckdb)

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_duckdb(name="warehouse", connection_string=f"duckdb:///:memory:gate_{uuid.uuid4().hex[:8]}")
        engine = source.get_execution_engine()
        with engine.get_connection() as kept:
            # A DuckDB connection of its own to the same database, so that our statements and GX's transactions do not meet.
            con = kept.connection.dbapi_connection.cursor().cursor()
        try:
            yield Session(source, con)
        finally:
            con.close()
            engine.release()
            source.get_engine().dispose()
