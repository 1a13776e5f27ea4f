"""The gate between candidate and release: suites as data, Great Expectations on DuckDB, every failing key in a file.

Importing this package is quick: Great Expectations is imported when a gate starts.
"""

from orchestration.gate.result import GateResult
from orchestration.gate.run import run_gate
from orchestration.gate.suites import check_descriptions

__all__ = ["GateResult", "check_descriptions", "run_gate"]
