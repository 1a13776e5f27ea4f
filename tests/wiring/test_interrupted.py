"""Ctrl-C in the middle of a run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Never

import dagster as dg
import pytest

from orchestration.sample import write_sample
from orchestration.wiring import assets
from tests.wiring.conftest import Place


def test_a_run_stopped_by_the_keyboard_is_no_failure_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> Never:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        raise AssertionError("nobody listened to the signal")

    place = Place(tmp_path)
    write_sample(place.folder / "drops", customers=5, months=1, seed=3, say=place.said.append)
    monkeypatch.setattr(assets, "prepare", stopped)
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as instance, pytest.raises(KeyboardInterrupt):
        place.run("2026-06", instance=instance)
