"""Dagster's records of a run in this process: fewer openings of their files, the same records."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy

from orchestration.wiring.storage import quick_storage

MONTHS = 20


@dg.op
def make(context: dg.OpExecutionContext) -> None:
    for number in range(MONTHS):
        context.log_event(dg.AssetMaterialization("made", partition=str(number)))


@dg.job
def making() -> None:
    make()


@pytest.fixture
def opened() -> Iterator[list[object]]:
    """Every connection that SQLAlchemy opens."""
    made: list[object] = []

    def note(connection: object, _record: object) -> None:
        made.append(connection)

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", note)
    yield made
    sqlalchemy.event.remove(sqlalchemy.pool.Pool, "connect", note)


def run_in(home: Path) -> str:
    home.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as instance:
        result = making.execute_in_process(instance=instance)
        assert result.success
        return result.run_id


def recorded(home: Path, run_id: str) -> tuple[int, int]:
    """Months made, as the events of the run say and as the asset says: Dagster keeps the two in files of their own."""
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as instance:
        events = [e.dagster_event for e in instance.all_logs(run_id) if e.dagster_event]
        made = sum(event.event_type_value == "ASSET_MATERIALIZATION" for event in events)
        return made, len(instance.get_materialized_partitions(dg.AssetKey("made")))


def test_a_run_opens_each_file_of_records_once_and_records_the_same(tmp_path: Path, opened: list[object]) -> None:
    with quick_storage():
        quick = run_in(tmp_path / "quick")
    few = len(opened)
    usual = run_in(tmp_path / "usual")
    many = len(opened) - few
    assert many > few + 2 * MONTHS, f"{few} and {many}: what was made is written into the run's file and into that of the assets"
    assert recorded(tmp_path / "quick", quick) == recorded(tmp_path / "usual", usual) == (MONTHS, MONTHS)


def test_records_that_were_moved_away_between_two_runs_are_begun_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        with quick_storage():
            run_id = run_in(home)
        assert recorded(home, run_id) == (MONTHS, MONTHS)
        assert not list(home.rglob("*-wal")), "closed at the end, so that nothing of it lies in a log beside the file"
        shutil.rmtree(home)
