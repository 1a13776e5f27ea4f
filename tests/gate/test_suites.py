"""Suites as data: a mistake in one is bad input that names file and key, and never lets anything pass."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.errors import BadInput, Failed
from orchestration.gate import run_gate
from orchestration.gate.run import run_suite
from orchestration.gate.suites import Suite, load_suite, load_suites, suite_files
from orchestration.gate.validation import Session
from tests.gate.fixture_warehouse import Plan, build_warehouse, make_place, record_build, silent

GOOD = "suite: own\ntitle: Own\nof: candidate\nchecks:\n  - {check: own__holds, severity: invariant, expected: x, none_of: select 1 where false}\n"
LONG = "select count(*) from range(3000000000) as t(i) where hash(i) = 1"


def test_importing_the_gate_does_not_import_great_expectations() -> None:
    code = "import sys, orchestration.gate, orchestration.release, orchestration.channels; print('great_expectations' in sys.modules, 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("severity: invariant", "severety: invariant", "unknown key 'checks.0.severety' (line 5): did you mean 'severity'?"),
        ("title: Own\n", "", "title"),
        ("suite: own", "suite: other", "other"),
        ("none_of: select 1 where false", "failing: select 1", "needs either none_of"),
        ("checks:\n", "checks: [\n", "expected"),
        ("severity: invariant", "severity: nice", "severity"),
        ("title: Own\n", "title: Own\ntitle: Mine\n", "line 3, column 1: the key 'title' stands twice"),
        ("of: candidate", "\tof: candidate", "indent with spaces"),
        ("checks:\n", f"checks:\n{GOOD.splitlines()[-1]}\n", "check 'own__holds' stands there twice"),
    ],
)
def test_a_mistake_in_a_suite_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(BadInput) as caught:
        load_suite(file)
    assert message in str(caught.value)
    assert "own.yaml" in str(caught.value)


def test_a_check_of_another_suite_has_another_name(tmp_path: Path) -> None:
    deployment, _ = make_place(tmp_path)
    (deployment.folder / "expectations").mkdir()
    (deployment.folder / "expectations" / "own.yaml").write_text(GOOD.replace("own__holds", "decisions__are_complete"))
    with pytest.raises(BadInput, match="check 'decisions__are_complete' stands in two suites"):
        load_suites(deployment)


def test_a_check_of_nulls_lists_the_keys_of_every_column_that_it_looks_at(tmp_path: Path) -> None:
    asked: dict[str, set[str]] = {}
    for check in (check for suite in load_suites(make_place(tmp_path)[0]) for check in suite.checks if check.failing):
        columns = {str(e.kwargs["column"]) for e in check.expectations if e.type == "expect_column_values_to_not_be_null"}
        if columns:
            asked[check.check] = columns
            assert set(re.findall(r"(\w+) is null", str(check.failing))) == columns, check.check
    assert asked == {
        "decisions__keys_are_present": {"program_id", "subject_type", "subject_id", "period", "status"},
        "tags__keys_are_present": {"customer_id", "tag_id", "period"},
    }


def test_a_check_that_cannot_be_evaluated_is_a_gate_that_crashed(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, ["2026-06"])
    record_build(ledger, "run1")
    (deployment.folder / "expectations").mkdir()
    (deployment.folder / "expectations" / "own.yaml").write_text(
        GOOD.replace("select 1 where false", "select nothing from candidate.nowhere")
    )
    with pytest.raises(Failed, match="nowhere") as caught:
        run_gate(deployment, ledger, Plan("run1", ["2026-06"]), "2026-06", say=silent, problems={})
    assert caught.value.what.startswith("check own__holds could not be evaluated") and caught.value.where == "expectations/own.yaml"
    entry = ledger.last("gate")
    assert entry is not None
    assert entry.payload["passed"] is False
    assert "nowhere" in entry.payload["crashed"]


def test_a_suite_counts_whichever_ending_its_file_has(tmp_path: Path) -> None:
    """Of a deployment's own limits in `movement.yml` nothing was known, and those of the project held."""
    deployment, _ = make_place(tmp_path)
    usual = suite_files(deployment)
    folder = deployment.folder / "expectations"
    folder.mkdir()
    for name in ("movement", "own"):
        (folder / f"{name}.yml").write_text(GOOD.replace("suite: own", f"suite: {name}"))
    found = {path.stem: path for path in suite_files(deployment)}
    assert len(found) == len(usual) + 1 and found["movement"] == folder / "movement.yml" and found["own"] == folder / "own.yml"
    (folder / "own.yaml").write_text(GOOD)
    with pytest.raises(BadInput, match="'own' stands in two files"):
        suite_files(deployment)


@pytest.fixture
def stopped_soon() -> Iterator[Callable[[], None]]:
    """Ctrl-C in half a second; a run of the tests in the background ignores it otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    signal.signal(signal.SIGINT, before)


def test_a_gate_that_is_stopped_in_a_query_gives_no_verdict(
    tmp_path: Path, stopped_soon: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, ["2026-06"])
    record_build(ledger, "run1")
    (deployment.folder / "expectations").mkdir()
    (deployment.folder / "expectations" / "own.yaml").write_text(GOOD.replace("select 1 where false", LONG))

    def stopped(gx: Session, suite: Suite, *more: Any) -> list[dict[str, Any]]:
        if suite.suite == "own":
            stopped_soon()
        return run_suite(gx, suite, *more)

    monkeypatch.setattr("orchestration.gate.run.run_suite", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_gate(deployment, ledger, Plan("run1", ["2026-06"]), "2026-06", say=silent, problems={})
    assert ledger.last("gate") is None


def test_a_query_of_great_expectations_that_is_stopped_is_no_failed_metric(stopped_soon: Callable[[], None]) -> None:
    """An Exception it would take for one, and try again or report."""
    from orchestration.gate.duckdb_datasource import DuckDBExecutionEngine

    engine = DuckDBExecutionEngine(connection_string="duckdb:///:memory:")
    with pytest.raises(KeyboardInterrupt), engine.get_connection() as con:
        stopped_soon()
        con.exec_driver_sql(LONG).fetchall()
    engine.release()


def test_the_gate_writes_only_below_the_data_folder(tmp_path: Path) -> None:
    """In a process of its own with an empty HOME: Great Expectations leaves nothing there, and prints nothing."""
    home = tmp_path / "home"
    home.mkdir()
    code = f"""
import sys
from pathlib import Path
from tests.gate.fixture_warehouse import *
from orchestration.gate import run_gate
deployment, ledger = make_place(Path({str(tmp_path / "place")!r}))
build_warehouse(deployment, ["2026-06"])
record_build(ledger, "run1")
assert run_gate(deployment, ledger, Plan("run1", ["2026-06"]), "2026-06", say=silent, problems={{}}).passed
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": str(home), "PYTHONPATH": str(root), "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "place"]
