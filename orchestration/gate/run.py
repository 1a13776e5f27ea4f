"""The gate of one period: make the candidate's views, let every suite look at them, write what failed, record the verdict.

The verdict is recorded whatever happens: a gate that crashes records that it did, so that no earlier verdict speaks for
the candidate. One that is stopped by a signal alone records nothing. Only the release reads the record; nothing here publishes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import Failed, TierhouseError
from orchestration.failpoints import failpoint
from orchestration.gate.candidate import combined_hash, fingerprint, marts_of, select_period
from orchestration.gate.drops import make_drop_tables
from orchestration.gate.result import GateResult
from orchestration.gate.suites import Check, Expectation, Suite, load_suites
from orchestration.gate.validation import Session, Verdict, session
from orchestration.ingest import open_periods
from orchestration.ingest.files import place, storage_errors
from orchestration.interruption import is_interruption
from orchestration.ledger.store import Ledger
from orchestration.memory import query_memory
from orchestration.people import same_person_sql
from orchestration.periods import add_months
from orchestration.release.catalog import read_pointer
from orchestration.release.folder import mart_files, release_folder
from orchestration.sqltext import literal, quoted
from orchestration.wording import counted

if TYPE_CHECKING:
    from orchestration.warehouse.plan import RunPlan

Say = Callable[[str], None]
WAREHOUSE = "warehouse"
# Relations beside the marts that suites may look at, where the warehouse has them.
VISIBLE_SCHEMAS = ("intermediate", "policy", "ctl", "landing")


def run_gate(
    deployment: Deployment,
    ledger: Ledger,
    plan: RunPlan,
    period: str,
    *,
    say: Say,
    problems: Mapping[str, list[Any]] | None = None,
) -> GateResult:
    """Check the candidate of ``period`` and record the verdict in the ledger.

    ``problems`` defaults to what the ingest says keeps periods open. Raises Failed when the gate itself cannot be
    carried out (recorded as a verdict that nothing passes), BadInput for a suite that cannot be read, KeyboardInterrupt
    when a signal stops a query of it (nothing is recorded).
    """
    folder = deployment.gates / period / plan.run_id

    def record(**said: Any) -> None:
        ledger.append("gate", {"run_id": plan.run_id, "period": period, **said})

    try:
        result = examine(deployment, ledger, plan, period, folder, open_periods(deployment, ledger) if problems is None else problems)
    except Exception as err:
        if is_interruption(err):
            # Told to stop, it found nothing: a verdict would hold the period and all after it.
            raise KeyboardInterrupt from err
        record(candidate_hash=None, passed=False, crashed=str(err), checks=[], path=None)
        if isinstance(err, TierhouseError):
            raise
        raise Failed(f"the gate could not be carried out: {err}", f"period {period}", "see the message; nothing was released") from err
    kept = ("suite", "check", "severity", "passed", "observed", "failing_rows")
    checks = [{key: check[key] for key in kept} for check in result.checks]
    path = str(result.path.relative_to(deployment.data))
    record(candidate_hash=result.candidate_hash, passed=result.passed, checks=checks, path=path)
    failpoint("gate.recorded")
    say(summary(result))
    return result


def examine(
    deployment: Deployment, ledger: Ledger, plan: RunPlan, period: str, folder: Path, problems: Mapping[str, list[Any]]
) -> GateResult:
    """Let every suite look at the candidate; what they found, written into ``folder`` and not yet recorded."""
    suites = load_suites(deployment)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with session() as gx, storage_errors(folder):
        tables = make_candidate(gx.con, deployment, plan, period)
        make_drop_tables(gx.con, ledger, period, problems, plan.cutoff_seq)
        make_build_table(gx.con, ledger, plan)
        gx.con.execute("create schema gate")
        checks = [check for suite in suites for check in run_suite(gx, suite, deployment, folder)]
    result = GateResult(
        run_id=plan.run_id,
        period=period,
        passed=all(check["passed"] or check["severity"] == "warning" for check in checks),
        checks=checks,
        candidate_hash=combined_hash({name: table["hash"] for name, table in tables.items()}),
        path=folder / "results.json",
        tables=tables,
    )
    with storage_errors(folder):
        write_results(deployment, result)
    failpoint("gate.results_written")
    return result


def write_results(deployment: Deployment, result: GateResult) -> None:
    """``results.json``, whole or not at all."""
    deployment.scratch.mkdir(parents=True, exist_ok=True)
    temporary = deployment.scratch / f"gate-{result.run_id}-{result.period}.json"
    temporary.write_text(json.dumps(result.as_json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    place(temporary, result.path)


def summary(result: GateResult) -> str:
    """One text for a person: passed, or which checks hold the release and where their keys are."""
    lines = [f"gate {result.period}: {sum(check['passed'] for check in result.checks)} of {len(result.checks)} checks passed"]
    for check in result.checks:
        if not check["passed"]:
            verb = "warning" if check["severity"] == "warning" else "HELD"
            lines.append(
                f"  {verb} {check['check']}: {check['observed']} (expected: {check['expected']}); keys in {result.keys_file(check)}"
            )
    return "\n".join(lines)


def make_candidate(con: duckdb.DuckDBPyConnection, deployment: Deployment, plan: RunPlan, period: str) -> dict[str, dict[str, Any]]:
    """Attach the warehouse read-only and make schemas ``candidate`` and ``previous``; return mart → {rows, hash}.

    The macro ``candidate.is_same_person`` asks of two names what :func:`orchestration.people.same_person` asks.

    ``previous`` holds the period before: the candidate of the same run where the run has it, which this one goes on from (where that
    one is not released, or stays rolled back, nor is this one; after a rollback it is where all programs grade events, of which no check of
    the project compares two months), else the release that the catalog names; without either its relations
    are there and empty. Failed where the warehouse holds nothing to check, or that release is damaged.
    """
    if not deployment.warehouse.is_file():
        raise Failed("there is no warehouse", str(deployment.warehouse), f"run `tierhouse run --periods {period}`")
    con.execute(f"set memory_limit = {literal(query_memory())}")
    con.execute(f"set temp_directory = {literal(str(deployment.scratch))}")
    con.execute(f"attach {literal(str(deployment.warehouse))} as {WAREHOUSE} (read_only)")
    con.execute("create schema candidate")
    con.execute("create schema previous")
    con.execute(f"create macro candidate.is_same_person(one, other) as ({same_person_sql('one', 'other')})")
    con.execute(
        f"create table candidate.this_period as select {literal(period)} as period, {literal(add_months(period, -1))} as previous_period"
    )
    limits = deployment.config
    con.execute(
        f"create table candidate.limits as select '{limits.max_moved_share}'::double as max_moved_share, '{limits.max_drift}'::double as max_drift"
    )
    marts = marts_of(con, WAREHOUSE)
    if not marts:
        raise Failed("the warehouse holds no marts", str(deployment.warehouse), f"build it: `tierhouse run --periods {period}`")
    try:
        before = previous_source(deployment, plan, period)
        # Of a release that is damaged nothing may be taken for empty: what compares two months would find nothing, and pass.
        released = mart_files(before) if isinstance(before, Path) else {}
    except Failed as err:
        both = f"{add_months(period, -1)}..{plan.periods[-1]}"
        raise replace(err, remedy=f"{err.remedy}, or run that month and this one in one range: `tierhouse run --periods {both}`") from err
    tables: dict[str, dict[str, Any]] = {}
    for mart in marts:
        stored = f"{WAREHOUSE}.marts.{quoted(mart.name)}"
        con.execute(f"create view candidate.{quoted(mart.name)} as {select_period(mart, stored, period)}")
        rows, digest = fingerprint(con, f"candidate.{quoted(mart.name)}", mart.columns)
        tables[mart.name] = {"rows": rows, "hash": digest}
        nothing = f"select * from {stored} where false"
        if mart.name in released:
            # A release that an older version made may lack a column: it is null there.
            file = f"select * from read_parquet({literal(str(released[mart.name]))})"
            con.execute(f"create view previous.{quoted(mart.name)} as {nothing} union all by name {file}")
        elif before == "candidate":
            con.execute(f"create view previous.{quoted(mart.name)} as {select_period(mart, stored, add_months(period, -1))}")
        else:
            con.execute(f"create view previous.{quoted(mart.name)} as {nothing}")
    for schema in VISIBLE_SCHEMAS:
        con.execute(f"create schema {schema}")
        for (name,) in con.execute(
            f"select distinct table_name from duckdb_columns() where database_name = '{WAREHOUSE}' and schema_name = {literal(schema)}"
        ).fetchall():
            con.execute(f"create view {schema}.{quoted(name)} as select * from {WAREHOUSE}.{schema}.{quoted(name)}")
    return tables


def previous_source(deployment: Deployment, plan: RunPlan, period: str) -> Path | str | None:
    """Where the rows of the period before are: a release folder, ``"candidate"``, or nowhere; Failed if the folder is gone."""
    before = add_months(period, -1)
    if before in plan.periods:
        return "candidate"
    release = read_pointer(deployment).periods.get(before)
    return release_folder(deployment, release) if release else None


def make_build_table(con: duckdb.DuckDBPyConnection, ledger: Ledger, plan: RunPlan) -> None:
    """``candidate.build``: how dbt ended for this run; empty if it never did."""
    con.execute("create table candidate.build (run_id varchar, ok boolean, message varchar)")
    for entry in ledger.entries("build"):
        if entry.payload.get("run_id") == plan.run_id:
            con.execute("delete from candidate.build")
            con.execute(
                "insert into candidate.build values (?, ?, ?)",
                [plan.run_id, bool(entry.payload.get("ok")), str(entry.payload.get("message") or "")],
            )


def run_suite(gx: Session, suite: Suite, deployment: Deployment, folder: Path) -> list[dict[str, Any]]:
    """All checks of a suite, relation by relation so that GX computes their metrics together."""
    for relation in suite.relations:
        with naming(f"relation {relation.name}", suite):
            gx.con.execute(f"create or replace table gate.{relation.name} as {relation.sql}")
    by_relation: dict[str, list[tuple[Check, list[Expectation]]]] = {}
    counted = [check for check in suite.checks if check.none_of is not None]
    for check in counted:
        with naming(f"check {check.check}", suite):
            gx.con.execute(f"create table gate.{check.check} as {check.none_of}")
    if counted:
        # One row, one column a check: so that GX looks at all of them in one query.
        counts = ", ".join(f"(select count(*) from gate.{check.check}) as {check.check}" for check in counted)
        gx.con.execute(f"create table gate.{suite.suite}_failing_rows as select {counts}")
        by_relation[f"gate.{suite.suite}_failing_rows"] = [(check, [none_in(check.check)]) for check in counted]
    for check in suite.checks:
        if check.relation is not None:
            by_relation.setdefault(check.relation, []).append((check, check.expectations))
    verdicts: dict[str, list[Verdict]] = {}
    for name, together in by_relation.items():
        found = gx.validate(name, [item for _, expectations in together for item in expectations])
        for check, expectations in together:
            verdicts[check.check], found = found[: len(expectations)], found[len(expectations) :]
    return [check_result(gx.con, suite, check, verdicts[check.check], deployment, folder) for check in suite.checks]


@contextmanager
def naming(what: str, suite: Suite) -> Iterator[None]:
    """Say of which suite and check it is that SQL is none, or asks for what is not there: a deployment writes its own."""
    try:
        yield
    except (duckdb.ProgrammingError, duckdb.DataError) as err:
        problem = str(err).splitlines()[0]
        raise Failed(f"{what} could not be evaluated: {problem}", f"expectations/{suite.suite}.yaml", "correct the suite") from err


def none_in(column: str) -> Expectation:
    """A count of failing rows is zero."""
    return Expectation(type="expect_column_values_to_be_between", kwargs={"column": column, "min_value": 0, "max_value": 0})


def check_result(
    con: duckdb.DuckDBPyConnection, suite: Suite, check: Check, verdicts: Sequence[Verdict], deployment: Deployment, folder: Path
) -> dict[str, Any]:
    """Verdict of one check, with all failing keys written to ``<check>.csv`` when it failed."""
    errors = [verdict.error for verdict in verdicts if verdict.error]
    if errors:
        raise Failed(f"check {check.check} could not be evaluated: {errors[0]}", f"expectations/{suite.suite}.yaml", "correct the suite")
    passed = all(verdict.success for verdict in verdicts)
    keys_file: Path | None = None
    failing_rows = 0
    if not passed:
        keys_file = folder / f"{check.check}.csv"
        query = f"select * from gate.{check.check}" if check.none_of is not None else str(check.failing)
        with naming(f"check {check.check}", suite):
            con.execute(f"copy ({query}) to {literal(str(keys_file))} (format csv, header true)")
            failing_rows = int(con.execute(f"select count(*) from ({query})").fetchall()[0][0])
    observed = "as expected" if passed else counted(failing_rows, "failing row")
    if check.observe is not None:
        with naming(f"check {check.check}", suite):
            seen = con.execute(check.observe).fetchall()
        observed = str(seen[0][0]) if seen and seen[0][0] is not None else observed
    return {
        "suite": suite.suite,
        "check": check.check,
        "severity": check.severity,
        "passed": passed,
        "observed": observed,
        "expected": check.expected,
        "failing_rows": failing_rows,
        "failing_keys_file": str(keys_file.relative_to(deployment.data)) if keys_file else None,
    }
