"""Ctrl-C or SIGTERM in the middle of a run, also in the middle of a query, which keeps it to itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Never

import dagster as dg
import duckdb
import pytest

from orchestration.errors import Failed
from orchestration.gate import GateResult
from orchestration.sample import write_sample
from orchestration.wiring import assets
from orchestration.wiring.launch import PeriodOutcome, RunOutcome, hold_that_ended
from orchestration.wiring.resources import Run, RunStopped
from tests.wiring.conftest import Place

LONG = "select count(*) from range(3000000000) as t(i) where hash(i) = 1"


def stopped_in_python(*_: Any, **__: Any) -> Never:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
    raise AssertionError("nobody listened to the signal")


def stopped_in_a_query(*_: Any, **__: Any) -> Never:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    duckdb.connect().execute(LONG).fetchall()
    raise AssertionError("nobody listened to the signal")


# A step that is tried again when the disk fails, and one that is not.
@pytest.mark.parametrize("step", ["ingest", "prepare"])
@pytest.mark.parametrize("stopped", [stopped_in_python, stopped_in_a_query])
def test_a_run_that_is_stopped_is_no_failure_of_a_step(
    step: str, stopped: Callable[..., Never], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, asked = Place(tmp_path), []
    write_sample(place.folder / "drops", customers=5, months=1, seed=3, say=place.said.append)
    monkeypatch.setattr(assets, step, lambda *args, **more: asked.append(step) or stopped(*args, **more))
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as instance, pytest.raises(KeyboardInterrupt):
        place.run("2026-06", instance=instance)
    assert asked == [step], "and it was not tried again"


def test_a_run_that_is_stopped_in_its_release_is_not_told_as_held_by_a_later_month(tmp_path: Path) -> None:
    """The gate holds June; the signal meets the release of May."""
    run = Run(Place(tmp_path).deployment, gates=[GateResult("r", "2026-06", False, [], "hash", tmp_path, {})])
    outcome = RunOutcome([PeriodOutcome("2026-05", "unchanged", None), PeriodOutcome("2026-06", "held", None)], nothing_new=False)

    def ended(error: BaseException) -> Sequence[dg.DagsterEvent]:
        @dg.op
        def release() -> None:
            raise error

        @dg.job
        def months() -> None:
            release()

        return months.execute_in_process(raise_on_error=False).all_events

    with pytest.raises(KeyboardInterrupt):
        hold_that_ended(run, outcome, ended(RunStopped("release: stopped by a signal")), tmp_path / "dagster.log")
    held = hold_that_ended(run, outcome, ended(dg.Failure("held")), tmp_path / "dagster.log")
    assert held.what == "2026-06 held by the gate"
    run.error = Failed("the disk is full")
    with pytest.raises(Failed, match="the disk is full"):
        hold_that_ended(run, outcome, ended(dg.Failure("the disk is full")), tmp_path / "dagster.log")
