"""When months run by themselves: each month that has ended, at the configured times in the deployment's zone, until it is released."""

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.ledger import Ledger
from orchestration.wiring.jobs import MONTHS_JOB
from orchestration.wiring.partitions import last_complete_period


def monthly_schedule(deployment: Deployment) -> dg.ScheduleDefinition:
    """Runs the last complete month on ``schedule_cron``, and on a later day again what was not released then: it was held, met the lock of
    another run, or failed. Off until an engineer turns it on. BadInput if that is no time of Dagster's.
    """

    def monthly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        period = last_complete_period(deployment, context.scheduled_execution_time)
        if period < deployment.config.first_period:
            return dg.SkipReason(f"{period} is before the first period {deployment.config.first_period}")
        if any(entry.payload["period"] == period for entry in Ledger(deployment.ledger).entries("release")):
            return dg.SkipReason(f"{period} has been released; `tierhouse status` names what is to be computed again")
        return dg.RunRequest(run_key=period, partition_key=period)

    try:
        return dg.schedule(
            name="monthly",
            cron_schedule=deployment.config.schedule_cron,
            execution_timezone=deployment.config.timezone,
            job_name=MONTHS_JOB,
            description="Runs the month that has just ended, until it is released.",
        )(monthly)
    except dg.DagsterInvalidDefinitionError as err:
        raise BadInput(
            f"key 'schedule_cron': {deployment.config.schedule_cron!r} is no cron expression",
            str(deployment.folder / "tierhouse.yaml"),
            "write five fields, minute, hour, day, month and weekday, such as `0 6 3-5 * *`",
        ) from err
