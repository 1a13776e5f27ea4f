"""Two runs at once, a read-only folder, an unreadable file, a full disk: a clear error and no half state."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import PROJECT_ROOT, TIERHOUSE, Cli

AS_ROOT = os.geteuid() == 0


def state(cli: Cli) -> dict[str, bytes]:
    """Every file that a run writes and a reader or the next run relies on (logs and Dagster's own storage excluded)."""
    kept = {}
    for file in sorted(cli.data.rglob("*")):
        if file.is_file() and file.relative_to(cli.data).parts[0] not in {"logs", "run.lock", "run.json", "scratch"}:
            kept[str(file.relative_to(cli.data))] = file.read_bytes()
    return kept


def test_the_second_of_two_runs_says_who_holds_the_lock(released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    hold = (
        "import sys; from orchestration.deployment import load_deployment; from orchestration.locking import exclusive\n"
        "with exclusive(load_deployment(), 'run 2026-06'):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=cli.environment(), cwd=PROJECT_ROOT
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for arguments in (["run", "--periods", "2026-06"], ["ingest"], ["rollback", "--reason", "test", "--by", "ann"]):
            error = cli.json(*arguments, expect=5)
            assert f"process {holder.pid}" in error["what"] and "run 2026-06" in error["what"]
        holder.kill()


def test_a_second_run_finds_nothing_new_and_changes_nothing(released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    before = state(cli)
    again = cli("run", "--periods", "2026-05..2026-06")
    assert "Nothing new" in again.stdout
    assert state(cli) == before


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
@pytest.mark.parametrize("size_kb", [pytest.param(600, marks=pytest.mark.slow), 3000, pytest.param(9000, marks=pytest.mark.slow)])
def test_a_full_disk_is_named_and_leaves_no_half_state(size_kb: int, released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    """A real small disk (tmpfs in a mount namespace of its own), so that writes fail where they fail in life."""
    cli = make_cli()
    small = cli.folder / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size={size_kb}k tmpfs {small} && cd {PROJECT_ROOT} && {TIERHOUSE} run --periods 2026-06 --json; code=$?; "
        f"ls {small}/data/catalogs 2>/dev/null | wc -l; exit $code"
    )
    environment = cli.environment(TIERHOUSE_DATA=str(small / "data"), TIERHOUSE_DROPS=str(released_sample.drops))
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine lets nobody mount a tmpfs")
    assert done.returncode == 1, done.stdout + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    answer, _, count = done.stdout.rstrip().rpartition("\n")
    error = json.loads(answer)
    assert error["exit_code"] == 1 and "space" in (error["what"] + error["remedy"])
    assert count.strip() == "0"


@pytest.mark.skipif(AS_ROOT and shutil.which("setpriv") is None, reason="root may read and write everything")
def test_a_read_only_folder_and_an_unreadable_file_are_named(released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    shutil.copytree(released_sample.drops, cli.drops)
    victim = sorted(cli.drops.rglob("*2026-06*"))[0]
    victim.chmod(0)
    cli.folder.chmod(0o755)
    locked = cli.folder / "locked"
    locked.mkdir(mode=0o555)
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if AS_ROOT else []
    for parent in [cli.folder, *cli.folder.parents]:
        if AS_ROOT and parent.stat().st_mode & 0o005 != 0o005:
            pytest.skip("the temporary folder is closed to other users, so no unprivileged run can be tried here")
    open_folder = cli.folder / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)

    def run(data: Path) -> dict[str, object]:
        environment = cli.environment(TIERHOUSE_DATA=str(data), HOME=str(open_folder), PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run(
            [*prefix, str(TIERHOUSE), "ingest", "--json"], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True
        )
        assert done.returncode == 1, done.stdout + done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    assert "locked" in str(run(locked / "data")["where"])
    unreadable = run(open_folder / "data")
    assert victim.name in str(unreadable["where"]) + str(unreadable["what"])
