"""The summary of a run names every program with its levels, and what a program lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from orchestration.channels import load_contracts
from orchestration.cli.base import Context
from orchestration.cli.levels import level_counts, not_evaluated, print_levels, programs_of
from orchestration.cli.summary import print_outcome, print_unattributed, unattributed
from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.errors import BadInput
from orchestration.wiring.launch import PeriodOutcome
from tests.audit.wide_release import PERIOD, RELEASE, WideRelease, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WideRelease:
    return make(tmp_path_factory.mktemp("summary") / "wide")


def _told(wide: WideRelease, capsys: pytest.CaptureFixture[str], keep: set[str] | None = None) -> str:
    context = Context(False, str(wide.deployment.folder))
    releases = {PERIOD: RELEASE}
    programs = [p for p in programs_of(context, releases) if keep is None or p.program_id in keep]
    print_levels(context, programs, level_counts(context, releases), not_evaluated(context, releases))
    return capsys.readouterr().out


def test_every_program_is_named_with_its_levels_in_few_lines(made: WideRelease, capsys: pytest.CaptureFixture[str]) -> None:
    text = _told(made, capsys)
    context = Context(False, str(made.deployment.folder))
    assert [p.program_id for p in programs_of(context, {PERIOD: RELEASE}) if f"({p.program_id})" not in text] == []
    assert "Customer pyramid (customer_pyramid), 2026-06: VIP 1; Major 1; Ordinary 3; Small, low profit 4; Small, bad credit 0" in text
    assert f"rose/fell: {PERIOD} 0/0" in text
    assert len(text.splitlines()) < 4 * 12


def test_money_of_no_customer_is_told_for_each_period_that_has_some(
    made: WideRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path))
    context = Context(False, str(made.deployment.folder))
    releases = {"2026-05": "2026-05.r1", "2026-06": "2026-06.r2", "2026-04": "2026-04.r1"}
    for period, amount in (("2026-05", "0"), ("2026-06", "900.5")):
        folder = tmp_path / "releases" / releases[period]
        folder.mkdir(parents=True)
        row = f"'{period}' as period, {amount}::decimal(38,4) as unattributed_amount, 1050.5::decimal(38,4) as landed_amount"
        duckdb.sql(f"copy (select {row}) to '{folder}/fct_conservation.parquet' (format parquet)")
    found = unattributed(context, releases)
    assert found == [{"period": "2026-06", "unattributed_amount": "900.5000", "landed_amount": "1050.5000"}]
    print_unattributed(context, found)
    assert capsys.readouterr().out == "2026-06: 900.50 of 1,050.50 CNY belong to no customer\n"


def test_subjects_without_a_level_are_told_with_the_reason(made: WideRelease, capsys: pytest.CaptureFixture[str]) -> None:
    text = _told(made, capsys)
    assert "Service staff grades (staff_grade), 2026-06: 1 staff not evaluated: needs staff_satisfaction_3m" in text
    assert "Relation (relation), 2026-06: 1 prospect not evaluated: no rule holds" in text


def test_a_program_that_graded_nobody_says_what_it_needs(
    made: WideRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with duckdb.connect() as con:
        con.execute(f"create table d as select * from read_parquet('{made.file}') where program_id <> 'reception'")
        con.execute(
            "update d set status = 'not_evaluated', status_reason = 'needs surveys', level_id = null where program_id = 'vip_score'"
        )
        con.execute(f"copy d to '{tmp_path}/d.parquet' (format parquet)")
    monkeypatch.setattr("orchestration.cli.levels._files", lambda *_: [f"{tmp_path}/d.parquet"])
    text = _told(made, capsys)
    assert "VIP composite score (vip_score), 2026-06: not evaluated: needs surveys" in text
    assert "Reception grade (reception): nobody to grade in these periods" in text


def test_earlier_months_in_which_a_program_graded_nobody_say_why(
    made: WideRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest month has levels: that those before it have none stood in no line."""
    months = {month: tmp_path / f"{month}.parquet" for month in ("2026-03", "2026-04", "2026-05")}
    for month, file in months.items():
        reason = "needs points" if month == "2026-03" else "no policy version holds for the period"
        none = f"'{month}' as period, 'not_evaluated' as status, '{reason}' as status_reason, null::varchar as level_id"
        select = f"select * replace ({none}) from read_parquet('{made.file}') where program_id = 'six_star'"
        duckdb.sql(f"copy ({select}) to '{file}' (format parquet)")
    monkeypatch.setattr("orchestration.cli.levels._files", lambda _, releases: [str(months.get(p, made.file)) for p in releases])
    context = Context(False, str(made.deployment.folder))
    releases = {**dict.fromkeys(months, "r"), PERIOD: RELEASE}
    programs = [p for p in programs_of(context, releases) if p.program_id == "six_star"]
    print_levels(context, programs, level_counts(context, releases), not_evaluated(context, releases))
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [
        "Six-star rating (six_star), 2026-03: not evaluated: needs points",
        "Six-star rating (six_star), 2026-04..2026-05: not evaluated: no policy version holds for the period",
    ]


def test_a_single_program_is_shown_month_by_month(made: WideRelease, capsys: pytest.CaptureFixture[str]) -> None:
    text = _told(made, capsys, {"six_star"})
    assert "Six-star rating (six_star): customers per level" in text
    assert "Five stars" in text and "joined" in text


def test_a_channel_whose_program_grades_no_customers_is_refused_at_load(tmp_path: Path) -> None:
    folder = tmp_path / "telecom"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", folder)
    (folder / "policies").mkdir()
    text = (PROJECT_ROOT / "seeds" / "channels.csv").read_text(encoding="utf-8")
    changed = text.replace("hotline,1,Hotline,客服热线,six_star", "hotline,1,Hotline,客服热线,staff_grade")
    (folder / "policies" / "channels.csv").write_text(changed, encoding="utf-8")
    deployment = load_deployment(folder)
    with pytest.raises(BadInput, match="'staff_grade' grades staff") as err:
        load_contracts(deployment)
    assert "row 3, column program_id" in str(err.value)
    assert [c.channel_id for c in load_contracts(load_deployment())] == ["hotline", "store_queue"]


def _checked(name: str, severity: str, passed: bool) -> dict[str, object]:
    keys = None if passed else f"gates/2026-05/run/{name}.csv"
    counts = {"failing_rows": int(not passed), "failing_keys_file": keys}
    return {"check": name, "severity": severity, "passed": passed, "observed": "o", "expected": "e", **counts}


def test_a_failed_check_shows_its_first_rows_and_a_warning_is_no_reason_why_a_month_is_held(
    made: WideRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path))
    context = Context(False, str(made.deployment.folder))
    folder = tmp_path / "gates" / "2026-05" / "run"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text('period,problem,since\n2026-05,"no total, for \x1b[1mbills",\n' + "2026-05,more,\n" * 3, encoding="utf-8")
    for period, passed in (("2026-05", False), ("2026-06", True)):
        context.ledger.append("gate", {"period": period, "passed": passed})
    print_outcome(context, PeriodOutcome("2026-05", "held", None, [_checked("a", "invariant", False), _checked("b", "warning", False)]))
    print_outcome(context, PeriodOutcome("2026-06", "held", None, [_checked("a", "invariant", True), _checked("b", "warning", False)]))
    assert capsys.readouterr().out.splitlines() == [
        "2026-05: held; gate: 0 of 2 checks passed",
        f"    failed a: 1 failing row, observed o, expected e; keys in {folder / 'a.csv'}",
        "      period 2026-05, problem no total, for \\x1b[1mbills",
        *["      period 2026-05, problem more"] * 2,
        f"    warning b: 1 failing row, observed o, expected e; keys in {folder / 'b.csv'}",
        "2026-06: held; gate: 1 of 2 checks passed",
        "    held because 2026-05 is held",
        f"    warning b: 1 failing row, observed o, expected e; keys in {folder / 'b.csv'}",
    ]
