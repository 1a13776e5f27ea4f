"""The call of dbt: its arguments, its environment, and what it says.

dbt runs in a process of its own that dies with this one (``orchestration.dbt_child``). The arguments are made in one place, for the
command line and for Dagster.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from orchestration.deployment import PROJECT_ROOT, Deployment
from orchestration.errors import Failed
from orchestration.ingest.files import disk_failure
from orchestration.periods import add_months, first_day
from orchestration.warehouse.plan import RunPlan

DBT_PROJECT = PROJECT_ROOT / "dbt_project"
_LINES_OF_A_FAILURE = 12


def dbt_args(plan: RunPlan) -> list[str]:
    """Arguments of the one dbt call of a run. The range of event time is that of its periods, the end excluded.

    No ``--vars``: with them dbt would read the whole project again at every start. What changes from run to run stands in
    the warehouse's schema ``ctl``.
    """
    first, after = first_day(plan.periods[0]), first_day(add_months(plan.periods[-1], 1))
    return ["build", "--exclude-resource-type", "unit_test", "--event-time-start", first.isoformat(), "--event-time-end", after.isoformat()]


def dbt_env(deployment: Deployment) -> dict[str, str]:
    """What dbt's profile and dbt itself take from the environment."""
    target = deployment.data / "dbt"
    return {
        "TIERHOUSE_WAREHOUSE": str(deployment.warehouse),
        "DBT_PROJECT_DIR": str(DBT_PROJECT),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_TARGET_PATH": str(target / "target"),
        "DBT_LOG_PATH": str(target / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }


def call_dbt(deployment: Deployment, args: list[str], say: Callable[[str], None]) -> None:
    """Run dbt with ``args``; each line it prints goes to ``say``. Failed, naming the nodes, if it does not succeed."""
    env = {**os.environ, **dbt_env(deployment), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-P", "-m", "orchestration.dbt_child", "--no-use-colors", *args]
    printed: list[str] = []
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            printed.append(line.rstrip())
            say(line.rstrip())
    if child.returncode:
        raise disk_failure("\n".join(printed), deployment.data) or Failed(
            failure_of(printed, child.returncode), _log_of(deployment), "see dbt's log for the SQL; correct the cause and run again"
        )


def failure_of(printed: list[str], code: int) -> str:
    """The part of dbt's output that says what failed, in one text."""
    starts = [n for n, line in enumerate(printed) if " in test " in line or " in model " in line or "Error" in line or "Failure" in line]
    told = printed[starts[0] : starts[0] + _LINES_OF_A_FAILURE] if starts else printed[-_LINES_OF_A_FAILURE:]
    return f"dbt ended with {code}: " + "\n".join(line for line in told if line.strip())


def _log_of(deployment: Deployment) -> str:
    return str(Path(dbt_env(deployment)["DBT_LOG_PATH"]) / "dbt.log")
