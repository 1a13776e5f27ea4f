"""Whole Dagster runs killed at random times, many times over: the next run always ends as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.ledger import Ledger
from tests.faults.test_kill_points import decisions, feeds, june_arrives, make_may, pointer
from tests.support import PROJECT_ROOT, TIERHOUSE, Cli, prepared

KILLS = int(os.environ.get("TIERHOUSE_KILLS", "10"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_runs_killed_at_random_times_lose_nothing(shared_folder: Path, make_cli: Callable[..., Cli]) -> None:
    may = prepared(shared_folder, "may_released", make_may)
    reference = make_cli("reference", copy_of=may.folder)
    june_arrives(reference)
    started = time.monotonic()
    reference("run", "--periods", "2026-06")
    length = time.monotonic() - started

    chance = random.Random(11)
    cli = make_cli("victim", copy_of=may.folder)
    june_arrives(cli)
    catalogs = {pointer(cli)}
    for _ in range(KILLS):
        process = subprocess.Popen(
            [str(TIERHOUSE), "run", "--periods", "2026-06"],
            env=cli.environment(),
            cwd=PROJECT_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=chance.uniform(0.2, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        catalogs.add(pointer(cli))
        Ledger(cli.data / "ledger.sqlite").verify()
    cli("run", "--periods", "2026-06")
    assert len(catalogs) <= 2, "a reader saw something between the old and the new catalog"
    assert decisions(cli) == decisions(reference)
    assert feeds(cli) == feeds(reference)
