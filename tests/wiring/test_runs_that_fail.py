"""Runs that must not release anything: the lock is taken, a dbt test fails, a month is not there."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT
from orchestration.errors import BadInput, Busy, Failed
from orchestration.release import catalog, current_catalog
from orchestration.wiring import dbt as wiring_dbt
from orchestration.wiring.build import build_defs
from orchestration.wiring.launch import run_months
from tests.wiring.conftest import Place, locked_by_another_process


@pytest.fixture(scope="module")
def place(make_place: Callable[[], Place]) -> Place:
    return make_place()


@pytest.fixture
def instance(place: Place) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as made:
        yield made


def test_a_second_run_says_who_holds_the_lock_and_records_no_run(place: Place, instance: dg.DagsterInstance) -> None:
    with locked_by_another_process(place) as pid, pytest.raises(Busy, match=str(pid)) as caught:
        place.run("2026-06", instance=instance)
    assert caught.value.exit_code == 5
    assert instance.get_runs_count() == 0


def test_a_run_from_the_ui_fails_before_its_first_step_while_another_holds_the_lock(place: Place, instance: dg.DagsterInstance) -> None:
    job = build_defs(place.deployment).resolve_job_def("ingest_drops")
    with locked_by_another_process(place) as pid:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_start]
    assert any(f"process {pid}" in str(event.event_specific_data) for event in result.all_events)
    assert place.ledger.head()[0] == 0


def test_a_month_without_bills_is_refused_and_nothing_is_released(place: Place, instance: dg.DagsterInstance) -> None:
    with pytest.raises(BadInput, match="2026-07"):
        place.run("2026-07", instance=instance)
    with pytest.raises(BadInput, match="2099-01"):
        place.run("2099-01", instance=instance)
    assert current_catalog(place.deployment) is None


def test_a_failed_dbt_test_stops_gate_release_and_channels(
    place: Place, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("dbt_project", "models"):
        shutil.copytree(PROJECT_ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("target", "logs"))
    test = "{{ config(severity='error') }}\nselect subject_id from {{ ref('fct_decisions') }} where level_id is not null\n"
    (tmp_path / "dbt_project" / "tests" / "fct_decisions__nobody_has_a_level.sql").write_text(test)
    monkeypatch.setattr(wiring_dbt, "DBT_PROJECT", tmp_path / "dbt_project")
    with pytest.raises(Failed, match="fct_decisions__nobody_has_a_level") as caught:
        place.run("2026-06", instance=instance)
    assert caught.value.exit_code == 1
    (run,) = instance.get_runs(filters=dg.RunsFilter(job_name="months", tags={"dagster/asset_partition_range_start": "2026-06"}))
    steps = {
        entry.dagster_event.step_key: entry.dagster_event.event_type_value
        for entry in instance.all_logs(run.run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value in {"STEP_SUCCESS", "STEP_FAILURE"}
    }
    assert steps["models"] == "STEP_FAILURE"
    assert not {"gate", "release", "deliver"} & set(steps)
    assert [entry.payload["ok"] for entry in place.ledger.entries("build")] == [False]
    assert current_catalog(place.deployment) is None
    assert not place.ledger.entries("gate", "release", "delivery")
    assert not place.deployment.channels.exists() or not list(place.deployment.channels.rglob("*.csv"))


def test_a_release_step_run_alone_asks_for_the_record_of_build_and_gate(place: Place, instance: dg.DagsterInstance) -> None:
    """After the failed dbt test: someone materializes the release by hand."""
    job = build_defs(place.deployment).get_implicit_global_asset_job_def()
    for period in ("2026-06", "2026-05"):
        result = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("release")], partition_key=period, raise_on_error=False
        )
        assert not result.success
        [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        assert failure.user_failure_data is not None, "words for a person, and no traceback"
    assert current_catalog(place.deployment) is None
    assert not place.ledger.entries("release")


def test_some_of_the_models_alone_are_no_build(place: Place, instance: dg.DagsterInstance) -> None:
    """After the failed run: its months would count as read although no model has read them to the end."""
    job = build_defs(place.deployment).get_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["marts", "dim_levels"])], partition_key="2026-06")
    assert result.success
    build = place.ledger.last("build")
    assert build is not None and not build.payload["ok"] and build.payload["message"] == "only some of the models were chosen"
    with duckdb.connect(str(place.deployment.warehouse), read_only=True) as con:
        assert con.execute("select count(*) from ctl.applied").fetchall() == [(0,)]


def test_damaged_records_of_dagster_are_told_as_that(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "history").mkdir(parents=True)
    (home / "history" / "runs.db").write_bytes(b"not a database, but long enough to look like one" * 50)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    head = place.ledger.head()
    with pytest.raises(Failed, match="Dagster's records cannot be kept: file is not a database") as caught:
        run_months(place.deployment, ["2026-06"], say=place.said.append)
    assert caught.value.where == str(home) and "moved away" in caught.value.remedy
    assert place.ledger.head() == head


@pytest.mark.slow
def test_a_run_that_fails_after_its_release_says_what_stands(place: Place, instance: dg.DagsterInstance) -> None:
    """A channel cannot be served: who reads the error alone would take the month for not released."""
    place.deployment.channels.mkdir(parents=True, exist_ok=True)
    (place.deployment.channels / "hotline").write_text("a file where a folder must be", encoding="utf-8")
    with pytest.raises(Failed, match=r"\(released before that, and seen by readers: 2026-06\)") as caught:
        place.run("2026-06", instance=instance)
    assert [period["status"] for period in caught.value.as_json()["details"]["run"]["periods"]] == ["released"]
    assert [delivery["channel"] for delivery in caught.value.details["run"]["deliveries"]] == ["store_queue"]


@pytest.mark.slow
def test_a_release_whose_pointer_could_not_be_moved_is_not_called_seen(
    make_place: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place = make_place()
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as instance:
        with monkeypatch.context() as patched:
            patched.setattr(catalog, "place", full)
            with pytest.raises(Failed) as caught:
                place.run("2026-06", instance=instance)
        assert "(recorded, and published by the next run: 2026-06)" in caught.value.what
        assert "seen by readers" not in caught.value.what
        assert current_catalog(place.deployment) is None
        place.run("2026-06", instance=instance)
    assert current_catalog(place.deployment) == {"catalog": 1, "periods": {"2026-06": "2026-06.r1"}}
