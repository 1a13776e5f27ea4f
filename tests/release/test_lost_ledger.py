"""A ledger that is lost, or older than the releases, deletes no release: the command says so and touches nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.channels import deliver
from orchestration.cli.main import call
from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.gate import run_gate
from orchestration.ledger import Ledger
from orchestration.release import recover, release
from tests.gate.fixture_warehouse import Plan, build_warehouse, contract, make_place, make_vault, record_build, silent

PERIODS = ["2026-05", "2026-06"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of two releases in two catalogs, delivered."""
    deployment, ledger = make_place(tmp_path_factory.mktemp("made"))
    build_warehouse(deployment, PERIODS)
    make_vault(deployment)
    for run_id, periods in (("run1", PERIODS[:1]), ("run2", PERIODS)):
        plan = Plan(run_id, periods)
        record_build(ledger, run_id)
        for period in periods:
            run_gate(deployment, ledger, plan, period, say=silent, problems={})
        release(deployment, ledger, plan, say=silent)
        deliver(deployment, ledger, say=silent, contracts=[contract()])
    return deployment.data


@pytest.fixture
def place(tmp_path: Path, made: Path) -> tuple[Deployment, Ledger]:
    deployment, ledger = make_place(tmp_path)
    shutil.copytree(made, deployment.data, dirs_exist_ok=True)
    return deployment, ledger


def cut(ledger: Ledger, upto: int) -> None:
    """Make the ledger the backup of its first ``upto`` entries."""
    kept = ledger.entries(upto=upto)
    ledger.path.unlink()
    for entry in kept:
        ledger.append(entry.kind, entry.payload)


def files(deployment: Deployment) -> dict[Path, bytes]:
    found = [*deployment.releases.rglob("*"), *deployment.catalogs.rglob("*")]
    return {path: path.read_bytes() for path in found if path.is_file()}


def catalog_of_run1(ledger: Ledger) -> int:
    return ledger.entries("catalog")[0].seq


def without_pointer(deployment: Deployment) -> None:
    (deployment.catalogs / "current.json").unlink()


def no_ledger(deployment: Deployment, ledger: Ledger) -> None:
    ledger.path.unlink()


def no_ledger_and_no_pointer(deployment: Deployment, ledger: Ledger) -> None:
    ledger.path.unlink()
    without_pointer(deployment)


def ledger_of_yesterday(deployment: Deployment, ledger: Ledger) -> None:
    cut(ledger, catalog_of_run1(ledger))


def without_the_last_catalog(deployment: Deployment, ledger: Ledger) -> None:
    cut(ledger, ledger.entries("catalog")[-1].seq - 1)


def releases_that_no_pointer_names(deployment: Deployment, ledger: Ledger) -> None:
    cut(ledger, catalog_of_run1(ledger))
    without_pointer(deployment)


LOSSES = [
    (no_ledger, "the ledger is empty"),
    (no_ledger_and_no_pointer, "the ledger is empty"),
    (ledger_of_yesterday, "readers see catalog 2, and the last that the ledger records is 1"),
    (without_the_last_catalog, "readers see catalog 2"),
    (releases_that_no_pointer_names, "release 2026-06.r1 passed a gate"),
]


@pytest.mark.parametrize(("lose", "told"), LOSSES)
def test_a_ledger_that_is_behind_the_releases_stops_every_writer_and_nothing_is_deleted(
    lose: Callable[[Deployment, Ledger], None], told: str, place: tuple[Deployment, Ledger]
) -> None:
    deployment, ledger = place
    lose(deployment, ledger)
    before = files(deployment)
    for act in (
        lambda: recover(deployment, ledger, silent),
        lambda: release(deployment, ledger, Plan("run3", PERIODS), say=silent),
        lambda: deliver(deployment, ledger, say=silent, contracts=[contract()]),
    ):
        with pytest.raises(Failed, match=told) as caught:
            act()
        assert "backup of the ledger" in caught.value.remedy
    assert files(deployment) == before


def test_verifying_such_a_ledger_is_a_mismatch(
    place: tuple[Deployment, Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment, ledger = place
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    assert call(["ledger", "verify"]) == 0
    cut(ledger, catalog_of_run1(ledger))
    for command in (["status"], ["releases"], ["explain", "c1", "--period", "2026-06"], ["paths", "--period", "2026-06"]):
        assert call(command) == 4 and "backup of the ledger" in capsys.readouterr().err, command
    capsys.readouterr()
    assert call(["ledger", "verify", "--json"]) == 4
    error = json.loads(capsys.readouterr().out)
    assert error["error"] == "Mismatch" and "readers see catalog 2" in error["what"]
    ledger.path.unlink()
    assert call(["ledger", "verify"]) == 4


def test_nothing_is_ingested_into_such_a_ledger(
    place: tuple[Deployment, Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment, ledger = place
    drops = tmp_path / "drops" / "crm"
    drops.mkdir(parents=True)
    (drops / "customers_2026-06.csv").write_text("")
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    monkeypatch.setenv("TIERHOUSE_DROPS", str(drops.parent))
    cut(ledger, catalog_of_run1(ledger))
    head = ledger.head()
    assert call(["ingest", "--json"]) == 1
    assert "readers see catalog 2" in json.loads(capsys.readouterr().out)["what"]
    assert ledger.head() == head


def test_folders_that_were_moved_aside_let_runs_begin_anew(place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    deployment, ledger = place
    ledger.path.unlink()
    for folder in (deployment.releases, deployment.catalogs):
        folder.rename(tmp_path / f"kept_{folder.name}")
    recover(deployment, ledger, silent)
    assert ledger.entries() == []
