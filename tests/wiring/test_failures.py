"""A failed run is posted to the configured address, once, without a row of data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.deployment import Config, Deployment
from orchestration.errors import Held
from orchestration.wiring.failures import POSTED_TAG, failure_hook, failure_report, failure_sensor, post
from orchestration.wiring.partitions import range_tags
from orchestration.wiring.resources import BUSY_TAG, DEPLOYMENT_TAG

SECRET = "张伟 13800138000"


class Receiver(HTTPServer):
    """A real server that keeps what it is sent and answers ``status``."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/failed"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def deployment(tmp_path: Path, url: str | None) -> Deployment:
    config = Config.model_validate(
        {
            "name": "shop",
            "title": "Shop",
            "currency": "CNY",
            "timezone": "Asia/Shanghai",
            "first_period": "2025-01",
            "data": "data",
            "drops": "drops",
            "failure_webhook": url,
        }
    )
    return Deployment(tmp_path, config)


def failing_job(at: Deployment) -> dg.JobDefinition:
    @dg.op
    def gate() -> None:
        try:
            raise Held(f"{SECRET} has two levels", "gate")
        except Held as err:
            raise dg.Failure(str(err)) from err

    @dg.job(hooks={failure_hook(at)})
    def months() -> None:
        gate()

    return months


def test_a_failed_step_is_posted_with_run_months_and_kind_but_no_message(receiver: Receiver, tmp_path: Path) -> None:
    job = failing_job(deployment(tmp_path, receiver.url))
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False, tags=range_tags(["2026-05", "2026-06"]))
        run = instance.get_run_by_id(result.run_id)
    assert not result.success
    (report,) = receiver.received
    assert report["deployment"] == "shop"
    assert report["run_id"] == result.run_id
    assert (report["first_period"], report["last_period"]) == ("2026-05", "2026-06")
    assert report["failed_steps"] == ["gate"]
    assert (report["error"], report["exit_code"]) == ("Held", 3)
    assert SECRET not in json.dumps(report, ensure_ascii=False)
    assert run is not None
    assert run.tags[POSTED_TAG] == run.run_id


def test_a_run_that_is_re_executed_and_fails_again_is_posted_too(receiver: Receiver, tmp_path: Path) -> None:
    """It takes the tags of the run before with it, as the UI does it."""
    job, at = failing_job(deployment(tmp_path, receiver.url)), deployment(tmp_path, receiver.url)
    with dg.DagsterInstance.ephemeral() as instance:
        first = instance.get_run_by_id(job.execute_in_process(instance=instance, raise_on_error=False).run_id)
        assert first is not None
        again = job.execute_in_process(instance=instance, raise_on_error=False, tags=dict(first.tags))
        # And one that could not report itself, because its process was killed.
        silent = failing_job(deployment(tmp_path, None)).execute_in_process(instance=instance, raise_on_error=False, tags=dict(first.tags))
        event = next(event for event in silent.all_events if event.is_failure and event.is_job_event)
        context = dg.build_run_status_sensor_context(
            sensor_name="report_failed_runs", dagster_event=event, dagster_instance=instance, dagster_run=silent.dagster_run
        ).for_run_failure()
        failure_sensor(at)(context)
    assert [report["run_id"] for report in receiver.received] == [first.run_id, again.run_id, silent.run_id]


@pytest.mark.parametrize("status", [500, None])
def test_an_address_that_does_not_take_it_leaves_the_run_as_it_was(receiver: Receiver, tmp_path: Path, status: int | None) -> None:
    receiver.status = status or 204
    url = receiver.url if status else "http://127.0.0.1:9/nobody"
    with dg.DagsterInstance.ephemeral() as instance:
        result = failing_job(deployment(tmp_path, url)).execute_in_process(instance=instance, raise_on_error=False)
        run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert POSTED_TAG not in run.tags
    assert post(url, {}) is not None


def test_without_an_address_nothing_is_posted(receiver: Receiver, tmp_path: Path) -> None:
    failing_job(deployment(tmp_path, None)).execute_in_process(raise_on_error=False)
    assert receiver.received == []


def test_the_sensor_posts_only_runs_that_could_not_report_themselves(receiver: Receiver, tmp_path: Path) -> None:
    at = deployment(tmp_path, receiver.url)
    with dg.DagsterInstance.ephemeral() as instance:
        silent = failing_job(deployment(tmp_path, None)).execute_in_process(instance=instance, raise_on_error=False)
        run = silent.dagster_run
        event = next(event for event in silent.all_events if event.is_failure and event.is_job_event)
        for _ in range(2):
            context = dg.build_run_status_sensor_context(
                sensor_name="report_failed_runs", dagster_event=event, dagster_instance=instance, dagster_run=run
            ).for_run_failure()
            failure_sensor(at)(context)
    assert [report["run_id"] for report in receiver.received] == [run.run_id]
    assert receiver.received[0]["failed_steps"] == ["gate"]


def test_the_sensor_posts_no_run_of_another_deployment(receiver: Receiver, tmp_path: Path) -> None:
    """Both keep their records in one DAGSTER_HOME."""
    at = deployment(tmp_path, receiver.url)
    with dg.DagsterInstance.ephemeral() as instance:
        for name in ("bank", "shop"):
            silent = failing_job(deployment(tmp_path, None)).execute_in_process(
                instance=instance, raise_on_error=False, tags={DEPLOYMENT_TAG: name}
            )
            event = next(event for event in silent.all_events if event.is_failure and event.is_job_event)
            context = dg.build_run_status_sensor_context(
                sensor_name="report_failed_runs", dagster_event=event, dagster_instance=instance, dagster_run=silent.dagster_run
            ).for_run_failure()
            failure_sensor(at)(context)
    assert [report["run_id"] for report in receiver.received] == [silent.run_id]


def test_a_run_that_met_the_lock_of_another_is_reported_as_busy() -> None:
    """It ends before its first step, so that no step tells why."""
    met = dg.DagsterRun(job_name="months", run_id="9a1b", tags={BUSY_TAG: "9a1b"})
    report = failure_report("shop", met, [], None)
    assert (report["error"], report["exit_code"]) == ("Busy", 5)
    again = dg.DagsterRun(job_name="months", run_id="77c0", tags=dict(met.tags))
    report = failure_report("shop", again, [], None)
    assert (report["error"], report["exit_code"]) == (None, 1), "re-executed it takes the tags with it"
