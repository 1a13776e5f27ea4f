"""When months run by themselves: each month that has ended, at the configured times in the deployment's zone, until it is released
with all that has come for it, and with it those before it that were missed."""

from collections.abc import Collection

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.ingest import new_drops
from orchestration.ledger import Ledger, rolled_back
from orchestration.ledger.readers import held_periods
from orchestration.periods import add_months, periods_between
from orchestration.warehouse.late import late_inputs
from orchestration.wiring.jobs import MONTHS_JOB
from orchestration.wiring.partitions import last_complete_period, range_tags

CATCH_UP_MONTHS = 6
"""So many missed months are run with the one that has ended. More is no schedule that stood still for a while, and a person decides: the
run of the last month alone is refused, and names the range."""


def monthly_schedule(deployment: Deployment) -> dg.ScheduleDefinition:
    """Runs the last complete month on ``schedule_cron``, and on a later day again what was not released then: it was held, met the lock of
    another run, or failed; and what was released before all of its drops had come. Months between the newest released one and this one run
    with it, as one range. Not a month that was rolled back, nor one before the last that is held: what comes after it is refused or held, and
    reported. Off until an engineer turns it on. BadInput if that is no time of Dagster's.
    """

    def monthly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        period = last_complete_period(deployment, context.scheduled_execution_time)
        if period < deployment.config.first_period:
            return dg.SkipReason(f"{period} is before the first period {deployment.config.first_period}")
        ledger = Ledger(deployment.ledger)
        if back := rolled_back(ledger).get(period):
            # Whatever has landed is new for every month, and the run would publish again what somebody took back.
            return dg.SkipReason(f"{back[0]} was rolled back: run {period} by hand once the cause is mended; docs/going-back.md")
        released = {entry.payload["period"] for entry in ledger.entries("release")}
        # Of which month a drop is shows when it lands: the run of a month for which it holds nothing confirms what is released.
        if (
            period in released
            and not new_drops(deployment, ledger)
            and period not in {late.period for late in late_inputs(deployment, ledger)}
        ):
            return dg.SkipReason(
                f"{period} has been released, and nothing is new for it; `tierhouse status` names what is to be computed again"
            )
        missed = _missed(ledger, deployment.config.first_period, period, released)
        # The name, because Dagster would take another deployment's run of this month at this time, where both keep their records in one
        # place, for the one that is asked for.
        if not missed:
            return dg.RunRequest(run_key=f"{deployment.name}:{period}", partition_key=period)
        return dg.RunRequest(run_key=f"{deployment.name}:{missed[0]}..{period}", tags=range_tags([*missed, period]))

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


def _missed(ledger: Ledger, first: str, period: str, released: Collection[str]) -> list[str]:
    """The months before ``period`` that were never released, back to the newest one that was; none where nothing is carried on from, where one of
    them is held, or where they are too many."""
    before = max((month for month in released if month < period), default=None)
    if period in released or before is None:
        return []
    missed = periods_between(max(add_months(before, 1), first), add_months(period, -1))
    return [] if len(missed) > CATCH_UP_MONTHS or {*missed} & {*held_periods(ledger, first)} else missed
