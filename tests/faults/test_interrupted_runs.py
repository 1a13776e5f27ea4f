"""A whole `tierhouse run` that is told to stop, by Ctrl-C or by a service manager, while it ingests and while its gate looks."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.deployment import load_deployment
from orchestration.ledger import Ledger
from orchestration.locking import who_holds
from tests.faults.test_kill_points import decisions, feeds, june_arrives, make_may, pointer
from tests.support import PROJECT_ROOT, TIERHOUSE, Cli, prepared


def has_landed(cli: Cli, head: int) -> bool:
    return bool(Ledger(cli.data / "ledger.sqlite").entries("drop_landed", after=head))


def gate_has_begun(cli: Cli, head: int) -> bool:
    return (cli.data / "gates" / "2026-06").is_dir()


def stopped(cli: Cli, number: signal.Signals, is_there: Callable[[Cli, int], bool]) -> subprocess.CompletedProcess[str]:
    """A run of June that gets the signal once it ``is_there``."""
    head, _ = Ledger(cli.data / "ledger.sqlite").head()
    command = [str(TIERHOUSE), "run", "--periods", "2026-06"]
    with subprocess.Popen(
        command, env=cli.environment(), cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not is_there(cli, head):
            assert process.poll() is None, f"the run ended before\n{process.communicate()[1][-3000:]}"
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_told_to_stop_says_so_and_the_next_one_completes(
    number: signal.Signals, shared_folder: Path, make_cli: Callable[..., Cli], monkeypatch: pytest.MonkeyPatch
) -> None:
    may = prepared(shared_folder, "may_released", make_may)
    undisturbed, cli = make_cli("undisturbed", copy_of=may.folder), make_cli("victim", copy_of=may.folder)
    for place in (undisturbed, cli):
        june_arrives(place)
    monkeypatch.setenv("TIERHOUSE_DATA", str(cli.data))
    before, ledger = pointer(cli), Ledger(cli.data / "ledger.sqlite")
    known = len(ledger.entries("gate", "release", "catalog", "delivery"))
    for is_there in (has_landed, gate_has_begun):
        done = stopped(cli, number, is_there)
        assert done.returncode == 1, done.stderr[-3000:]
        assert "stopped by the keyboard or another signal" in done.stderr and "run the same command again" in done.stderr
        assert "Traceback" not in done.stderr and "defect" not in done.stderr, done.stderr[-3000:]
        assert pointer(cli) == before and len(ledger.entries("gate", "release", "catalog", "delivery")) == known
        ledger.verify()
        assert who_holds(load_deployment()) is None

    undisturbed("run", "--periods", "2026-06")
    cli("run", "--periods", "2026-06")
    assert decisions(cli) == decisions(undisturbed)
    assert feeds(cli) == feeds(undisturbed)
    assert list((cli.data / "scratch").glob("*")) == []
