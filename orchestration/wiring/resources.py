"""The one resource of a run: the deployment, its lock held for the whole run, and what the steps have found so far.

What the steps hand to one another goes through the ledger and the warehouse; only the plan and what a summary needs
are kept here. A run that is re-executed from a failed step, in a new process, reads the plan back from its file.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.errors import BadInput, Busy, Failed, TierhouseError
from orchestration.interruption import is_interruption
from orchestration.ledger import Ledger
from orchestration.locking import exclusive

if TYPE_CHECKING:
    from orchestration.gate import GateResult
    from orchestration.policy import Policies
    from orchestration.warehouse import RunPlan

RESOURCE_KEY = "tierhouse"

BUSY_TAG = "tierhouse/busy"
"""On a run that met another's lock and ended before its first step: its own id, because a run that is re-executed takes the tags of the one
before with it."""

DEPLOYMENT_TAG = "tierhouse/deployment"
"""On every run: whose it is, where several deployments keep their records in one ``DAGSTER_HOME``."""

_IN_ONE_RUN = "choose them (the step `prepare`) in the same run, or launch the job months for the partition: it takes every step"

Say = Callable[[str], None]


class RunStopped(dg.DagsterError, KeyboardInterrupt):
    """A signal stopped a step. Dagster ends the run at once, and does not try the step again, as it would after its own word for that."""


def _silent(line: str) -> None:
    """The progress of a run whose only reader is Dagster's own log."""


@dataclass
class Run:
    """One run. ``error`` is what ended it, if it was one of the errors that a person is meant to read."""

    deployment: Deployment
    say: Say = _silent
    dbt_log: Path | None = None
    plan: RunPlan | None = None
    ingest: dict[str, Any] | None = None
    gates: list[GateResult] = field(default_factory=list)
    deliveries: list[Any] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    error: TierhouseError | None = None
    _policies: Policies | None = None

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.deployment.ledger)

    @property
    def policies(self) -> Policies:
        """The deployment's policies, read once a run."""
        if self._policies is None:
            from orchestration.policy import load_policies

            self._policies = load_policies(self.deployment)
        return self._policies

    @property
    def _plan_file(self) -> Path:
        return self.deployment.data / "plan.json"

    def keep_plan(self, plan: RunPlan) -> None:
        """Make ``plan`` the one that the later steps of this run, or of its re-execution, follow."""
        self.plan = plan
        new = self._plan_file.with_suffix(".new")
        new.write_text(json.dumps(plan.as_json(), indent=1), encoding="utf-8")
        new.replace(self._plan_file)

    def require_plan(self, periods: list[str] | None = None) -> RunPlan:
        """The plan of this run, else the last one kept; BadInput if that is for other periods than ``periods``, or of other code."""
        if (kept := self.plan or self._kept_plan()) is not None:
            from orchestration.warehouse import code_version, is_prepared_for

            # Also within one run: a checkout may be updated while dbt reads it.
            if kept.code_version != code_version():
                # The rows would be released under the version that did not make them.
                raise BadInput(
                    "models, macros or policies' compiler have changed since the warehouse was prepared",
                    "assets landing/* and plan",
                    f"run `tierhouse run --periods {kept.periods[0]}..{kept.periods[-1]}`; in Dagster {_IN_ONE_RUN}",
                )
            if self.plan is None:
                self.plan = kept if is_prepared_for(self.deployment, kept) else None
        if self.plan is None or (periods is not None and list(self.plan.periods) != periods):
            asked = periods[0] if periods and len(periods) == 1 else f"{periods[0]}..{periods[-1]}" if periods else "these months"
            raise BadInput(f"the warehouse is not prepared for {asked}", "assets landing/* and plan", _IN_ONE_RUN)
        return self.plan

    def _kept_plan(self) -> RunPlan | None:
        """The last plan kept; None if there is none, or what lies there is another version's or was cut off with the power."""
        from orchestration.warehouse import RunPlan

        try:
            return RunPlan.from_json(json.loads(self._plan_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a step and turn its expected errors into Dagster failures; only a failing environment is worth a retry.

        Raises :class:`RunStopped` where Ctrl-C or SIGTERM stopped it.
        """
        started = time.monotonic()
        self.error = None
        try:
            yield
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as stop:
            raise RunStopped(f"{name}: stopped by a signal") from stop
        except Exception as err:
            if is_interruption(err):
                raise RunStopped(f"{name}: stopped by a signal") from err
            if not isinstance(err, TierhouseError):
                raise
            self.error = err
            raise dg.Failure(
                description=str(err),
                metadata={"error": type(err).__name__, "exit_code": err.exit_code},
                allow_retries=isinstance(err, Failed),
            ) from err
        finally:
            self.stages[name] = round(self.stages.get(name, 0.0) + time.monotonic() - started, 3)


def run_resource(deployment: Deployment, run: Run | None = None) -> dg.ResourceDefinition:
    """Resource that holds the deployment's lock from the first step to the last and mends first what a crash left.

    ``run`` is given by a caller in the same process who wants to see what the steps found.
    """

    @dg.resource(description="The deployment, locked for the whole run.")
    def tierhouse(context: dg.InitResourceContext) -> Iterator[Run]:
        from orchestration.release import recover

        current = run
        if current is None:
            log = context.log
            current = Run(deployment, say=log.info if log is not None else _silent)
        if context.instance and context.run and DEPLOYMENT_TAG not in context.run.tags:
            # Assets that are chosen in the UI are a run of no job of ours.
            context.instance.add_run_tags(context.run.run_id, {DEPLOYMENT_TAG: deployment.name})
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(exclusive(deployment, f"Dagster run {context.run.run_id}" if context.run else "Dagster"))
            except Busy:
                if context.instance and context.run:
                    context.instance.add_run_tags(context.run.run_id, {BUSY_TAG: context.run.run_id})
                raise
            recover(deployment, current.ledger, current.say)
            yield current

    return tierhouse


def the_run(context: Any) -> Run:
    """The :class:`Run` of a step's, check's or hook's context."""
    found: Run = getattr(context.resources, RESOURCE_KEY)
    return found
