"""Running months in this process: the job that Dagster's own tools run, with progress for a person and one outcome.

Here, and not in the job: deciding that there is nothing to do (before anything is written), and turning what the run
recorded into what the command line reports.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.dbt_child import ReadyDbt
from orchestration.deployment import PROJECT_ROOT, Deployment, at_home, read_yaml
from orchestration.errors import EXIT_DONE, BadInput, Failed, Held, TierhouseError
from orchestration.ledger import Ledger, rolled_back
from orchestration.locking import exclusive
from orchestration.periods import ranges
from orchestration.wiring.resources import Run, Say

if TYPE_CHECKING:
    import dagster as dg

    from orchestration.ingest import SourceMapping


@dataclass
class PeriodOutcome:
    """What became of one period. ``release`` is the revision that readers see, whichever run made it."""

    period: str
    status: str
    """``released`` by this run, ``released_again`` (an older revision that readers did not see any more), ``held``, ``unchanged``, or
    ``rolled_back``: unchanged, too, but readers see an older revision, or none."""
    release: str | None
    checks: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class RunOutcome:
    """What a run did. ``stages`` are seconds; ``quarantine`` counts rows per reason in this run's new drops."""

    periods: list[PeriodOutcome]
    nothing_new: bool
    run_id: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    ingest: dict[str, Any] | None = None
    quarantine: dict[str, int] = field(default_factory=dict)
    deliveries: list[Any] = field(default_factory=list)
    error: TierhouseError | None = None

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else EXIT_DONE

    def as_json(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "nothing_new": self.nothing_new,
            "periods": [asdict(period) for period in self.periods],
            "stages": self.stages,
            "ingest": self.ingest,
            "quarantined_reasons": self.quarantine,
            "deliveries": self.deliveries,
        }


def run_months(deployment: Deployment, periods: list[str], *, say: Say, instance: dg.DagsterInstance | None = None) -> RunOutcome:
    """Ingest, compute, gate, release and deliver ``periods`` (consecutive months) as one Dagster run in this process.

    A hold is returned in the outcome (``error``); Busy, BadInput and Failed are raised. If no drop, policy or code has
    changed since the periods were released, nothing is run and nothing is written.
    """
    from orchestration.release import recover
    from orchestration.wiring.partitions import checked_range

    periods = checked_range(deployment, periods)
    run = Run(deployment, say=say)
    mappings = check_inputs(run)
    with exclusive(deployment, f"run of {periods[0]}..{periods[-1]}"):
        recover(deployment, run.ledger, say)
        if is_nothing_new(deployment, run.ledger, periods, run.policies):
            say("nothing new: every drop is landed, nothing is to be released, every channel up to date")
            return RunOutcome(as_they_stand(deployment, run.ledger, periods), nothing_new=True)
        say(f"starting Dagster for {periods[0]}..{periods[-1]}")
        with ReadyDbt():
            return _execute(run, periods, mappings, instance)


def check_inputs(run: Run) -> list[SourceMapping]:
    """The mappings, if they, the policies and the drops folder are as they must be: bad input starts no run."""
    from orchestration.ingest import load_mappings
    from orchestration.policy import require_sound
    from orchestration.release import policy_folders, released_policies

    run.deployment.require_drops()
    require_sound(run.policies, released_policies(run.ledger), policy_folders(run.deployment, run.ledger), run.deployment.today())
    return load_mappings(run.deployment)


def is_nothing_new(deployment: Deployment, ledger: Ledger, periods: list[str], policies: Any) -> bool:
    """Whether a run would change nothing. Reads only."""
    from orchestration.channels import pending
    from orchestration.ingest import new_drops
    from orchestration.release import is_there
    from orchestration.warehouse import plan_run

    if not deployment.warehouse.exists() or new_drops(deployment, ledger) or pending(deployment, ledger):
        return False
    # Where files of what readers see are gone, the same rows make a new revision.
    if not all(is_there(deployment, release) for release in visible_releases(deployment, periods).values() if release):
        return False
    return plan_run(deployment, ledger, periods, policies).nothing_new


def as_they_stand(deployment: Deployment, ledger: Ledger, periods: Sequence[str]) -> list[PeriodOutcome]:
    """The periods that a run leaves as they are. One that finds nothing new does not undo a rollback: only something new does, or a person."""
    back = rolled_back(ledger)
    return [
        PeriodOutcome(period, "rolled_back" if period in back else "unchanged", release)
        for period, release in visible_releases(deployment, periods).items()
    ]


def visible_releases(deployment: Deployment, periods: Sequence[str]) -> dict[str, str | None]:
    """Period → release id in the current catalog, for each of ``periods``."""
    from orchestration.release import current_catalog

    known: dict[str, str] = (current_catalog(deployment) or {}).get("periods", {})
    return {period: known.get(period) for period in periods}


def dagster_home() -> Path:
    """$DAGSTER_HOME, else the project: where dagster.yaml lies."""
    return at_home(os.environ.get("DAGSTER_HOME") or str(PROJECT_ROOT), "DAGSTER_HOME").resolve()


# Where Dagster keeps its records and logs. Left out in a home elsewhere: there they lie in the home itself, wherever the tools are started.
PLACES = ("storage", "local_artifact_storage", "compute_logs")


def settings_elsewhere() -> str:
    """Text of dagster.yaml for a $DAGSTER_HOME that has none: the project's own but for the places, which are Dagster's own in that folder."""
    settings = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in PLACES}
    return f"# Written by Tierhouse, because this folder is DAGSTER_HOME and had no dagster.yaml. Yours to change.\n{yaml.safe_dump(kept)}"


def project_instance() -> dg.DagsterInstance:
    """The Dagster instance of ``dagster_home()``, whatever the current folder is.

    Relative folders in dagster.yaml are made absolute, because Dagster takes them from the current folder. Step output
    is not captured: it belongs to the person at the terminal, and events hold the rest.
    """
    import dagster as dg

    home = dagster_home()
    file = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # Without one Dagster warns at every run, and its own tools do not follow the project's settings.
            file.write_text(settings_elsewhere(), encoding="utf-8")
    except OSError as err:
        raise Failed(
            f"Dagster's folder cannot be used: {err.strerror}", str(home), "set DAGSTER_HOME to a folder that can be written"
        ) from err
    settings, _ = read_yaml(file, may_be_empty=True)
    overrides: dict[str, Any] = {
        "compute_logs": {"module": "dagster.core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
        "telemetry": {"enabled": False},
    }
    for key, path in (("storage", ("sqlite", "base_dir")), ("local_artifact_storage", ("config", "base_dir"))):
        section = settings.get(key)
        if not isinstance(section, dict) or not isinstance(inner := section.get(path[0]), dict):
            continue
        if isinstance(inner.get(path[1]), str):
            folder = home / inner[path[1]]
            folder.mkdir(parents=True, exist_ok=True)
            overrides[key] = {**section, path[0]: {**inner, path[1]: str(folder)}}
    # Of the public ways to make an instance, this one takes overrides; "temp" is only its usual use.
    try:
        return dg.DagsterInstance.local_temp(tempdir=str(home), overrides=overrides)
    except dg.DagsterError as err:
        what = " ".join(str(err).split())[:400]
        raise BadInput(
            f"Dagster does not take its settings: {what}", str(file), "correct the file; Dagster's documentation lists the keys"
        ) from err


class _AppendingHandler(logging.Handler):
    """Appends each record to a file that it does not keep open: runs are many in one test process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self.format(record) + "\n")
        except OSError:
            self.handleError(record)


def _file_logger(path: Path) -> dg.LoggerDefinition:
    import dagster as dg

    @dg.logger(config_schema=None, description="Dagster's events of a run, in a file beside the deployment's data.")
    def to_file(_context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("tierhouse.dagster", level=logging.DEBUG)
        logger.addHandler(_AppendingHandler(path))
        return logger

    return to_file


def _execute(run: Run, periods: list[str], mappings: list[SourceMapping], instance: dg.DagsterInstance | None) -> RunOutcome:
    """Execute the months job with ``run`` as its resource and read the outcome off the run and the ledger."""

    from orchestration.wiring.build import build_defs
    from orchestration.wiring.jobs import MONTHS_JOB
    from orchestration.wiring.partitions import range_tags
    from orchestration.wiring.resources import RESOURCE_KEY, run_resource
    from orchestration.wiring.storage import quick_storage

    deployment = run.deployment
    logs = deployment.data / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "dagster.log"
    run.dbt_log = logs / "dbt.log"
    definitions = build_defs(
        deployment, mappings=mappings, resource_overrides={RESOURCE_KEY: run_resource(deployment, run)}, loggers={"file": _file_logger(log)}
    )
    head, _ = run.ledger.head()
    before = visible_releases(deployment, periods)
    with _dagsters_records(), quick_storage(), contextlib.nullcontext(instance) if instance else project_instance() as used:
        result = definitions.resolve_job_def(MONTHS_JOB).execute_in_process(
            instance=used, tags=range_tags(periods), run_config={"loggers": {"file": {}}}, raise_on_error=False
        )
    outcome = outcome_of(run, periods, head, before, result.run_id)
    if not result.success:
        try:
            outcome.error = hold_that_ended(run, outcome, result.all_events, log)
        except TierhouseError as err:
            raise _with_what_stands(err, outcome, run.ledger, head) from err.__cause__
    return outcome


@contextlib.contextmanager
def _dagsters_records() -> Iterator[None]:
    """Failed where Dagster cannot keep its records of the run: their files are damaged, another user's, or on a full disk."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as err:
        what = str(getattr(err, "orig", None) or err).splitlines()[0]
        raise Failed(
            f"Dagster's records cannot be kept: {what}",
            str(dagster_home()),
            "make its files writable, or free space. What is damaged there may be moved away: it holds the history of runs, and nothing that a "
            "release needs. Then run the same command again",
        ) from err


def _with_what_stands(err: TierhouseError, outcome: RunOutcome, ledger: Ledger, head: int) -> TierhouseError:
    """``err``, which ended a run, with the months that it had released by then: readers see them, as when a channel cannot be served, or will
    see them, as when the pointer could not be moved. ``head``: the last entry before the run.
    """
    recorded = {entry.payload["release"] for entry in ledger.entries("release", after=head)}
    released = [period for period in outcome.periods if period.status in ("released", "released_again")]
    seen = [period.period for period in released if period.status == "released_again" or period.release in recorded]
    unseen = [period.period for period in released if period.period not in seen]
    if seen:
        err.what = f"{err.what} (released before that, and seen by readers: {', '.join(ranges(seen))})"
    if unseen:
        err.what = f"{err.what} (recorded, and published by the next run: {', '.join(ranges(unseen))})"
    if released:
        err.details = {**err.details, "run": outcome.as_json()}
    return err


def hold_that_ended(run: Run, outcome: RunOutcome, events: Sequence[dg.DagsterEvent], log: Path) -> Held:
    """The hold with which a run ended that did not succeed. What else it ended with is raised: KeyboardInterrupt, its error, or Failed."""
    problem = next((event for event in events if event.is_failure), None)
    if _was_interrupted(problem):
        # Also where a month is held: who told it to stop is not told that it went to its end.
        raise KeyboardInterrupt
    if isinstance(run.error, Held):
        return run.error
    if run.error is not None:
        raise run.error
    if held := [period.period for period in outcome.periods if period.status == "held"]:
        failed = sorted({check["check"] for gate in run.gates for check in gate.failed_checks})
        return Held(
            f"{', '.join(held)} held by {', '.join(failed) or 'the gate'}",
            str(run.deployment.gates),
            "see the failing keys there, correct the data or the policy, and run the same command again",
        )
    step = next((str(event.step_key) for event in events if event.is_step_failure), "before the first step")
    raise Failed(f"the Dagster run {outcome.run_id} failed: {_first_line(problem)}", step, f"see {log}")


def _was_interrupted(event: dg.DagsterEvent | None) -> bool:
    """Whether a failure is Ctrl-C, in a stage or between two, which is no failure of the step that it met."""
    from dagster import DagsterExecutionInterruptedError

    from orchestration.wiring.resources import RunStopped

    error: Any = getattr(event.event_specific_data, "error", None) if event is not None else None
    return error is not None and error.cls_name in {DagsterExecutionInterruptedError.__name__, RunStopped.__name__}


def _first_line(event: dg.DagsterEvent | None) -> str:
    """The innermost error of a failure event, on one line."""
    error: Any = getattr(event.event_specific_data, "error", None) if event is not None else None
    while error is not None and error.cause is not None:
        error = error.cause
    text = error.message if error is not None else (event.message if event is not None else "")
    return next((line for line in str(text or "no reason recorded").splitlines() if line.strip()), "no reason recorded")


def outcome_of(run: Run, periods: list[str], head: int, before: Mapping[str, str | None], run_id: str) -> RunOutcome:
    """What the ledger says of each period after entry ``head``, and what the steps left in ``run``.

    ``before``: the releases that readers saw before the run.
    """
    released = {entry.payload["period"] for entry in run.ledger.entries("release", after=head)}
    visible = visible_releases(run.deployment, periods)
    again = {period for period in periods if period not in released and visible[period] != before[period]}
    # Each that is known of a month takes the place of what was said of it before.
    status = {period.period: period.status for period in as_they_stand(run.deployment, run.ledger, periods)}
    confirmed = {entry.payload["period"] for entry in run.ledger.entries("confirmation", after=head)}
    first_held = _first_held(run, [period for period in periods if period not in released | again | confirmed])
    status |= {period: "held" for period in periods if first_held is not None and period >= first_held}
    status |= dict.fromkeys(again, "released_again") | {period: "released" for period in periods if period in released}
    checks = {gate.period: [dict(check) for check in gate.checks] for gate in run.gates}
    quarantine: Counter[str] = Counter()
    for file in (run.ingest or {}).get("files", []):
        quarantine.update(file["reasons"])
    return RunOutcome(
        periods=[PeriodOutcome(period, status[period], release, checks.get(period, [])) for period, release in visible.items()],
        nothing_new=False,
        run_id=run_id,
        stages=dict(run.stages),
        ingest=run.ingest,
        quarantine=dict(quarantine),
        deliveries=list(run.deliveries),
    )


def _first_held(run: Run, not_released: Sequence[str]) -> str | None:
    """The first month that the gate held; else, of a release that was held for another reason, the first that was neither released nor confirmed."""
    by_the_gate = next((gate.period for gate in run.gates if not gate.passed), None)
    return by_the_gate or (next(iter(not_released), None) if isinstance(run.error, Held) else None)
