"""What the definitions hold: a snapshot of keys, jobs, schedules and sensors, and the laws that a change must keep."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_dbt import DbtProject

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.errors import BadInput, Failed, Held, TierhouseError
from orchestration.warehouse import RunPlan, code_version, dbt_args
from orchestration.warehouse.late import LateInput
from orchestration.wiring import schedules
from orchestration.wiring.build import build_defs
from orchestration.wiring.dbt import load_manifest, manifest_is_stale, parsed_hash
from orchestration.wiring.partitions import RANGE_END_TAG, RANGE_START_TAG, range_tags
from orchestration.wiring.resources import BUSY_TAG, DEPLOYMENT_TAG, Run
from orchestration.wiring.schedules import monthly_schedule
from orchestration.wiring.sensors import SETTLED_SECONDS, changed
from orchestration.wiring.translator import layer_of, source_key
from tests.warehouse.place import Place as PreparedPlace
from tests.wiring.conftest import Place, locked_by_another_process

SNAPSHOT = Path(__file__).parent / "definitions.json"


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs(load_deployment(PROJECT_ROOT / "examples" / "telecom"))


def described(defs: dg.Definitions) -> dict[str, Any]:
    """Groups with their assets, checks that block, jobs with their hooks, schedules and sensors."""
    graph = defs.resolve_asset_graph()
    groups: dict[str, list[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(str(graph.get(key).group_name), []).append(key.to_user_string())
    repository = defs.get_repository_def()
    return {
        "groups": {name: sorted(keys) for name, keys in sorted(groups.items())},
        "blocking_checks": sorted(
            f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys if graph.get(key).blocking
        ),
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {s.name: [str(s.cron_schedule), s.execution_timezone, s.job_name] for s in repository.schedule_defs},
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
    }


def test_definitions_are_those_of_the_snapshot(defs: dg.Definitions) -> None:
    found = described(defs)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(SNAPSHOT.read_text(encoding="utf-8")), "if meant: UPDATE_SNAPSHOTS=1 pytest tests/wiring/test_definitions.py"


def test_every_drop_leads_to_every_channel(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    upstream: dict[dg.AssetKey, set[dg.AssetKey]] = {}

    def ancestors(key: dg.AssetKey) -> set[dg.AssetKey]:
        if key not in upstream:
            parents = graph.get(key).parent_keys
            upstream[key] = set(parents).union(*(ancestors(parent) for parent in parents))
        return upstream[key]

    channels = [key for key in graph.get_all_asset_keys() if key.path[0] == "channel"]
    assert len(channels) >= 2
    needed = {dg.AssetKey(["raw", f"{source}__bill_lines"]) for source in ("billing_old", "billing_new")}
    needed |= {dg.AssetKey(["raw", "crm__customers"]), dg.AssetKey("policy"), dg.AssetKey(["marts", "fct_decisions"])}
    for channel in channels:
        assert needed <= ancestors(channel)


def test_nothing_is_left_in_the_default_group_or_without_a_maker(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert graph.get(key).group_name != "default", key
        assert graph.get(key).is_materializable, f"{key} is read but nothing makes it"


def test_partitioned_assets_are_backfilled_in_one_run(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    partitioned = [key for key in graph.get_all_asset_keys() if graph.get(key).partitions_def is not None]
    assert {"landing", "plan", "staging", "intermediate", "marts", "release"} == {key.path[0] for key in partitioned}
    assert all(graph.get(key).backfill_policy == dg.BackfillPolicy.single_run() for key in partitioned)


def test_taking_drops_in_and_sending_feeds_is_tried_again(defs: dg.Definitions) -> None:
    """Files and channels may be out of reach for a moment. What computes is not repeated: it would give the same."""
    nodes = defs.get_repository_def().get_job("months").nodes
    tried_again = {node.name: node.definition.retry_policy for node in nodes if node.definition.retry_policy}
    assert {name: policy.max_retries for name, policy in tried_again.items()} == {"ingest": 2, "deliver": 2}


@pytest.mark.parametrize(
    ("error", "again"), [(Failed("the disk is full"), True), (BadInput("no such column"), False), (Held("a check failed"), False)]
)
def test_only_a_failing_environment_is_worth_another_try(error: TierhouseError, again: bool) -> None:
    run = Run(load_deployment(PROJECT_ROOT / "examples" / "telecom"), say=lambda _: None)
    with pytest.raises(dg.Failure) as caught, run.stage("ingest"):
        raise error
    assert (caught.value.allow_retries, run.error) == (again, error)


def test_a_kept_plan_is_followed_only_while_code_and_warehouse_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a failed run is re-executed from its models, its gate or its release, in another process."""
    place = PreparedPlace(tmp_path)
    place.land("bill_lines", [place.bill("a", "C1", "2025-01", "1")])
    plan = place.prepare("2025-01")
    Run(place.deployment).keep_plan(plan)
    assert Run(place.deployment).require_plan(["2025-01"]) == plan
    with pytest.raises(BadInput, match=r"not prepared for 2025-01\.\.2025-02") as caught:
        Run(place.deployment).require_plan(["2025-01", "2025-02"])
    assert "the step `prepare`" in caught.value.remedy and "job months" in caught.value.remedy
    with monkeypatch.context() as patched:
        patched.setattr("orchestration.warehouse.code_version", lambda: "0.1.0+corrected")
        with pytest.raises(BadInput, match="have changed since the warehouse was prepared"):
            Run(place.deployment).require_plan(["2025-01"])
    place.prepare("2025-01")
    with pytest.raises(BadInput, match="not prepared for 2025-01"):
        Run(place.deployment).require_plan(["2025-01"])


def test_code_that_changes_within_a_run_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a checkout is updated while dbt reads it: the release would name a version that did not make its rows."""
    run = Run(load_deployment(PROJECT_ROOT / "examples" / "telecom"))
    run.plan = RunPlan("id", ["2025-11", "2025-12"], [], 1, "p", "i", code_version(), False)
    assert run.require_plan() == run.plan
    monkeypatch.setattr("orchestration.warehouse.code_version", lambda: "0.1.0+corrected")
    with pytest.raises(BadInput, match="have changed since the warehouse was prepared") as caught:
        run.require_plan()
    assert "tierhouse run --periods 2025-11..2025-12" in caught.value.remedy


@pytest.mark.parametrize("kept", ["", "[]", '{"run_id": "r", "code_version": "0.1.0"}', '{"of": "another version"}'])
def test_a_kept_plan_that_is_none_or_of_another_version_is_no_plan(kept: str, tmp_path: Path) -> None:
    place = PreparedPlace(tmp_path)
    (place.deployment.data / "plan.json").write_text(kept, encoding="utf-8")
    with pytest.raises(BadInput, match="not prepared for 2025-01"):
        Run(place.deployment).require_plan(["2025-01"])


def test_every_job_says_of_which_deployment_its_runs_are(defs: dg.Definitions) -> None:
    jobs = [job for job in defs.get_repository_def().get_all_jobs() if not job.name.startswith("__")]
    assert {job.tags[DEPLOYMENT_TAG] for job in jobs} == {"telecom"}


def test_a_run_of_chosen_assets_says_of_which_deployment_it_is(make_place: Callable[[], Place]) -> None:
    """It is of no job of the project; the other deployment's sensor would report its failure."""
    place = make_place()
    job = build_defs(place.deployment).get_implicit_global_asset_job_def()
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as instance, locked_by_another_process(place):
        chosen = [dg.AssetKey("release")]
        result = job.execute_in_process(instance=instance, asset_selection=chosen, partition_key="2026-06", raise_on_error=False)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None and run.is_failure and run.tags[DEPLOYMENT_TAG] == place.deployment.name


def test_the_release_waits_for_every_mart(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    marts = {key for key in graph.get_all_asset_keys() if key.path[0] == "marts"}
    assert marts
    assert marts <= set(graph.get(dg.AssetKey("release")).parent_keys)


def test_a_time_that_is_no_cron_expression_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    shutil.copy(PROJECT_ROOT / "examples" / "telecom" / "tierhouse.yaml", tmp_path)
    with (tmp_path / "tierhouse.yaml").open("a", encoding="utf-8") as config:
        config.write('schedule_cron: "every month"\n')
    with pytest.raises(BadInput, match=r"'every month' is no cron expression.*tierhouse\.yaml|tierhouse\.yaml.*'every month' is no cron"):
        monthly_schedule(load_deployment(tmp_path))


def test_the_schedule_runs_the_month_that_has_just_ended_until_it_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster takes a run that met another's lock, or was held, for done: the next day of the schedule tries again."""
    place = Place(tmp_path)
    place.deployment.drops.mkdir()
    repository = build_defs(place.deployment).get_repository_def()
    schedule = repository.get_schedule_def("monthly")
    assert schedule.cron_schedule == "0 6 3-5 * *"
    with dg.DagsterInstance.ephemeral() as instance:

        def tick(day: int) -> Any:
            # 22:30 UTC on 2 July is 06:30 on 3 July in Shanghai.
            at = datetime(2026, 7, day - 1, 22, 30, tzinfo=UTC)
            context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
            return schedule.evaluate_tick(context)

        for day in (3, 4):
            (request,) = tick(day).run_requests or []
            assert (request.partition_key, request.run_key) == ("2026-06", "telecom:2026-06")
        place.ledger.append("release", {"period": "2026-06", "release": "2026-06.r1"})
        released = tick(5)
        assert not released.run_requests and "2026-06 has been released" in str(released.skip_message)
        # Tried by hand before the rest of its drops had come.
        with monkeypatch.context() as patched:
            patched.setattr(schedules, "late_inputs", lambda *_: [LateInput("2026-06", "2026-06.r1", {"bill_lines": 3}, {})])
            assert [request.partition_key for request in tick(5).run_requests or []] == ["2026-06"]
            patched.setattr(schedules, "late_inputs", lambda *_: [LateInput("2026-05", "2026-05.r1", {"bill_lines": 3}, {})])
            assert not tick(5).run_requests
        with monkeypatch.context() as patched:
            patched.setattr(schedules, "new_drops", lambda *_: [place.deployment.drops / "bills_2026-06.csv"])
            assert [request.partition_key for request in tick(5).run_requests or []] == ["2026-06"]
            # Whatever has come is new for every month: the run would publish again what somebody took back.
            for catalog, seen in enumerate(({"2026-06": "2026-06.r1"}, {}), 1):
                place.ledger.append("catalog", {"catalog": catalog, "periods": seen, "cause": {"kind": "run"}})
            back = tick(5)
            assert not back.run_requests and "2026-06.r1 was rolled back" in str(back.skip_message)


@pytest.mark.parametrize(
    ("newest", "held", "asked"),
    [
        pytest.param("2026-03", None, "2026-04..2026-06", id="two months were missed"),
        pytest.param("2024-10", None, "2026-01..2026-06", id="those before first_period are not run"),
        pytest.param("2026-05", None, "2026-06", id="none was missed"),
        pytest.param(None, None, "2026-06", id="nothing was ever released"),
        pytest.param("2025-11", None, "2025-12..2026-06", id="as many as are run at once"),
        pytest.param("2025-10", None, "2026-06", id="too many: it is refused with the range"),
        pytest.param("2026-04", "2026-05", "2026-06", id="the month before is held"),
        pytest.param("2026-04", "2026-06", "2026-05..2026-06", id="the last one is held"),
    ],
)
def test_the_schedule_runs_the_months_that_were_missed_in_one_run(newest: str | None, held: str | None, asked: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    if newest == "2024-10":
        file = place.deployment.folder / "tierhouse.yaml"
        file.write_text(file.read_text(encoding="utf-8").replace('first_period: "2025-01"', 'first_period: "2026-01"'), encoding="utf-8")
    for kind, period in (("release", newest), ("gate", held)):
        if period:
            place.ledger.append(kind, {"period": period, "release": f"{period}.r1", "run_id": "r", "passed": False})
    repository = build_defs(place.deployment).get_repository_def()
    with dg.DagsterInstance.ephemeral() as instance:
        at = datetime(2026, 7, 2, 22, 30, tzinfo=UTC)
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
        (request,) = repository.get_schedule_def("monthly").evaluate_tick(context).run_requests or []
    assert request.run_key == f"telecom:{asked}"
    first, _, last = asked.partition("..")
    range_asked = {name: request.tags.get(name) for name in (RANGE_START_TAG, RANGE_END_TAG)}
    assert (request.partition_key, range_asked) == (None, range_tags([first, last])) if last else (asked, dict.fromkeys(range_asked))


def test_new_drops_ask_for_an_ingest_once_and_not_while_they_are_written(make_place: Callable[[], Place]) -> None:
    place = make_place()
    sensor = build_defs(place.deployment).get_repository_def().get_sensor_def("new_drops")

    def tick(cursor: str | None) -> Any:
        with dg.DagsterInstance.ephemeral() as instance:
            return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))

    fresh = tick(None)
    assert not fresh.run_requests
    assert "may still be being written" in str(fresh.skip_message)
    drops = place.deployment.drops
    for path in drops.rglob("*"):
        stat = path.stat()
        os.utime(path, (stat.st_atime, stat.st_mtime - SETTLED_SECONDS - 1))
    first = tick(None)
    assert len(first.run_requests) == 1
    second = tick(first.cursor)
    assert not second.run_requests
    (drops / "billing_new" / "bill_lines_2026-07.parquet").symlink_to(drops / "nowhere")
    assert not tick(first.cursor).run_requests, "a link to nothing is no drop"
    late = drops / "billing_new" / "bill_lines_2026-06_late.parquet"
    shutil.copy2(drops / "billing_new" / "bill_lines_2026-06.parquet", late)
    third = tick(first.cursor)
    assert third.run_requests[0].tags["tierhouse/new_drops"] == "1"
    assert third.run_requests[0].run_key != first.run_requests[0].run_key
    os.utime(late, (0, time.time() + 10**8))
    assert len(tick(first.cursor).run_requests) == 1, "a clock that is years ahead keeps nobody waiting until then"


def test_an_ingest_that_met_another_runs_lock_is_asked_for_again(make_place: Callable[[], Place]) -> None:
    place = make_place()
    for path in place.deployment.drops.rglob("*"):
        os.utime(path, (0, time.time() - SETTLED_SECONDS - 1))
    repository = build_defs(place.deployment).get_repository_def()
    sensor, job = repository.get_sensor_def("new_drops"), repository.get_job("ingest_drops")
    with dg.DagsterInstance.local_temp(str(place.folder / "home")) as instance:

        def tick(cursor: str | None) -> Any:
            return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))

        def launched(request: dg.RunRequest) -> dg.DagsterRun:
            tags = {**request.tags, "dagster/run_key": str(request.run_key)}
            run_id = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).run_id
            found = instance.get_run_by_id(run_id)
            assert found is not None
            return found

        with locked_by_another_process(place) as pid:
            waiting = tick(None)
            assert not waiting.run_requests and f"process {pid}" in str(waiting.skip_message)
        first = tick(waiting.cursor)
        with locked_by_another_process(place):
            busy = launched(first.run_requests[0])
            assert busy.tags[BUSY_TAG] == busy.run_id
            assert not tick(first.cursor).run_requests, "it waits for the lock"
        second = tick(first.cursor)
        # Re-executed in the UI it takes the tags of the run before with it, though it met no lock.
        mended = instance.create_run_for_job(job_def=job, tags=dict(busy.tags))
        assert not tick(first.cursor).run_requests, "it is under way"
        instance.report_run_failed(mended)
        assert not tick(first.cursor).run_requests, "it failed otherwise"
        with locked_by_another_process(place):
            result = job.execute_in_process(instance=instance, tags=dict(busy.tags), raise_on_error=False)
        assert not result.success
        assert tick(first.cursor).run_requests, "and so met the lock again"
        assert second.run_requests[0].run_key != first.run_requests[0].run_key
        assert not tick(json.dumps({**json.loads(second.cursor), "key": "of a run that is not there yet"})).run_requests
        run = instance.create_run_for_job(job_def=job, tags={"dagster/run_key": str(second.run_requests[0].run_key)})
        instance.report_run_failed(run)
        assert not tick(second.cursor).run_requests, "what failed otherwise waits for someone to mend it"


def test_a_file_that_grew_or_was_touched_is_a_change() -> None:
    assert changed({"a": [1, 5], "b": [2, 5]}, {"a": (1, 5), "b": (3, 5), "c": (1, 1)}) == ["b", "c"]
    assert changed({"a": [1, 5]}, {"a": (1, 6)}) == ["a"]
    assert changed({"gone": [1, 5]}, {}) == []


def test_dbt_is_told_the_range_of_the_plan_and_nothing_that_spoils_its_cache() -> None:
    plan = RunPlan("id", ["2025-11", "2025-12", "2026-01"], [], 1, "p", "i", "c", False)
    arguments = dbt_args(plan)
    assert arguments[0] == "build"
    assert arguments[arguments.index("--event-time-start") + 1] == "2025-11-01"
    assert arguments[arguments.index("--event-time-end") + 1] == "2026-02-01"
    assert not {"--vars", "--select", "--full-refresh"} & set(arguments)


def test_sources_are_the_assets_that_make_them() -> None:
    assert source_key("landing", "bill_lines") == dg.AssetKey(["landing", "bill_lines"])
    assert source_key("policy", "levels") == dg.AssetKey("policy")
    assert source_key("ctl", "target_periods") == dg.AssetKey("plan")
    assert layer_of({"fqn": ["tierhouse", "marts", "grading", "fct_decisions"], "resource_type": "model"}) == "marts"


def test_the_manifest_is_parsed_anew_when_a_model_changes_or_goes(tmp_path: Path) -> None:
    model = tmp_path / "models" / "staging" / "a.sql"
    model.parent.mkdir(parents=True)
    seen = {parsed_hash(tmp_path)}
    for text in ("select 1", "select 2"):
        model.write_text(text)
        # As files that were unpacked from an archive: older than any manifest.
        os.utime(model, (0, 0))
        seen.add(parsed_hash(tmp_path))
    model.rename(model.with_name("b.sql"))
    seen.add(parsed_hash(tmp_path))
    (tmp_path / "models" / "b.md").write_text("{% docs b %}b{% enddocs %}")
    seen.add(parsed_hash(tmp_path))
    assert len(seen) == 5


def test_a_manifest_that_was_cut_off_or_is_of_other_files_is_made_anew(tmp_path: Path) -> None:
    """As by a run that was killed while dbt wrote it; every later run ended as a defect."""
    shutil.copytree(PROJECT_ROOT / "dbt_project", tmp_path / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(PROJECT_ROOT / "models", tmp_path / "models")
    project = DbtProject(project_dir=tmp_path / "dbt_project")
    deployment = load_deployment(PROJECT_ROOT / "examples" / "telecom")
    whole = load_manifest(deployment, project)
    file = project.manifest_path
    assert not manifest_is_stale(file, parsed_hash()) and manifest_is_stale(file, "of other files")
    file.write_bytes(file.read_bytes()[:1000])
    assert load_manifest(deployment, project)["nodes"].keys() == whole["nodes"].keys()
    assert not manifest_is_stale(file, parsed_hash())


def test_an_overridden_resource_takes_the_place_of_the_real_one() -> None:
    marker = dg.ResourceDefinition.hardcoded_resource("in place of the deployment")
    defs = build_defs(load_deployment(PROJECT_ROOT / "examples" / "telecom"), resource_overrides={"tierhouse": marker})
    assert (defs.resources or {})["tierhouse"] is marker
