"""dbt that is imported before it is asked: it answers as dbt itself would, and is gone with who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.dbt_child import READY, ReadyDbt
from orchestration.warehouse import DBT_PROJECT

TIERHOUSE_DBT = str(Path(sys.executable).parent / "tierhouse-dbt")


@pytest.fixture(autouse=True)
def _is_told_to_end() -> Iterator[None]:
    """Tests that are started in the background ignore an interrupt, Dagster gives the signal to end the same handler, and children inherit it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def wait_for_the_door() -> None:
    wait_until(Path(os.environ[READY]).exists)


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


@pytest.mark.parametrize("kilobytes", [0, 300])
def test_it_takes_the_environment_of_the_call(kilobytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is larger than what a socket takes at once."""
    with ReadyDbt() as ready:
        wait_for_the_door()
        monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path / "not_there"))
        for number in range(kilobytes):
            monkeypatch.setenv(f"FILLED_{number}", "x" * 1024)
        code, text = call("build", folder=tmp_path)
        assert ready.child.wait(timeout=60) == 0, "the call was not answered by the one that was ready"
    assert code == 2 and "not_there" in text


def called(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([TIERHOUSE_DBT, "build"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def said(caller: subprocess.Popen[bytes]) -> str:
    assert caller.stdout is not None
    with caller.stdout:
        return caller.stdout.read().decode()


def test_an_interrupt_reaches_it(tmp_path: Path) -> None:
    """Who called is told to end; the one that does the work must not go on."""
    endless = "select count(*) from range(1000000000) as a, range(1000000000) as b where hash(a.range, b.range) = 7"
    (tmp_path / "dbt_project.yml").write_text(f"name: endless\nversion: 1.0.0\nprofile: endless\non-run-start: ['{endless}']\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.sql").write_text("select 1 as one\n")
    (tmp_path / "profiles.yml").write_text("endless: {target: here, outputs: {here: {type: duckdb, path: ':memory:'}}}\n")
    with ReadyDbt() as ready:
        wait_for_the_door()
        caller = called(tmp_path)
        assert caller.stdout is not None
        for line in caller.stdout:
            if b"Concurrency" in line:
                break
        caller.send_signal(signal.SIGTERM)
        assert ready.child.wait(timeout=60) == -signal.SIGTERM
        assert caller.wait(timeout=10) == 1
        said(caller)


def test_a_caller_that_ends_before_it_is_answered_leaves_nothing_to_do(tmp_path: Path) -> None:
    with ReadyDbt() as ready:
        wait_for_the_door()
        os.kill(ready.child.pid, signal.SIGSTOP)  # it will not answer before it is let go
        caller = called(tmp_path)
        time.sleep(1)
        caller.send_signal(signal.SIGTERM)
        assert caller.wait(timeout=10) == -signal.SIGTERM
        os.kill(ready.child.pid, signal.SIGCONT)
        assert ready.child.wait(timeout=60) == 0
        assert said(caller) == ""


def test_dbt_is_started_where_the_one_that_was_ready_ends_before_it_begins(tmp_path: Path) -> None:
    itself = call("build", folder=tmp_path)
    with ReadyDbt() as ready:
        wait_for_the_door()
        os.kill(ready.child.pid, signal.SIGSTOP)
        caller = called(tmp_path)
        time.sleep(1)
        ready.child.kill()
        assert caller.wait(timeout=60) == itself[0] == 2
        assert "Error" in said(caller)


def test_it_imports_nothing_from_the_folder_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yaml.py").write_text("import pathlib\npathlib.Path('imported').touch()\nraise ValueError\n")
    monkeypatch.chdir(tmp_path)
    with ReadyDbt() as ready:
        wait_for_the_door()
        assert call("build", "--help", folder=tmp_path)[0] == 0
        assert ready.child.wait(timeout=60) == 0
    assert not (tmp_path / "imported").exists()


def test_it_ends_with_a_run_that_is_killed_at_once(tmp_path: Path) -> None:
    """Even if it had not begun to watch over the run, and without a folder left behind."""
    run = (
        "import os, signal\nfrom orchestration.dbt_child import READY, ReadyDbt\n"
        "ready = ReadyDbt().__enter__()\nprint(ready.child.pid, ready.folder, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pid, folder = done.stdout.split()
    wait_until(lambda: not Path(folder).exists())
    wait_until(lambda: not _runs(int(pid)))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may be there to take its exit code.
    return " Z " not in Path(f"/proc/{pid}/stat").read_text() if Path("/proc").is_dir() else True


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


def test_what_was_parsed_for_one_warehouse_serves_another_of_its_name(tmp_path: Path) -> None:
    """Where it lies and how much memory it may take is no part of a model; the name of its database is."""

    def parse(warehouse: Path, memory: str) -> str:
        places = {"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path / "logs"), "DBT_PROFILES_DIR": str(DBT_PROJECT)}
        environment = {**os.environ, **places, "TIERHOUSE_WAREHOUSE": str(warehouse), "TIERHOUSE_MEMORY_LIMIT": memory}
        done = subprocess.run([TIERHOUSE_DBT, "--debug", "parse"], cwd=DBT_PROJECT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = parse(tmp_path / "one" / "warehouse.duckdb", "4GB")
    assert "skipping parsing" not in first
    assert "skipping parsing" in parse(tmp_path / "other" / "warehouse.duckdb", "1GB")
    assert "profile has changed" in parse(tmp_path / "other" / "depot.duckdb", "1GB")
