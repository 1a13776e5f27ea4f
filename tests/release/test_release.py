"""Release: what passed its gate is published whole, once, in order; what did not is refused, whatever the reason."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.audit import check_untouched
from orchestration.audit.released import find_release
from orchestration.deployment import Deployment
from orchestration.errors import Failed, Held, Mismatch
from orchestration.gate import run_gate
from orchestration.gate.suites import load_suites
from orchestration.ingest.files import sha256_file
from orchestration.ledger import Ledger
from orchestration.release import current_catalog, list_releases, recover, release, rollback
from orchestration.release.descriptions import mart_descriptions
from orchestration.release.files import write_policies
from orchestration.release.publish import ReleaseReport
from orchestration.wiring.launch import outcome_of, visible_releases
from orchestration.wiring.resources import Run
from tests.gate.fixture_warehouse import Plan, build_warehouse, make_place, record_build, silent

PERIODS = ["2026-05", "2026-06"]
LATER_RULE = "update marts.fct_decisions set matched_rule_id = 'rule_9' where subject_id = 'c1' and period = '2026-06'"


def gated(deployment: Deployment, ledger: Ledger, plan: Plan) -> None:
    record_build(ledger, plan.run_id)
    for period in plan.periods:
        run_gate(deployment, ledger, plan, period, say=silent, problems={})


_made: dict[tuple[str, ...], tuple[Path, ReleaseReport]] = {}


@pytest.fixture(scope="module", autouse=True)
def prepared_places(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Places that tests copy: all periods released by run1, and the last one alone."""
    for periods in (PERIODS, PERIODS[1:]):
        folder = tmp_path_factory.mktemp("released")
        deployment, ledger = make_place(folder)
        build_warehouse(deployment, PERIODS)
        plan = Plan("run1", periods)
        gated(deployment, ledger, plan)
        _made[tuple(periods)] = (folder, release(deployment, ledger, plan, say=silent))


def released(folder: Path, periods: list[str] | None = None) -> tuple[Deployment, Ledger, ReleaseReport]:
    """A place in which the periods are released by run1."""
    source, report = _made[tuple(periods or PERIODS)]
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return *make_place(folder), report


def snapshot(deployment: Deployment) -> dict[str, str]:
    """Everything that readers see: files and their hashes."""
    seen = [deployment.releases, deployment.catalogs, deployment.channels]
    return {
        str(path.relative_to(deployment.data)): sha256_file(path) for folder in seen for path in sorted(folder.rglob("*")) if path.is_file()
    }


def held(deployment: Deployment, ledger: Ledger, plan: Plan) -> Held:
    with pytest.raises(Held) as caught:
        release(deployment, ledger, plan, say=silent)
    return caught.value


def test_a_run_publishes_its_periods_under_one_catalog(tmp_path: Path) -> None:
    deployment, ledger, report = released(tmp_path)
    assert [(p.period, p.status, p.release) for p in report.periods] == [
        ("2026-05", "released", "2026-05.r1"),
        ("2026-06", "released", "2026-06.r1"),
    ]
    assert current_catalog(deployment) == {"catalog": 1, "periods": {"2026-05": "2026-05.r1", "2026-06": "2026-06.r1"}}
    assert len(ledger.entries("catalog")) == 1
    assert [row["release"] for row in list_releases(deployment, ledger) if row["visible"]] == ["2026-05.r1", "2026-06.r1"]
    assert list(deployment.scratch.iterdir()) == []
    ledger.verify()


def test_a_release_holds_its_period_and_says_where_it_came_from(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, PERIODS)
    landed = {
        "source": "billing",
        "entity": "customers",
        "file": "a.csv",
        "file_id": "f1",
        "sha256": "s",
        "parts": [{"path": "landing/x", "period": None, "rows": 3}],
    }
    totals = {
        "rows_in": 3,
        "landed": 3,
        "quarantined": 0,
        "identical": 0,
        "not_for_entity": 0,
        "unattributed": 0,
        "reasons": {},
        "supersedes": {"path": None, "rows": 0, "by_file": {}},
    }
    amounts = {"amount_in": None, "amount_landed": None, "amount_quarantined": None}
    seq = ledger.append("drop_landed", {**landed, **totals, **amounts}).seq
    ledger.append("drop_landed", {**landed, **totals, **amounts, "file_id": "f2"})
    plan = replace(Plan("run1", PERIODS), cutoff_seq=seq, undelivered=["surveys"])
    gated(deployment, ledger, plan)
    release(deployment, ledger, plan, say=silent)
    folder = deployment.releases / "2026-06.r1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert [(item["seq"], item["file_id"], item["superseded"]) for item in manifest["inputs"]] == [(seq, "f1", None)], (
        "what landed after the cut-off is no input"
    )
    assert manifest["undelivered"] == ledger.entries("release")[0].payload["undelivered"] == ["surveys"]
    assert manifest["gate"]["passed"]
    assert {check["check"] for check in manifest["gate"]["checks"]} == {c.check for s in load_suites(deployment) for c in s.checks}
    assert manifest["previous"] is None
    assert manifest["chain"] == list_releases(deployment, ledger)[0]["manifest_hash"]
    assert (manifest["cutoff_seq"], manifest["policy_hash"], manifest["code_version"], manifest["run_id"]) == (
        seq,
        "policy",
        "0.1.0",
        "run1",
    )
    entry = list_releases(deployment, ledger)[-1]
    assert entry["manifest_hash"] == sha256_file(folder / "manifest.json")
    rows = duckdb.sql(f"select distinct period from '{folder}/fct_decisions.parquet'").fetchall()
    assert rows == [("2026-06",)]
    with (folder / "policy" / "policy_versions.csv").open(newline="") as file:
        assert [row["version"] for row in csv.DictReader(file)] == ["v1"]
    assert "select 1" in (folder / "compiled.sql").read_text()


def test_released_files_are_read_only_and_the_bi_file_holds_the_same_marts(tmp_path: Path) -> None:
    deployment, _, _ = released(tmp_path, ["2026-06"])
    folder = deployment.releases / "2026-06.r1"
    assert {path.stat().st_mode & 0o222 for path in folder.rglob("*") if path.is_file()} == {0}
    marts = sorted(path.stem for path in folder.glob("*.parquet"))
    with duckdb.connect(str(folder / "tierhouse.duckdb"), read_only=True) as con:
        assert sorted(name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()) == marts
        for mart in marts:
            differing = (
                f"(from {mart} except all from '{folder}/{mart}.parquet') union all (from '{folder}/{mart}.parquet' except all from {mart})"
            )
            assert con.execute(f"select count(*) from ({differing})").fetchall() == [(0,)]
        [(version,)] = con.execute("select tags from duckdb_databases() where database_name = 'tierhouse'").fetchall()
        assert version["storage_version"].startswith("v1.5")


def test_the_bi_file_says_what_its_tables_and_columns_are(tmp_path: Path) -> None:
    deployment, _, _ = released(tmp_path, ["2026-06"])
    with duckdb.connect(str(deployment.releases / "2026-06.r1" / "tierhouse.duckdb"), read_only=True) as con:
        columns = con.execute("select table_name, column_name, comment from duckdb_columns() where not internal").fetchall()
        tables = dict(con.execute("select table_name, comment from duckdb_tables()").fetchall())
    known = mart_descriptions()
    assert set(tables) & set(known), "the world has marts of the project"
    assert {name: text for name, text in tables.items() if name in known} == {name: known[name].text for name in tables if name in known}
    said = [(table, column, text) for table, column, text in columns if table in known and column in known[table].columns]
    assert said and said == [(table, column, known[table].columns[column]) for table, column, _ in said]
    assert not [text for mart in known.values() for text in (mart.text, *mart.columns.values()) if "{{" in text or not text]


@pytest.mark.slow
def test_what_explanations_rest_on_is_what_was_released(tmp_path: Path) -> None:
    deployment, ledger, _ = released(tmp_path, PERIODS[1:])
    name = "2026-06.r1"
    found = find_release(deployment, ledger, "2026-06", None)
    check_untouched(deployment, found)
    for file in (
        "fct_decisions.parquet",
        next((deployment.releases / name / "policy").glob("*.csv")).relative_to(deployment.releases / name),
    ):
        path = deployment.releases / name / file
        before = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(before + b"\n")
        with pytest.raises(Mismatch, match=f"was changed after it was released: {file}"):
            check_untouched(deployment, found)
        path.write_bytes(before)
    manifest = deployment.releases / name / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"0.1.0"', '"0.1.1"'), encoding="utf-8")
    with pytest.raises(Mismatch, match=r"manifest\.json"):
        check_untouched(deployment, found)


def test_the_bi_file_is_readable_by_duckdb_1_5(tmp_path: Path) -> None:
    deployment, _, _ = released(tmp_path, ["2026-06"])
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    installed = subprocess.run([str(venv / "bin" / "pip"), "install", "-q", "duckdb==1.5.*"], capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip("duckdb 1.5 cannot be installed here")
    code = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); "
        "print(duckdb.__version__, con.execute('select count(*) from fct_decisions').fetchone()[0])"
    )
    file = deployment.releases / "2026-06.r1" / "tierhouse.duckdb"
    shown = subprocess.run([str(venv / "bin" / "python"), "-c", code, str(file)], capture_output=True, text=True, check=True).stdout.split()
    assert shown[0].startswith("1.5.")
    assert shown[1] == "60"


def test_an_unchanged_candidate_makes_no_revision(tmp_path: Path) -> None:
    deployment, ledger, _ = released(tmp_path)
    before = snapshot(deployment)
    build_warehouse(deployment, PERIODS)
    plan = Plan("run2", PERIODS, cutoff_seq=7, inputs_hash="other drops")
    gated(deployment, ledger, plan)
    report = release(deployment, ledger, plan, say=silent)
    assert [(p.status, p.release) for p in report.periods] == [("unchanged", "2026-05.r1"), ("unchanged", "2026-06.r1")]
    assert not report.moved
    confirmed = [
        (e.payload["release"], e.payload["run_id"], e.payload["cutoff_seq"], e.payload["inputs_hash"])
        for e in ledger.entries("confirmation")
    ]
    assert confirmed == [("2026-05.r1", "run2", 7, "other drops"), ("2026-06.r1", "run2", 7, "other drops")]
    assert snapshot(deployment) == before


def test_rows_in_another_order_are_unchanged_and_a_changed_row_is_a_revision(tmp_path: Path) -> None:
    deployment, ledger, _ = released(tmp_path)
    build_warehouse(
        deployment,
        PERIODS,
        faults=["create or replace table marts.fct_decisions as select * from marts.fct_decisions order by subject_id desc", LATER_RULE],
    )
    plan = Plan("run2", PERIODS)
    gated(deployment, ledger, plan)
    report = release(deployment, ledger, plan, say=silent)
    assert [(p.status, p.release) for p in report.periods] == [("unchanged", "2026-05.r1"), ("released", "2026-06.r2")]
    manifest = json.loads((deployment.releases / "2026-06.r2" / "manifest.json").read_text())
    assert (manifest["revision"], manifest["previous"]) == (2, "2026-06.r1")
    assert (deployment.releases / "2026-06.r1" / "manifest.json").is_file()
    assert current_catalog(deployment) == {"catalog": 2, "periods": {"2026-05": "2026-05.r1", "2026-06": "2026-06.r2"}}


def prepared_for_refusal(folder: Path) -> tuple[Deployment, Ledger, Plan, dict[str, str]]:
    """A released catalog, and a next candidate that would be a revision."""
    deployment, ledger, _ = released(folder)
    build_warehouse(deployment, PERIODS, faults=[LATER_RULE])
    return deployment, ledger, Plan("run2", ["2026-06"]), snapshot(deployment)


@pytest.mark.parametrize("gone", ["", "manifest.json", "fct_decisions.parquet"])
def test_a_month_does_not_pass_because_the_release_of_the_month_before_is_damaged(gone: str, tmp_path: Path) -> None:
    """What compares the two months would find nobody who moved."""
    deployment, ledger, plan, _ = prepared_for_refusal(tmp_path)
    victim = deployment.releases / "2026-05.r1" / gone
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    with pytest.raises(Failed) as caught:
        gated(deployment, ledger, plan)
    assert str(victim).rstrip("/") in caught.value.where and "from a backup, or run that month" in caught.value.remedy
    assert "--periods 2026-05..2026-06" in caught.value.remedy
    assert "the gate crashed" in held(deployment, ledger, plan).what


def test_the_release_of_the_month_before_may_lack_a_column_that_came_with_a_later_version(tmp_path: Path) -> None:
    deployment, ledger, plan, _ = prepared_for_refusal(tmp_path)
    file = deployment.releases / "2026-05.r1" / "fct_decisions.parquet"
    older = tmp_path / "older.parquet"
    duckdb.sql(f"copy (select 1 as of_old, * exclude (policy_version, valid_until_period) from '{file}') to '{older}' (format parquet)")
    older.replace(file)
    gated(deployment, ledger, plan)
    assert [(p.status, p.release) for p in release(deployment, ledger, plan, say=silent).periods] == [("released", "2026-06.r2")]


def test_refused_when_the_gate_never_ran(tmp_path: Path) -> None:
    deployment, ledger, plan, before = prepared_for_refusal(tmp_path)
    record_build(ledger, "run2")
    assert "has not looked" in held(deployment, ledger, plan).what
    assert snapshot(deployment) == before


def test_refused_when_the_gate_ran_for_another_run_only(tmp_path: Path) -> None:
    deployment, ledger, _, before = prepared_for_refusal(tmp_path)
    gated(deployment, ledger, Plan("run3", ["2026-06"]))
    record_build(ledger, "run2")
    assert "has not looked" in held(deployment, ledger, Plan("run2", ["2026-06"])).what
    assert snapshot(deployment) == before


def test_refused_when_the_gate_failed(tmp_path: Path) -> None:
    deployment, ledger, plan, before = prepared_for_refusal(tmp_path)
    build_warehouse(deployment, PERIODS, faults=["delete from marts.fct_decisions where subject_id = 'c1' and period = '2026-06'"])
    gated(deployment, ledger, plan)
    assert "decisions__are_complete" in held(deployment, ledger, plan).what
    assert snapshot(deployment) == before


def test_refused_when_the_gate_crashed_after_an_earlier_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, ledger, plan, before = prepared_for_refusal(tmp_path)
    gated(deployment, ledger, plan)

    def crash(*_: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("orchestration.gate.run.run_suite", crash)
    with pytest.raises(Failed, match="boom"):
        run_gate(deployment, ledger, plan, "2026-06", say=silent, problems={})
    assert "crashed" in held(deployment, ledger, plan).what
    assert snapshot(deployment) == before


def test_refused_when_the_candidate_is_not_the_one_that_passed(tmp_path: Path) -> None:
    deployment, ledger, plan, before = prepared_for_refusal(tmp_path)
    gated(deployment, ledger, plan)
    build_warehouse(
        deployment, PERIODS, faults=["update marts.fct_decisions set level_id = 'star_6', level_rank = 6 where subject_id = 'c1'"]
    )
    assert "other rows" in held(deployment, ledger, plan).what
    assert snapshot(deployment) == before
    assert list(deployment.scratch.iterdir()) == []


@pytest.mark.parametrize("built", [False, None])
def test_refused_when_dbt_failed_or_never_ended(built: bool | None, tmp_path: Path) -> None:
    deployment, ledger, plan, before = prepared_for_refusal(tmp_path)
    gated(deployment, ledger, plan)
    if built is None:
        plan = Plan("run9", ["2026-06"])
    else:
        record_build(ledger, plan.run_id, built)
    error = held(deployment, ledger, plan)
    assert "dbt" in error.what
    assert ("tierhouse run --periods 2026-06" in error.remedy) is (built is None), "no keys lie there of a gate that was not asked"
    assert snapshot(deployment) == before


def test_a_held_period_holds_those_after_it_and_not_those_before(tmp_path: Path) -> None:
    periods = ["2026-04", "2026-05", "2026-06"]
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, periods, faults=["delete from marts.fct_decisions where subject_id = 'c1' and period = '2026-05'"])
    plan = Plan("run1", periods)
    gated(deployment, ledger, plan)
    error = held(deployment, ledger, plan)
    assert error.exit_code == 3
    assert "release of 2026-05 is held: the gate failed: " in error.what and error.where == str(deployment.gates / "2026-05" / "run1")
    assert [p["status"] for p in error.details["report"]["periods"]] == ["released", "held", "held"]
    assert current_catalog(deployment) == {"catalog": 1, "periods": {"2026-04": "2026-04.r1"}}
    build_warehouse(deployment, periods)
    later = Plan("run2", ["2026-06"])
    gated(deployment, ledger, later)
    assert "2026-05 is held" in held(deployment, ledger, later).what
    mended = Plan("run3", ["2026-05", "2026-06"])
    gated(deployment, ledger, mended)
    report = release(deployment, ledger, mended, say=silent)
    assert [p.status for p in report.periods] == ["released", "released"]


def test_a_month_that_was_tried_too_early_holds_nothing_once_the_deployment_begins_later(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, PERIODS, faults=["delete from marts.fct_decisions where subject_id = 'c1' and period = '2026-05'"])
    gated(deployment, ledger, Plan("run1", PERIODS))
    held(deployment, ledger, Plan("run1", PERIODS))
    later = Plan("run2", ["2026-06"])
    gated(deployment, ledger, later)
    assert "2026-05 is held" in held(deployment, ledger, later).what
    deployment.config = deployment.config.model_copy(update={"first_period": "2026-06"})
    assert [p.status for p in release(deployment, ledger, later, say=silent).periods] == ["released"]


@pytest.mark.parametrize("clock", ["month", "event"])
def test_no_month_is_released_on_top_of_one_that_stays_rolled_back(clock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the step of the release is executed again after a disk was full and the month that it had released was rolled back."""
    deployment, ledger = make_place(tmp_path)
    off = "insert into policy.programs values ('off', 'customer', 'month', null, false)"
    build_warehouse(deployment, ["2026-04", *PERIODS], faults=[f"update policy.programs set clock = '{clock}'", off])
    first, plan = Plan("run1", ["2026-04"]), Plan("run2", PERIODS)
    gated(deployment, ledger, first)
    release(deployment, ledger, first, say=silent)
    gated(deployment, ledger, plan)
    with monkeypatch.context() as patched, pytest.raises(Failed, match="disk is full"):
        patched.setattr("orchestration.release.publish.write_policies", full_at("2026-06"))
        release(deployment, ledger, plan, say=silent)
    rollback(deployment, ledger, None, "wrong bar", "an.operator", say=silent)
    if clock == "event":
        assert [p.status for p in release(deployment, ledger, plan, say=silent).periods] == ["rolled_back", "released"], (
            "no level is carried"
        )
        assert {entry.payload["carries_levels"] for entry in ledger.entries("release")} == {False}
        return
    before, (head, _), run = visible_releases(deployment, PERIODS), ledger.head(), Run(deployment)
    run.error = error = held(deployment, ledger, plan)
    assert "2026-06 would go on from what readers do not see: 2026-05.r1 was rolled back, and readers see nothing" in error.what
    assert "--periods 2026-05..2026-06`, which publishes 2026-05.r1 again where its rows are the same" in error.remedy
    assert [p["status"] for p in error.details["report"]["periods"]] == ["rolled_back", "held"]
    told = [(p.period, p.status) for p in outcome_of(run, PERIODS, head, before, plan.run_id).periods]
    assert told == [("2026-05", "rolled_back"), ("2026-06", "held")], "what the release confirmed is not held"
    assert current_catalog(deployment) == {"catalog": 3, "periods": {"2026-04": "2026-04.r1"}}
    corrected = Plan("run3", PERIODS, inputs_hash="other drops")
    gated(deployment, ledger, corrected)
    assert [p.status for p in release(deployment, ledger, corrected, say=silent).periods] == ["released_again", "released"]


def full_at(period: str) -> Callable[..., None]:
    """A write of policies that finds the disk full at one period."""

    def write(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
        if period in folder.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_policies(con, folder)

    return write


def test_a_full_disk_leaves_the_old_catalog_and_no_half_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, ledger, plan, before = prepared_for_refusal(tmp_path)
    gated(deployment, ledger, plan)
    entries = len(ledger.entries())

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("orchestration.release.publish.seal", full)
        with pytest.raises(Failed, match="disk is full"):
            release(deployment, ledger, plan, say=silent)
    assert snapshot(deployment) == before
    assert list(deployment.scratch.iterdir()) == []
    assert len(ledger.entries()) == entries
    assert release(deployment, ledger, plan, say=silent).periods[0].release == "2026-06.r2"


def test_recover_writes_nothing_when_nothing_was_left(tmp_path: Path) -> None:
    deployment, ledger, _ = released(tmp_path)
    before, head = snapshot(deployment), ledger.head()
    said: list[str] = []
    recover(deployment, ledger, said.append)
    assert (snapshot(deployment), ledger.head(), said) == (before, head, [])


def test_recover_in_an_empty_place_makes_nothing(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    recover(deployment, ledger, silent)
    assert list(deployment.data.iterdir()) == []
    assert current_catalog(deployment) is None
