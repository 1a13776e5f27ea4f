"""Telling someone that a run failed: a JSON POST to the deployment's ``failure_webhook``.

A step's failure is posted from the run itself. The sensor (it needs the Dagster daemon) posts for runs that could not
do so: killed, or failed before their first step. Messages of errors are left out: they may quote a row.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import requests

from orchestration.deployment import Deployment
from orchestration.errors import Busy, TierhouseError
from orchestration.wiring.partitions import RANGE_END_TAG, RANGE_START_TAG
from orchestration.wiring.resources import BUSY_TAG, DEPLOYMENT_TAG

POSTED_TAG = "tierhouse/failure_posted"
"""On a run that was posted: its own id, because a run that is re-executed takes the tags of the one before with it."""
PARTITION_TAG = "dagster/partition"


def failure_report(deployment: str, run: dg.DagsterRun, steps: Sequence[str], error: BaseException | None) -> dict[str, Any]:
    """The JSON that is posted: which deployment, run, months and steps, and the kind of error; no message, no row."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, TierhouseError):
        cause = cause.__cause__
    kind = cause if cause is not None else error
    tags = run.tags
    is_busy = tags.get(BUSY_TAG) == run.run_id
    return {
        "event": "run_failed",
        "deployment": deployment,
        "job": run.job_name,
        "run_id": run.run_id,
        "first_period": tags.get(RANGE_START_TAG) or tags.get(PARTITION_TAG),
        "last_period": tags.get(RANGE_END_TAG) or tags.get(PARTITION_TAG),
        "failed_steps": list(steps),
        "error": type(kind).__name__ if kind is not None else Busy.__name__ if is_busy else None,
        "exit_code": cause.exit_code if isinstance(cause, TierhouseError) else Busy.exit_code if is_busy else 1,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def post(url: str, report: Mapping[str, Any]) -> str | None:
    """POST ``report``; None if the address took it, else what went wrong. A dead address must not fail anything."""
    try:
        answer = requests.post(url, json=dict(report), timeout=10)
    except requests.RequestException as err:
        return type(err).__name__
    return None if answer.ok else f"status {answer.status_code}"


def _is_posted(run: dg.DagsterRun) -> bool:
    return run.tags.get(POSTED_TAG) == run.run_id


def _report(context: dg.HookContext | dg.RunFailureSensorContext, url: str, run: dg.DagsterRun, report: Mapping[str, Any]) -> None:
    """Post a report, and note on the run that it was."""
    problem = post(url, report)
    if problem is None:
        context.instance.add_run_tags(run.run_id, {POSTED_TAG: run.run_id})
    else:
        context.log.warning(f"the failure could not be reported to {url}: {problem}")


def failure_hook(deployment: Deployment) -> dg.HookDefinition:
    """Hook of every job: post the first failed step of a run."""

    @dg.failure_hook(name="post_failure")
    def post_failure(context: dg.HookContext) -> None:
        url = deployment.config.failure_webhook
        run = context.instance.get_run_by_id(context.run_id)
        if not url or run is None or _is_posted(run):
            return
        _report(context, url, run, failure_report(deployment.name, run, [context.step_key], context.op_exception))

    return post_failure


def failure_sensor(deployment: Deployment) -> dg.SensorDefinition:
    """Sensor over failed runs: posts those that no hook has posted."""

    @dg.run_failure_sensor(
        name="report_failed_runs",
        description="Posts failed runs to failure_webhook that could not report themselves.",
        default_status=dg.DefaultSensorStatus.RUNNING if deployment.config.failure_webhook else dg.DefaultSensorStatus.STOPPED,
    )
    def report_failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        url = deployment.config.failure_webhook
        run = context.instance.get_run_by_id(context.dagster_run.run_id) or context.dagster_run
        if not url or _is_posted(run):
            return dg.SkipReason("no address is configured" if not url else "the run reported itself")
        if (whose := run.tags.get(DEPLOYMENT_TAG, deployment.name)) != deployment.name:
            return dg.SkipReason(f"the run is of the deployment {whose}")
        steps = [event.step_key for event in context.get_step_failure_events() if event.step_key]
        _report(context, url, run, failure_report(deployment.name, run, steps, None))
        return None

    return report_failed_runs
