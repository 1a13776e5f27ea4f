"""dbt that is imported before it is asked: it answers as dbt itself would, and is gone with who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.dbt_child import READY, ReadyDbt

TIERHOUSE_DBT = str(Path(sys.executable).parent / "tierhouse-dbt")


def wait_for_the_door() -> None:
    while not Path(os.environ[READY]).exists():
        time.sleep(0.05)


def call(*arguments: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run([TIERHOUSE_DBT, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("build", "--help"), ("build", "--no-such-option"), ("build",)])
def test_it_answers_as_dbt_itself(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Help, wrong use, and a folder that holds no project: exit codes and words are the same."""
    itself = call(*arguments, folder=tmp_path)
    with ReadyDbt() as ready:
        wait_for_the_door()
        handed = call(*arguments, folder=tmp_path)
        assert ready.child.wait(timeout=60) == 0, "the call was not answered by the one that was ready"
        again = call(*arguments, folder=tmp_path)
    assert handed[0] == itself[0] == again[0]
    words = [{word for word in text.split() if not word[0].isdigit()} for _, text in (itself, handed, again)]
    assert words[0] == words[1] == words[2]


def test_it_takes_the_environment_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ReadyDbt():
        wait_for_the_door()
        monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path / "not_there"))
        code, text = call("build", folder=tmp_path)
    assert code == 2 and "not_there" in text


def test_an_interrupt_reaches_it(tmp_path: Path) -> None:
    """Who called is told to end; the one that does the work must not go on."""
    with ReadyDbt() as ready:
        wait_for_the_door()
        os.kill(ready.child.pid, signal.SIGSTOP)  # it will not answer before it is let go
        caller = subprocess.Popen([TIERHOUSE_DBT, "build", "--help"], cwd=tmp_path, stdout=subprocess.PIPE)
        time.sleep(1)
        caller.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        os.kill(ready.child.pid, signal.SIGCONT)
        assert ready.child.wait(timeout=60) == -signal.SIGTERM
        assert caller.wait(timeout=10) == 1
        assert caller.stdout is not None and caller.stdout.read() == b""
        caller.stdout.close()


def test_a_parse_before_the_build_does_not_use_it_up(tmp_path: Path) -> None:
    with ReadyDbt() as ready:
        wait_for_the_door()
        call("parse", folder=tmp_path)
        assert ready.child.poll() is None
        assert call("build", "--help", folder=tmp_path)[0] == 0
        assert ready.child.wait(timeout=60) == 0


def test_nothing_is_left_of_one_that_nobody_called() -> None:
    with ReadyDbt() as ready:
        folder = Path(os.environ[READY]).parent
        assert folder.is_dir()
    assert ready.child.poll() is not None and not folder.exists() and READY not in os.environ
