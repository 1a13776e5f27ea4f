"""Whole runs through Dagster: a range as one run, a hold in its middle, a hold at its start, the release, nothing new, a rollback.

At the end what a person does in the UI: one month that is rolled back, and some of the models alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from orchestration.errors import Held
from orchestration.release import current_catalog, rollback
from orchestration.warehouse.plan import CARRIED
from orchestration.wiring.build import build_defs
from orchestration.wiring.launch import RunOutcome, outcome_of, visible_releases
from orchestration.wiring.resources import Run
from orchestration.wiring.translator import DECISIONS_KEY
from tests.wiring.conftest import NOT_YET, Place

RELEASE_KEY = dg.AssetKey("release")
HOUSE_CHECK = f"house__{NOT_YET}"


@dataclass
class Seen:
    """What was there after one run."""

    outcome: RunOutcome
    run: dg.DagsterRun | None
    steps: dict[str, str]
    released_partitions: set[str]
    catalog: dict[str, str]
    channel_files: list[Path]
    checks: dict[str, tuple[bool, dg.AssetCheckSeverity]]
    files: dict[str, tuple[int, int]]
    said: str


@dataclass
class Story:
    """The runs in the order in which they were made."""

    place: Place
    instance: dg.DagsterInstance
    held_in_the_middle: Seen
    held_at_the_start: Seen
    released: Seen
    again: Seen
    rolled_back_in_the_ui: Seen
    some_models_in_the_ui: Seen
    carried_model_in_the_ui: Seen
    released_again: Seen


@pytest.fixture(scope="module")
def story(make_place: Callable[[], Place]) -> Iterator[Story]:
    place = make_place()
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as instance:

        def seen(*periods: str) -> Seen:
            outcome = place.run(*periods, instance=instance)
            return after(outcome, instance.get_run_by_id(outcome.run_id) if outcome.run_id else None)

        def in_the_ui(period: str, *chosen: dg.AssetKey) -> Seen:
            definitions = build_defs(place.deployment)
            if chosen:
                job, selection = definitions.get_implicit_global_asset_job_def(), list(chosen)
            else:
                job, selection = definitions.resolve_job_def("months"), None
            head, _ = place.ledger.head()
            before = visible_releases(place.deployment, [period])
            result = job.execute_in_process(instance=instance, asset_selection=selection, partition_key=period)
            outcome = outcome_of(Run(place.deployment), [period], head, before, result.run_id)
            return after(outcome, instance.get_run_by_id(result.run_id))

        def after(outcome: RunOutcome, run: dg.DagsterRun | None) -> Seen:
            logs = instance.all_logs(run.run_id) if run else []
            steps, checks = {}, {}
            for entry in logs:
                event = entry.dagster_event
                if event is None:
                    continue
                if event.step_key and event.event_type_value in {"STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"}:
                    steps[event.step_key] = event.event_type_value
                if event.event_type_value == "ASSET_CHECK_EVALUATION":
                    found = event.asset_check_evaluation_data
                    if found.asset_key == DECISIONS_KEY:
                        checks[found.check_name] = (found.passed, found.severity)
            data = place.deployment.data
            return Seen(
                outcome=outcome,
                run=run,
                steps=steps,
                released_partitions=set(instance.get_materialized_partitions(RELEASE_KEY)),
                catalog=(current_catalog(place.deployment) or {}).get("periods", {}),
                channel_files=sorted(p for p in place.deployment.channels.rglob("*") if p.is_file()),
                checks=checks,
                files={
                    str(p.relative_to(data)): (p.stat().st_size, p.stat().st_mtime_ns)
                    for p in sorted(data.rglob("*"))
                    if p.is_file() and not p.name.startswith("run.")
                },
                said=place.said[-1],
            )

        place.hold("2026-06")
        held_in_the_middle = seen("2026-05", "2026-06")
        held_at_the_start = seen("2026-06")
        place.let_go()
        released = seen("2026-05", "2026-06")
        again = seen("2026-05", "2026-06")
        rollback(place.deployment, place.ledger, None, "a mistake", "an.operator", say=place.said.append)
        told = [
            in_the_ui("2026-06"),
            in_the_ui("2026-06", DECISIONS_KEY, dg.AssetKey(["marts", "dim_levels"])),
            in_the_ui("2026-06", dg.AssetKey(["intermediate", CARRIED])),
        ]
        drops = place.deployment.drops / "rewards"
        text = (drops / "points_2026-06.csv").read_text(encoding="utf-8")
        (drops / "points_2026-07.csv").write_text(text.replace("2026-06", "2026-07").replace("202606", "202607"), encoding="utf-8")
        yield Story(place, instance, held_in_the_middle, held_at_the_start, released, again, *told, seen("2026-05", "2026-06"))


def test_a_range_is_one_run_and_one_dbt_invocation(story: Story) -> None:
    run = story.held_in_the_middle.run
    assert run is not None
    assert run.tags["dagster/asset_partition_range_start"] == "2026-05"
    assert run.tags["dagster/asset_partition_range_end"] == "2026-06"
    assert story.held_in_the_middle.steps["models"] == "STEP_SUCCESS"
    builds = story.place.ledger.entries("build")
    assert builds[0].payload["periods"] == ["2026-05", "2026-06"]
    assert set(story.instance.get_materialized_partitions(DECISIONS_KEY)) == {"2026-05", "2026-06"}


def test_months_before_a_held_one_are_released_and_the_run_fails_as_held(story: Story) -> None:
    seen = story.held_in_the_middle
    assert [(p.period, p.status) for p in seen.outcome.periods] == [("2026-05", "released"), ("2026-06", "held")]
    assert isinstance(seen.outcome.error, Held)
    assert seen.outcome.exit_code == 3
    assert seen.run is not None
    assert seen.run.status == dg.DagsterRunStatus.FAILURE
    assert list(seen.catalog) == ["2026-05"]
    assert seen.released_partitions == {"2026-05"}
    assert seen.steps["release"] == "STEP_FAILURE"


def test_channels_get_the_months_before_a_held_one_as_readers_do(story: Story) -> None:
    seen = story.held_in_the_middle
    assert {(d["as_of_period"], d["catalog"]) for d in seen.outcome.deliveries} == {("2026-05", 1)}
    assert {d["channel"] for d in seen.outcome.deliveries} >= {"store_queue", "hotline"}
    assert {path.stem.removesuffix(".manifest") for path in seen.channel_files} >= {"store_queue_1", "hotline_1"}
    assert "channels" in seen.outcome.stages
    assert isinstance(seen.outcome.error, Held), "a hold it stays"


def test_the_failed_check_shows_on_the_decisions(story: Story) -> None:
    checks = story.held_in_the_middle.checks
    assert checks[HOUSE_CHECK] == (False, dg.AssetCheckSeverity.WARN)
    assert checks["gate"][0] is False
    assert sum(passed for passed, _ in checks.values()) == len(checks) - 2
    failing = [c for c in story.held_in_the_middle.outcome.periods[1].checks if not c["passed"]]
    assert [(c["suite"], c["check"]) for c in failing] == [("house", f"house__{NOT_YET}")]
    assert (story.place.deployment.data / failing[0]["failing_keys_file"]).is_file()


def test_a_held_first_month_stops_release_and_channels(story: Story) -> None:
    seen = story.held_at_the_start
    assert isinstance(seen.outcome.error, Held)
    assert seen.checks[HOUSE_CHECK] == (False, dg.AssetCheckSeverity.ERROR)
    assert seen.steps["gate"] == "STEP_FAILURE"
    assert "release" not in seen.steps
    assert "deliver" not in seen.steps
    assert seen.catalog == story.held_in_the_middle.catalog
    assert seen.channel_files == story.held_in_the_middle.channel_files


def test_once_the_gate_passes_the_month_is_released_and_delivered(story: Story) -> None:
    seen = story.released
    assert seen.outcome.error is None
    assert {p.period: p.release for p in seen.outcome.periods} == {"2026-05": "2026-05.r1", "2026-06": "2026-06.r1"}
    assert seen.run is not None
    assert seen.run.status == dg.DagsterRunStatus.SUCCESS
    assert seen.released_partitions == {"2026-05", "2026-06"}
    assert all(passed for passed, _ in seen.checks.values())
    assert seen.channel_files
    assert {delivery["channel"] for delivery in seen.outcome.deliveries} >= {"store_queue", "hotline"}
    assert set(seen.outcome.stages) >= {"ingest", "prepare", "dbt", "gate", "release", "channels"}


def test_a_run_with_nothing_new_says_so_and_writes_nothing(story: Story) -> None:
    assert story.again.outcome.nothing_new
    assert story.again.outcome.run_id is None
    assert {p.status for p in story.again.outcome.periods} == {"unchanged"}
    assert {p.period: p.release for p in story.again.outcome.periods} == story.released.catalog
    assert story.again.files == story.released.files
    assert "nothing new" in story.again.said


def of_release(story: Story, seen: Seen) -> str:
    """What the release asset says of the months of a run."""
    assert seen.run is not None
    logs = story.instance.all_logs(seen.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = [entry.dagster_event.step_materialization_data.materialization for entry in logs if entry.dagster_event]
    return str(next(m for m in made if m.asset_key == RELEASE_KEY).metadata["releases"].value)


def test_a_month_that_was_rolled_back_stays_so_in_the_ui_where_nothing_is_new(story: Story) -> None:
    seen = story.rolled_back_in_the_ui
    assert seen.run is not None and seen.run.status == dg.DagsterRunStatus.SUCCESS
    assert seen.catalog == {"2026-05": "2026-05.r1"}, "as with `tierhouse run`, which does not even start"
    assert [(p.period, p.status, p.release) for p in seen.outcome.periods] == [("2026-06", "rolled_back", None)]
    assert "| 2026-06 | rolled back | nothing |" in of_release(story, seen)


def test_what_is_released_again_stands_on_the_release(story: Story) -> None:
    seen = story.released_again
    assert {p.period: p.status for p in seen.outcome.periods} == {"2026-05": "unchanged", "2026-06": "released_again"}
    assert "| 2026-06 | released again | 2026-06.r1 |" in of_release(story, seen)
    assert "| 2026-05 | unchanged | 2026-05.r1 |" in of_release(story, seen)


def test_looking_at_some_models_in_the_ui_holds_nothing(story: Story) -> None:
    seen = story.some_models_in_the_ui
    assert seen.run is not None and seen.run.status == dg.DagsterRunStatus.SUCCESS
    assert set(seen.checks.values()) == {(False, dg.AssetCheckSeverity.WARN)}
    models = [entry.payload["models"] for entry in story.place.ledger.entries("build_started")]
    assert models[-3:] == [["dim_levels", "fct_decisions"], [CARRIED], None]
    after = story.place.ledger.entries(after=story.place.ledger.entries("catalog")[2].seq)
    kinds = [entry.kind for entry in after if entry.kind in ("build_started", "gate", "confirmation", "release")]
    whole = ["build_started", "gate", "confirmation"]
    assert kinds == [*whole, "build_started", "build_started", "build_started", "gate", "gate", "confirmation", "confirmation"]
    assert {p.status for p in story.carried_model_in_the_ui.outcome.periods} == {"rolled_back"}


def test_assets_carry_row_counts_reasons_and_the_level_chart(story: Story) -> None:
    decisions = story.instance.get_latest_materialization_event(DECISIONS_KEY)
    assert decisions is not None
    assert decisions.asset_materialization is not None
    metadata = decisions.asset_materialization.metadata
    assert "data:image/svg+xml" in str(metadata["level_chart"].value)
    assert "six_star" in str(metadata["levels"].value)
    first = story.held_in_the_middle.run
    assert first is not None
    rows = 0
    for entry in story.instance.all_logs(first.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        made = entry.dagster_event.step_materialization_data.materialization if entry.dagster_event else None
        if made is not None and made.asset_key.path[0] == "raw":
            rows += int(str(made.metadata["rows_in"].value))
            assert "张" not in str(made.metadata)
    landed = story.place.ledger.entries("drop_landed", upto=story.place.ledger.entries("catalog")[0].seq)
    assert rows == sum(entry.payload["rows_in"] for entry in landed)
    assert story.held_in_the_middle.outcome.quarantine


def test_events_and_dbt_lines_go_to_files_beside_the_data(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    logs = story.place.deployment.data / "logs"
    assert "RUN_SUCCESS" in (logs / "dagster.log").read_text(encoding="utf-8")
    assert "fct_decisions" in (logs / "dbt.log").read_text(encoding="utf-8")
    assert os.environ.get("TIERHOUSE_WAREHOUSE") is None
