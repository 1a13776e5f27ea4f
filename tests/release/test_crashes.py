"""A process killed at any step of gate, release, catalog and delivery: the old catalog stands, the next run completes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.channels import deliver
from orchestration.channels.delivery import pending
from orchestration.deployment import Deployment
from orchestration.errors import Failed, Held
from orchestration.failpoints import FAILPOINTS
from orchestration.gate import run_gate
from orchestration.ledger import Ledger
from orchestration.release import current_catalog, recover, release
from orchestration.release.record import release_entries
from tests.gate.fixture_warehouse import Plan, build_warehouse, contract, make_place, make_vault, record_build, silent

ROOT = Path(__file__).parents[2]
PERIODS = ["2026-05", "2026-06"]
STEPS = [name for name in FAILPOINTS if name.split(".")[0] in ("release", "catalog", "channels")]
KILLED = """
import sys
from pathlib import Path
from tests.gate.fixture_warehouse import *
deployment, ledger = make_place(Path(sys.argv[1]))
plan = Plan("run1", ["2026-05", "2026-06"])
if sys.argv[2] == "gate":
    from orchestration.gate import run_gate
    for period in plan.periods:
        run_gate(deployment, ledger, plan, period, say=silent, problems={})
else:
    from orchestration.channels import deliver
    from orchestration.release import release
    release(deployment, ledger, plan, say=silent)
    deliver(deployment, ledger, say=silent, contracts=[contract()])
"""


def killed(folder: Path, failpoint: str, what: str = "release") -> None:
    """The step of run1 in a process that dies at the failpoint."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TIERHOUSE_FAILPOINT": failpoint}
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), what], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def gate(deployment: Deployment, ledger: Ledger, run_id: str) -> Plan:
    plan = Plan(run_id, PERIODS)
    record_build(ledger, run_id)
    for period in PERIODS:
        run_gate(deployment, ledger, plan, period, say=silent, problems={})
    return plan


def whole_run(deployment: Deployment, ledger: Ledger, run_id: str) -> None:
    recover(deployment, ledger, silent)
    release(deployment, ledger, gate(deployment, ledger, run_id), say=silent)
    deliver(deployment, ledger, say=silent, contracts=[contract()])


def place(folder: Path) -> tuple[Deployment, Ledger]:
    deployment, ledger = make_place(folder)
    build_warehouse(deployment, PERIODS)
    make_vault(deployment)
    return deployment, ledger


def published(deployment: Deployment, ledger: Ledger) -> tuple[dict[str, str], list[str], str]:
    """What an undisturbed run gives: the catalog's map, the content of its releases, the feed without its catalog's number."""
    catalog = current_catalog(deployment)
    assert catalog is not None
    hashes = [payload["content_hash"] for payload in release_entries(ledger)]
    feed = deployment.channels / "hotline" / f"hotline_{catalog['catalog']}.csv"
    rows = [line.split(",")[:6] for line in feed.read_text().splitlines()]
    return catalog["periods"], hashes, json.dumps(rows)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place whose candidates have passed the gate of run1. Copied by each test."""
    folder = tmp_path_factory.mktemp("gated")
    gate(*place(folder), "run1")
    return folder


def copied(gated: Path, folder: Path) -> tuple[Deployment, Ledger]:
    shutil.copytree(gated, folder, dirs_exist_ok=True)
    return make_place(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[str], str]:
    deployment, ledger = place(tmp_path_factory.mktemp("undisturbed"))
    whole_run(deployment, ledger, "run1")
    return published(deployment, ledger)


@pytest.mark.parametrize("step", [step for name in STEPS for step in ((name, f"{name}:2") if name.startswith("release") else (name,))])
def test_killed_at_a_step_the_next_run_completes(
    step: str, gated: Path, tmp_path: Path, undisturbed: tuple[dict[str, str], list[str], str]
) -> None:
    deployment, ledger = copied(gated, tmp_path)
    killed(tmp_path, step)
    name = step.partition(":")[0]
    moved = name.startswith("channels") or name == "catalog.pointer_moved"
    assert (current_catalog(deployment) is not None) is moved, "readers see the old catalog until the pointer has moved"
    whole_run(deployment, ledger, "run2")
    assert published(deployment, ledger) == undisturbed
    assert sorted(path.name for path in deployment.releases.iterdir()) == ["2026-05.r1", "2026-06.r1"]
    assert list(deployment.scratch.iterdir()) == []
    assert len({entry.payload["idempotency_key"] for entry in ledger.entries("delivery")}) == len(ledger.entries("delivery"))
    ledger.verify()


@pytest.mark.parametrize("step", ["gate.results_written", "gate.results_written:2", "gate.recorded", "gate.recorded:2"])
def test_killed_in_the_gate_nothing_may_be_released_but_what_was_recorded(step: str, tmp_path: Path) -> None:
    deployment, ledger = place(tmp_path)
    record_build(ledger, "run1")
    killed(tmp_path, step, "gate")
    if step == "gate.recorded:2":
        assert release(deployment, ledger, Plan("run1", PERIODS), say=silent).moved
    else:
        with pytest.raises(Held):
            release(deployment, ledger, Plan("run1", PERIODS), say=silent)
    whole_run(deployment, ledger, "run2")
    assert current_catalog(deployment) is not None
    assert list(deployment.scratch.iterdir()) == []


def test_a_recorded_release_is_published_by_recovery_alone(gated: Path, tmp_path: Path) -> None:
    deployment, ledger = copied(gated, tmp_path)
    killed(tmp_path, "release.recorded:2")
    recover(deployment, ledger, silent)
    assert current_catalog(deployment) == {"catalog": 1, "periods": {"2026-05": "2026-05.r1", "2026-06": "2026-06.r1"}}
    assert deliver(deployment, ledger, say=silent, contracts=[contract()])[0].rows == 60


def test_what_was_released_is_seen_though_a_later_month_could_not_be_written(
    gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = copied(gated, tmp_path)

    def full(name: str) -> None:
        if name == "release.files_written" and release_entries(ledger):
            raise Failed("the disk is full")

    monkeypatch.setattr("orchestration.release.publish.failpoint", full)
    with pytest.raises(Failed, match="the disk is full"):
        release(deployment, ledger, Plan("run1", PERIODS), say=silent)
    assert current_catalog(deployment) == {"catalog": 1, "periods": {"2026-05": "2026-05.r1"}}


def test_what_a_kill_between_writing_and_moving_left_is_taken_away(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    for folder in ("release-2026-05.r1", "channel-hotline_1"):
        (deployment.scratch / folder).mkdir(parents=True)
        (deployment.scratch / folder / "half.parquet").touch()
    deployment.catalogs.mkdir()
    files = [deployment.scratch / "gate-run1-2026-05.json", deployment.catalogs / ".current.json.4711"]
    for file in [*files, deployment.scratch / "of_another"]:
        file.touch()
    recover(deployment, ledger, silent)
    assert [path.name for path in deployment.scratch.iterdir()] == ["of_another"]
    assert list(deployment.catalogs.iterdir()) == []


def test_what_somebody_keeps_beside_the_releases_is_left_alone(gated: Path, tmp_path: Path) -> None:
    deployment, ledger = copied(gated, tmp_path)
    killed(tmp_path, "release.moved")
    names = {"2026-05.r1 (copy)", "from_the_backup", "2026-05.r1.old"}
    for name in names:
        shutil.copytree(deployment.releases / "2026-05.r1", deployment.releases / name)
    recover(deployment, ledger, silent)
    assert {path.name for path in deployment.releases.iterdir()} == names, "what the stopped run had moved is gone"


def test_a_damaged_or_missing_pointer_is_put_right_from_the_ledger(tmp_path: Path) -> None:
    deployment, ledger = place(tmp_path)
    whole_run(deployment, ledger, "run1")
    pointer = deployment.catalogs / "current.json"
    good = pointer.read_text()
    for damage in ("", "{", '{"catalog": 1, "periods": {}}', '{"catalog": 0, "periods": {}}'):
        pointer.write_text(damage)
        recover(deployment, ledger, silent)
        assert pointer.read_text() == good
    pointer.unlink()
    recover(deployment, ledger, silent)
    assert pointer.read_text() == good


def test_a_channel_is_pending_until_it_has_the_catalog(gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, ledger = copied(gated, tmp_path)
    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", lambda _: [contract()])
    assert pending(deployment, ledger) == []
    killed(tmp_path, "catalog.pointer_moved")
    assert pending(deployment, ledger) == ["hotline"]
    deliver(deployment, ledger, say=silent)
    assert pending(deployment, ledger) == []
    assert deliver(deployment, ledger, say=silent) == []
