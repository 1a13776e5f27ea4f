"""The warehouse: the plan of a run, what dbt reads, what dbt is called with, and the note of what the warehouse then holds.

Not here: what a customer-month or a decision is (``models/``), rules (``policy``), or what becomes visible (``gate``, ``release``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestration.deployment import Deployment
from orchestration.failpoints import failpoint
from orchestration.ledger.store import Ledger
from orchestration.warehouse import database, inputs, planning
from orchestration.warehouse.dbt import DBT_PROJECT, dbt_args, dbt_env, dbt_target
from orchestration.warehouse.plan import RunPlan, code_version
from orchestration.wording import counted

if TYPE_CHECKING:
    from orchestration.policy import Policies

__all__ = [
    "DBT_PROJECT",
    "RunPlan",
    "begin",
    "code_version",
    "dbt_args",
    "dbt_env",
    "dbt_target",
    "finish",
    "is_prepared_for",
    "plan_run",
    "prepare",
]


def plan_run(deployment: Deployment, ledger: Ledger, periods: list[str], policies: Policies) -> RunPlan:
    """What a run over ``periods`` would do now. Writes nothing; BadInput for periods without bills."""
    return _planned(deployment, ledger, periods, policies)[0]


def prepare(deployment: Deployment, ledger: Ledger, periods: list[str], policies: Policies, *, say: Callable[[str], None]) -> RunPlan:
    """Plan the run and write what dbt reads into the warehouse (which is closed again).

    Also where there is nothing new: whoever comes here lets dbt compute the periods, and it would take what the last run left there.
    BadInput where the month before them has rows in the warehouse that were never released, or that readers do not see.
    """
    from orchestration.policy import store_policies

    plan, compiled = _planned(deployment, ledger, periods, policies, is_asked=True)
    if plan.nothing_new:
        say(f"nothing new for {_span(periods)}: released from these drops, policies and code already; computed again as asked")
    inputs.write_inputs(deployment, ledger, plan, lambda con: store_policies(con, policies, compiled))
    failpoint("warehouse.inputs_prepared")
    months = (
        f"{counted(len(plan.input_periods), 'month')} to read ({_span(plan.input_periods)})"
        if plan.input_periods
        else "no month to read again"
    )
    say(f"deciding {_span(periods)}: {months}")
    return plan


def begin(ledger: Ledger, plan: RunPlan, models: Sequence[str] | None = None) -> None:
    """Record that dbt is about to write the plan's periods: of a process that is killed nothing else tells that it has.

    ``models``: names of those that it is asked for, where that is not all of them.
    """
    ledger.append("build_started", {"run_id": plan.run_id, "periods": plan.periods, "models": None if models is None else sorted(models)})
    failpoint("warehouse.started")


def finish(deployment: Deployment, ledger: Ledger, plan: RunPlan, *, ok: bool, message: str = "", say: Callable[[str], None]) -> None:
    """What follows on dbt's end, however it was called: the months count as applied, and the ledger says how it ended."""
    if ok:
        failpoint("warehouse.built")
        inputs.record_applied(deployment, plan)
        failpoint("warehouse.applied")
    ledger.append(
        "build", {"run_id": plan.run_id, "ok": ok, "periods": plan.periods, "input_periods": plan.input_periods, "message": message}
    )
    say(f"warehouse {'holds' if ok else 'does not hold'} {_span(plan.periods)}")


def is_prepared_for(deployment: Deployment, plan: RunPlan) -> bool:
    """Whether what dbt reads is what :func:`prepare` wrote for ``plan``: another run may have come between."""
    return database.prepared_run(deployment.warehouse) == plan.run_id


def _planned(
    deployment: Deployment, ledger: Ledger, periods: list[str], policies: Policies, *, is_asked: bool = False
) -> tuple[RunPlan, dict[str, str]]:
    """The plan and the fragments of the policies; a program that needs what is not delivered is not evaluated."""
    from orchestration.policy import compile_policies

    undelivered = _undelivered(deployment)
    compiled = compile_policies(policies, periods, undelivered)
    return planning.plan_run(deployment, ledger, periods, policies, compiled, undelivered, is_asked=is_asked), compiled


def _undelivered(deployment: Deployment) -> set[str]:
    """Entities, and the cost of bill lines, that no source of the deployment delivers."""
    from orchestration.ingest import load_contracts, load_mappings

    feeds = [feed for mapping in load_mappings(deployment) for feed in mapping.feeds]
    missing = set(load_contracts()) - {feed.entity for feed in feeds}
    if not any(feed.entity == "bill_lines" and "cost_amount" in feed.columns for feed in feeds):
        missing.add("bill_lines.cost_amount")
    return missing


def _span(periods: list[str]) -> str:
    if not periods:
        return "no period"
    return periods[0] if len(periods) == 1 else f"{periods[0]}..{periods[-1]}"
