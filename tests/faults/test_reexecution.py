"""Dagster runs of months as the UI launches them, killed: re-executed from where they failed, and what the months after them go on from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.ledger import Ledger
from tests.faults.test_kill_points import decisions, feeds, june_arrives, make_may, pointer
from tests.support import PROJECT_ROOT, Cli, prepared

# The months job over a month; with a second argument the newest run of it from where it failed, as somebody has marked a run that was killed.
JOB = """
import sys
import dagster as dg
from orchestration.deployment import load_deployment
from orchestration.wiring.build import build_defs
from orchestration.wiring.launch import project_instance

def months():
    return build_defs(load_deployment()).resolve_job_def("months")

month, *again = sys.argv[1:]
with project_instance() as instance:
    options = None
    if again:
        killed = instance.get_runs(limit=1)[0]
        instance.report_run_failed(killed)
        options = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
    job = dg.reconstructable(months)
    tags = {"dagster/partition": month}
    with dg.execute_job(job, instance=instance, tags=tags, reexecution_options=options, raise_on_error=False) as result:
        steps = sorted({event.step_key for event in result.all_events if event.is_step_start})
        errors = [str(event.event_specific_data.user_failure_data) for event in result.all_events if event.is_step_failure]
        print("steps:", *steps, "| success:", result.success, *errors)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "job_of_months.py"
    script.write_text(JOB, encoding="utf-8")
    return script


def execute(cli: Cli, script: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**cli.environment(**extra), "PYTHONPATH": os.pathsep.join([str(script.parent), str(PROJECT_ROOT)])}
    command = [sys.executable, "-c", "import job_of_months", *arguments]
    return subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300)


def undisturbed_june(cli: Cli) -> None:
    june_arrives(cli)
    cli("run", "--periods", "2026-06")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_re_executed_from_its_killed_release_ends_as_an_undisturbed_one(
    shared_folder: Path, make_cli: Callable[..., Cli], script: Path
) -> None:
    may = prepared(shared_folder, "may_released", make_may)
    reference, cli = make_cli("reference", copy_of=may.folder), make_cli("victim", copy_of=may.folder)
    undisturbed_june(reference)
    june_arrives(cli)
    before = pointer(cli)
    killed = execute(cli, script, "2026-06", TIERHOUSE_FAILPOINT="release.manifest_written")
    assert killed.returncode == -9, killed.stderr[-3000:]
    assert pointer(cli) == before

    ledger = Ledger(cli.data / "ledger.sqlite")
    head, _ = ledger.head()
    again = execute(cli, script, "2026-06", "from failure")
    assert "steps: deliver release | success: True" in again.stdout, again.stdout + again.stderr[-3000:]
    # Neither ingest nor dbt nor gate: the release asks for the verdict that was recorded before the kill.
    assert [entry.kind for entry in ledger.entries(after=head)] == ["release", "catalog", *["delivery"] * len(feeds(reference))]
    assert decisions(cli) == decisions(reference)
    assert feeds(cli) == feeds(reference)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_months_that_are_computed_again_and_killed_are_settled_by_the_next_run_and_stay_rolled_back(
    shared_folder: Path, make_cli: Callable[..., Cli], script: Path
) -> None:
    """Nothing is new throughout: the months are only launched once more."""
    may = prepared(shared_folder, "may_released", make_may)
    cli = make_cli(copy_of=may.folder)
    june_arrives(cli)
    for month in ("2026-05", "2026-06"):
        cli("run", "--periods", month)
    before, visible = decisions(cli), cli.json("releases")["catalog"]["periods"]
    assert execute(cli, script, "2026-05", TIERHOUSE_FAILPOINT="warehouse.started").returncode == -9
    refused = execute(cli, script, "2026-06")
    assert "2026-06 would go on from rows that were never released" in refused.stdout, refused.stdout + refused.stderr[-3000:]
    (settled,) = cli.json("run", "--periods", "2026-05")["periods"]
    assert (settled["status"], settled["release"]) == ("unchanged", visible["2026-05"])
    assert decisions(cli) == before

    cli("rollback", "--reason", "wrong bar", "--by", "an.operator")
    assert execute(cli, script, "2026-06", TIERHOUSE_FAILPOINT="warehouse.built").returncode == -9
    seen = pointer(cli)
    (settled,) = cli.json("run", "--periods", "2026-06")["periods"]
    assert (settled["status"], settled["release"], pointer(cli)) == ("rolled_back", None, seen)
    assert cli.json("run", "--periods", "2026-06")["nothing_new"]
