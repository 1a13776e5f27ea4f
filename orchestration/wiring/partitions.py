"""Monthly partitions, their keys (periods such as ``2026-06``) and the tags that make a range of them one run."""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.periods import add_months, parse_period, period_index, periods_between

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

# A range of months is one start: one Dagster run, one dbt invocation, then gates and releases in period order.
BACKFILL_POLICY = dg.BackfillPolicy.single_run()


def monthly_partitions(deployment: Deployment) -> dg.TimeWindowPartitionsDefinition:
    """One partition per calendar month in the deployment's zone, from ``first_period`` to the last complete month."""
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 1 * *", start=deployment.config.first_period, fmt="%Y-%m", timezone=deployment.config.timezone
    )


def last_complete_period(deployment: Deployment, now: datetime | None = None) -> str:
    """The month before the one that ``now`` (an aware timestamp; default: the clock) falls into in the deployment's zone."""
    local = (now or datetime.now(deployment.zone)).astimezone(deployment.zone)
    return add_months(f"{local:%Y-%m}", -1)


def checked_range(deployment: Deployment, periods: list[str], now: datetime | None = None) -> list[str]:
    """``periods`` in order, if they are consecutive months that the deployment may materialize; BadInput otherwise."""
    if not periods:
        raise BadInput("no period was named", "--periods", "name months as 2026-01..2026-06")
    ordered = sorted({parse_period(period, "--periods") for period in periods})
    first, last = deployment.config.first_period, last_complete_period(deployment, now)
    if ordered[0] < first:
        raise BadInput(
            f"{ordered[0]} is before the first period {first}", "--periods", "name a later month, or change first_period in tierhouse.yaml"
        )
    if ordered[-1] > last:
        raise BadInput(f"{ordered[-1]} is not over yet: {last} is the last complete month", "--periods", f"name months up to {last}")
    if period_index(ordered[-1]) - period_index(ordered[0]) + 1 != len(ordered):
        gap = next(p for p in periods_between(ordered[0], ordered[-1]) if p not in ordered)
        raise BadInput(f"{gap} is missing between {ordered[0]} and {ordered[-1]}", "--periods", "a run takes consecutive months")
    return ordered


def range_tags(periods: list[str]) -> dict[str, str]:
    """Tags of a run over consecutive ``periods``: Dagster records every one of them as materialized by that run."""
    return {RANGE_START_TAG: periods[0], RANGE_END_TAG: periods[-1]}
