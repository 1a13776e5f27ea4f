"""When months run by themselves: each month that has ended, at the configured times in the deployment's zone, until it is released
with all that has come for it."""

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.ingest import new_drops
from orchestration.ledger import Ledger, rolled_back
from orchestration.warehouse.late import late_inputs
from orchestration.wiring.jobs import MONTHS_JOB
from orchestration.wiring.partitions import last_complete_period


def monthly_schedule(deployment: Deployment) -> dg.ScheduleDefinition:
    """Runs the last complete month on ``schedule_cron``, and on a later day again what was not released then: it was held, met the lock of
    another run, or failed; and what was released before all of its drops had come. Not one that was rolled back. Off until an engineer
    turns it on. BadInput if that is no time of Dagster's.
    """

    def monthly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        period = last_complete_period(deployment, context.scheduled_execution_time)
        if period < deployment.config.first_period:
            return dg.SkipReason(f"{period} is before the first period {deployment.config.first_period}")
        ledger = Ledger(deployment.ledger)
        if back := rolled_back(ledger).get(period):
            # Whatever has landed is new for every month, and the run would publish again what somebody took back.
            return dg.SkipReason(f"{back[0]} was rolled back: run {period} by hand once the cause is mended; docs/going-back.md")
        is_released = any(entry.payload["period"] == period for entry in ledger.entries("release"))
        # Of which month a drop is shows when it lands: the run of a month for which it holds nothing confirms what is released.
        if is_released and not new_drops(deployment, ledger) and period not in {late.period for late in late_inputs(deployment, ledger)}:
            return dg.SkipReason(
                f"{period} has been released, and nothing is new for it; `tierhouse status` names what is to be computed again"
            )
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
