"""What dbt is called with: its project, its arguments and its environment. Dagster calls it (``wiring.dbt``)."""

from __future__ import annotations

from pathlib import Path

from orchestration.deployment import PROJECT_ROOT, Deployment
from orchestration.periods import add_months, first_day
from orchestration.warehouse.plan import RunPlan

DBT_PROJECT = PROJECT_ROOT / "dbt_project"


def dbt_args(plan: RunPlan) -> list[str]:
    """Arguments of the one dbt call of a run. The range of event time is that of its periods, the end excluded.

    No ``--vars``: with them dbt would read the whole project again at every start. What changes from run to run stands in
    the warehouse's schema ``ctl``.
    """
    first, after = first_day(plan.periods[0]), first_day(add_months(plan.periods[-1], 1))
    return ["build", "--exclude-resource-type", "unit_test", "--event-time-start", first.isoformat(), "--event-time-end", after.isoformat()]


def dbt_target(deployment: Deployment) -> Path:
    """Where a run's dbt writes its artifacts and log."""
    return deployment.data / "dbt" / "target"


def dbt_env(deployment: Deployment) -> dict[str, str]:
    """What dbt's profile and dbt itself take from the environment."""
    return {
        "TIERHOUSE_WAREHOUSE": str(deployment.warehouse),
        "DBT_PROJECT_DIR": str(DBT_PROJECT),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
