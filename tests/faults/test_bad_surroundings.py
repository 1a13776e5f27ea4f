"""Two runs at once, a read-only folder, an unreadable file, a full disk: a clear error and no half state."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support import PROJECT_ROOT, TIERHOUSE, Cli


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


def test_rejected_rows_that_are_gone_are_told_as_that(released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    """As where somebody has removed personal data by hand."""
    cli = make_cli(copy_of=released_sample.folder)
    shutil.rmtree(cli.data / "quarantine")
    error = cli.json("quarantine", expect=1)
    assert "the rejected rows of" in error["what"] and "quarantine" in error["where"] and "--limit 0" in error["remedy"]
    assert sum(item["quarantined"] for item in cli.json("quarantine", "--limit", "0")) > 0


@pytest.mark.slow
def test_a_month_whose_released_files_are_gone_is_released_anew(released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    shutil.rmtree(cli.data / "releases" / "2026-06.r1")
    assert "2026-06.r1 is not there any more" in cli.json("ledger", "verify", expect=4)["what"]
    done = cli.json("run", "--periods", "2026-06")
    assert [(period["status"], period["release"]) for period in done["periods"]] == [("released", "2026-06.r2")]
    assert cli.json("ledger", "verify")["head_seq"] > 0
    assert cli.json("run", "--periods", "2026-06")["nothing_new"]


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


def bound_by_permissions() -> None:
    """In a child: root keeps its name, so that it may still use its own folders, and loses the right to pass over permissions."""
    if os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (dac_override, dac_read_search):
            if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "root's right to pass over permissions cannot be given up")


def refused_by_permissions(cli: Cli, *arguments: str, data: Path) -> dict[str, Any]:
    """The error of a command that the permissions stop."""
    done = subprocess.run(
        [str(TIERHOUSE), *arguments, "--json"],
        env=cli.environment(TIERHOUSE_DATA=str(data)),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        preexec_fn=bound_by_permissions,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stdout + done.stderr
    error: dict[str, Any] = json.loads(done.stdout)
    assert error["exit_code"] == 1 and error["remedy"]
    return error


def test_a_folder_that_cannot_be_written_to_is_named(make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    cli.drops.mkdir()
    locked = cli.folder / "locked"
    locked.mkdir(mode=0o555)
    assert "locked" in refused_by_permissions(cli, "ingest", data=locked / "data")["where"]
    assert list(locked.iterdir()) == []


def test_a_data_folder_that_has_become_read_only_is_named_and_keeps_what_it_holds(
    released_sample: Cli, make_cli: Callable[..., Cli]
) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    for name in ("landing", "quarantine"):
        for folder in [cli.data / name, *(path for path in (cli.data / name).rglob("*") if path.is_dir())]:
            folder.chmod(0o555)
    newest = sorted(cli.drops.glob("billing_new/bill_lines_*"))[-1]
    pl.read_parquet(newest).write_parquet(newest.with_name("bill_lines_2026-07.parquet"), compression="gzip")
    before = state(cli)
    error = refused_by_permissions(cli, "ingest", data=cli.data)
    assert "cannot be written" in error["what"] and str(cli.data / "landing") in error["where"]
    assert state(cli) == before


def test_a_drop_that_cannot_be_read_is_named_and_nothing_lands(released_sample: Cli, make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    shutil.copytree(released_sample.drops, cli.drops)
    victim = sorted(cli.drops.rglob("*2026-06*"))[0]
    victim.chmod(0)
    error = refused_by_permissions(cli, "ingest", data=cli.data)
    assert victim.name in error["where"] and "Permission denied" in error["what"]
    assert not (cli.data / "landing").exists()


def test_a_folder_of_drops_that_cannot_be_listed_is_named_and_not_taken_for_empty(make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    closed = cli.drops / "billing_new"
    closed.mkdir(parents=True)
    closed.chmod(0)
    error = refused_by_permissions(cli, "ingest", data=cli.data)
    assert error["where"] == str(closed) and "cannot be listed" in error["what"]
