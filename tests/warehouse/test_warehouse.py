"""Whole builds on a handful of bills: corrections, late bills, failures, and that the way there does not matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import jinja2
import pytest
import yaml

from orchestration.errors import BadInput, Busy, Failed
from orchestration.gate.run import make_candidate
from orchestration.gate.suites import load_suites
from orchestration.policy import compile_policies, load_policies, store_policies
from orchestration.warehouse import DBT_PROJECT, begin, dbt_target, finish
from orchestration.warehouse.inputs import record_applied
from orchestration.warehouse.landed import landed_at
from tests.gate.fixture_warehouse import Plan
from tests.warehouse.place import Place, call_dbt

CUSTOMERS = ["C1", "C2", "C3", "C4"]


def land_masters(place: Place) -> None:
    place.land(
        "customers",
        [
            {"customer_id": c, "valid_from_date": "2025-01-01", "brand": "easyown", "segment": "consumer", "joined_date": "2025-01-01"}
            for c in CUSTOMERS
        ]
        + [
            {
                "customer_id": "C4",
                "valid_from_date": "2025-05-10",
                "brand": "gotone",
                "joined_date": "2025-01-01",
                "left_date": "2025-05-09",
            }
        ],
    )
    place.land("lines", [{"line_id": "L3", "customer_id": "C3", "start_date": "2024-12-01", "_key": "L3"}])


def release_folder(place: Place, release: str, *files: str) -> Path:
    """The folder of a release, with a manifest that names ``files``."""
    folder = place.deployment.releases / release
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"files": {name: {} for name in files}}), encoding="utf-8")
    return folder


def first_months(place: Place) -> dict[str, str]:
    """Bills of January to May: C1 pays 100 a month, C2 exactly 80, C3 by number, C4 leaves in May."""
    files = {}
    for number, period in enumerate(["2025-01", "2025-02", "2025-03", "2025-04", "2025-05"], 1):
        rows = [place.bill(f"a{number}", "C1", period, "100"), place.bill(f"b{number}", "C2", period, "80")]
        rows.append(place.bill(f"c{number}", None, period, "50", line_id="L3", billed_at=f"{period}-28 00:00:00"))
        rows += [place.bill(f"d{number}", "C4", period, "10")] if number < 5 else []
        rows.append(place.bill(f"e{number}", None, period, "7", charge_type="parking"))
        files[period] = place.land("bill_lines", rows)
    return files


def old_bills(place: Place) -> None:
    """Charge types that nobody knows, before any window that a rule reads in 2025-06: one of these months only a rebuild has in reach."""
    for period in ("2019-01", "2024-06"):
        place.land("bill_lines", [place.bill(f"o{period}", None, period, "9", charge_type="pager")])


def unknown_charges(place: Place, period: str) -> list[tuple[str, str, int, str]]:
    """What the check's own SQL finds on the tables of a real run; the fixture of the gate's tests has tables of its own."""
    check = next(c for s in load_suites(place.deployment) for c in s.checks if c.check == "drops__charge_types_are_known")
    with duckdb.connect() as con:
        make_candidate(con, place.deployment, Plan("run1", [period]), period)
        found = con.execute(str(check.none_of)).fetchall()
    return [(kind, month, lines, str(amount)) for kind, month, lines, amount in found]


def corrections(place: Place, files: dict[str, str]) -> None:
    """June, with a last bill of C4, who has left; a line of C1 that moves from May to April; a late bill of C2 for May."""
    place.land("bill_lines", [place.bill(f"{c}6", f"C{n}", "2025-06", "80") for n, c in enumerate("abcd", 1)])
    place.land("bill_lines", [place.bill("a5", "C1", "2025-04", "100")], replaces=[(files["2025-05"], "a5", "2025-05")])
    place.land("bill_lines", [place.bill("b5x", "C2", "2025-05", "0.0010", is_credit_note=False)])


@pytest.fixture(scope="module")
def incremental(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Released month by month: March to May, then the corrections with June."""
    place = Place(tmp_path_factory.mktemp("incremental"))
    land_masters(place)
    old_bills(place)
    files = first_months(place)
    place.run("2025-03", "2025-04", "2025-05")
    corrections(place, files)
    plan = place.run("2025-04", "2025-05", "2025-06")
    place.said.append(json.dumps(plan.as_json()))
    return place


def test_only_new_and_corrected_months_are_read_and_the_result_is_that_of_a_rebuild(incremental: Place, tmp_path: Path) -> None:
    plan = json.loads(incremental.said[-1])
    assert plan["input_periods"] == ["2025-04", "2025-05", "2025-06"]
    assert plan["totals_base"] == "2025-03"

    rebuilt = Place(tmp_path)
    land_masters(rebuilt)
    old_bills(rebuilt)
    corrections(rebuilt, first_months(rebuilt))
    cold = rebuilt.run("2025-03", "2025-04", "2025-05", "2025-06")
    assert cold.totals_base is None and len(cold.input_periods) == 8
    apart = "select period from ctl.input_periods where has_bills_of_customers_alone order by 1"
    assert incremental.query(apart) == [("2025-06",)], "bills by number in every month before"
    months = ("2025-04", "2025-05", "2025-06")
    assert incremental.marts(*months) == rebuilt.marts(*months)
    assert [unknown_charges(incremental, month) for month in months] == [unknown_charges(rebuilt, month) for month in months]

    spend = dict(incremental.query("select period, spend_amount from marts.fct_customer_spend where customer_id = 'C1' order by 1"))
    assert {period: str(amount) for period, amount in spend.items()} == {"2025-04": "200.0000", "2025-05": "0.0000", "2025-06": "80.0000"}
    totals = "select customer_id, total_spend_amount from intermediate.int_customer_windows where period = '2025-06' order by 1"
    assert incremental.query(totals) == rebuilt.query(totals)
    level = "select level_id, movement, status_reason from marts.fct_decisions where program_id = 'six_star' and subject_id = 'C4' and period = '{}'"
    assert incremental.query(level.format("2025-05")) == [("star_4", "rose", None)], "GoTone from May 10 on, in service until the 9th"
    assert incremental.query(level.format("2025-06")) == [(None, "left", "not_in_service")], "a bill is no day of service"
    # 80 a month is the bar of three stars: exactly met, also with the tenth of a cent more.
    assert incremental.query("select distinct level_id from marts.fct_decisions where program_id = 'six_star' and subject_id = 'C2'") == [
        ("star_3",)
    ]


def test_money_in_is_money_decided_and_unattributed(incremental: Place) -> None:
    rows = incremental.query("select period, unattributed_amount, difference_amount, landed_amount from marts.fct_conservation order by 1")
    assert [row[2] for row in rows] == [0] * len(rows)
    assert {row[0]: str(row[1]) for row in rows}["2025-05"] == "7.0000"


def test_the_gate_finds_charge_types_that_the_policies_do_not_know_in_the_months_of_the_windows(incremental: Place) -> None:
    # The line of May came from a file of which another line was corrected.
    months = ["2025-01", "2025-02", "2025-03", "2025-04", "2025-05"]
    assert unknown_charges(incremental, "2025-06") == [("parking", month, 1, "7.0000") for month in months]
    assert unknown_charges(incremental, "2025-05") == [
        ("pager", "2024-06", 1, "9.0000"),
        *(("parking", month, 1, "7.0000") for month in months),
    ]


def test_a_month_run_again_gives_the_same_rows_and_reads_no_bills(incremental: Place) -> None:
    periods = ("2025-04", "2025-05", "2025-06")
    before = incremental.marts(*periods)
    plan = incremental.run(*periods)
    assert plan.input_periods == []
    assert incremental.marts(*periods) == before
    # Each month of the range ranks its own subjects alone, and is written once.
    target = dbt_target(incremental.deployment)
    compiled = sorted(target.glob("compiled/**/int_held_decisions_2025-0[456].sql"))
    assert [path.stem[-7:] for path in compiled] == ["2025-04", "2025-05", "2025-06"]
    for path in compiled:
        assert path.read_text().count(f"where period = '{path.stem[-7:]}'") == 1
    log = (target / "dbt.log").read_text()
    assert "create temporary view" in log and "create temporary table" not in log


def test_a_warehouse_of_an_older_version_gets_the_columns_that_its_decisions_lack(incremental: Place) -> None:
    """What makes months and windows is the same in both versions, so that the decisions of the months before stay."""
    decided = (
        "select period, count(is_amount_enough) > 0 from intermediate.int_held_decisions where period >= '2025-05' group by 1 order by 1"
    )
    enough = "select program_id, subject_id, is_amount_enough from intermediate.int_held_decisions where period = '2025-06' order by all"
    before = incremental.marts("2025-06"), incremental.query(enough)
    assert incremental.query(decided) == [("2025-05", True), ("2025-06", True)]
    with duckdb.connect(str(incremental.deployment.warehouse)) as con:
        for column in ("is_amount_enough", "previous_period_index"):
            con.execute(f"alter table intermediate.int_held_decisions drop column {column}")
    plan = incremental.run("2025-06")
    assert plan.input_periods == []
    assert incremental.query(decided) == [("2025-05", False), ("2025-06", True)], "a month is decided anew when it is run"
    assert (incremental.marts("2025-06"), incremental.query(enough)) == before


def test_a_run_that_spills_can_open_further_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt-duckdb sets its `settings` for each connection anew, and DuckDB refuses to be told its folder once something lies there."""
    monkeypatch.setenv("TIERHOUSE_WAREHOUSE", str(tmp_path / "warehouse.duckdb"))
    monkeypatch.setenv("TIERHOUSE_MEMORY_LIMIT", "100MB")
    profiles = Path(DBT_PROJECT / "profiles.yml").read_text(encoding="utf-8")
    rendered = jinja2.Template(profiles).render(env_var=lambda name, default="": os.environ.get(name, default))
    target = yaml.safe_load(rendered)["tierhouse"]["outputs"]["duckdb"]
    with duckdb.connect(target["path"], config=target["config_options"]) as con:
        con.execute("create temp table wide as select md5(cast(i as varchar)) as text from range(4000000) as numbers(i)")
        assert con.execute("select count(*) from duckdb_temporary_files()").fetchall() != [(0,)]
        for name, value in target["settings"].items():
            con.cursor().execute(f"set {name} = '{value}'")


def test_a_run_that_failed_reads_its_months_again(incremental: Place) -> None:
    incremental.land("bill_lines", [incremental.bill("a7", "C1", "2025-07", "1")])
    first = incremental.prepare("2025-07")
    finish(incremental.deployment, incremental.ledger, first, ok=False, message="stopped", say=incremental.said.append)
    assert incremental.prepare("2025-07").input_periods == first.input_periods == ["2025-07"]
    record_applied(incremental.deployment, first)
    assert incremental.prepare("2025-07").input_periods == []
    last = incremental.ledger.last("build")
    assert last is not None and last.payload["ok"] is False and last.payload["message"] == "stopped"


def test_a_month_that_a_failed_run_has_made_is_read_again_though_it_is_made_from_the_same_as_before(tmp_path: Path) -> None:
    """The number was given to somebody else and back again, and only the run between has looked: its rows are still there."""
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill("a", None, "2025-01", "1", line_id="L1")])
    holder = {"line_id": "L1", "customer_id": "C1", "start_date": "2024-12-01", "_key": "L1"}
    first = place.land("lines", [holder])
    applied = place.prepare("2025-01")
    with duckdb.connect(str(place.deployment.warehouse)) as con:
        con.execute("create table intermediate.int_customer_months (period_index integer)")
    record_applied(place.deployment, applied)
    assert place.prepare("2025-01").input_periods == []
    second = place.land("lines", [holder | {"customer_id": "C2"}], replaces=[(first, "L1", "")])
    failed = place.prepare("2025-01")
    assert failed.input_periods == ["2025-01"]
    finish(place.deployment, place.ledger, failed, ok=False, message="stopped", say=place.said.append)
    place.land("lines", [holder], replaces=[(second, "L1", "")])
    again = place.prepare("2025-01")
    assert again.input_periods == ["2025-01"] and again.period_digests == applied.period_digests


def test_an_open_complaint_is_read_however_long_ago_it_was_made(tmp_path: Path) -> None:
    """A month that is run alone reads what it would read as part of a range, which reaches further back."""
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill(month, "C1", month, "1") for month in ("2024-01", "2025-12")])
    place.land("complaints", [{"complaint_id": "K1", "customer_id": "C1", "opened_at": "2019-05-01 00:00:00", "state": "open"}])
    place.prepare("2025-12")
    assert place.query("select complaint_id from landing.complaints") == [("K1",)]


def test_the_unit_tests_of_the_models_pass(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill("a", "C1", "2025-01", "1")])
    place.prepare("2025-01")
    policies = load_policies(place.deployment)
    with duckdb.connect(str(place.deployment.warehouse)) as con:
        # Every metric of the seeds is proven, not only those that an enabled program uses; decisions are those of six_star alone, so
        # that a unit test can list all rows.
        alone = replace(policies, programs={name: replace(p, enabled=name == "six_star") for name, p in policies.programs.items()})
        decisions = {"decisions": compile_policies(alone)["decisions"]}
        store_policies(con, policies, compile_policies(policies, metrics=policies.metrics.values()) | decisions)
    range_of_time = ["--event-time-start", "2025-01-01", "--event-time-end", "2025-02-01"]
    call_dbt(place.deployment, ["run", "--empty", *range_of_time])
    told = call_dbt(place.deployment, ["test", "--selector", "unit"])
    assert any("PASS=" in line and "ERROR=0" in line for line in told.splitlines())


def test_keys_are_unique(incremental: Place) -> None:
    keys = {
        "intermediate.int_customer_months": "customer_id, period_index",
        "intermediate.int_landed_charges": "period, charge_type",
        "intermediate.int_customer_windows": "customer_id, period",
        "intermediate.int_customer_metrics": "customer_id, period",
        "marts.fct_decisions": "program_id, subject_type, subject_id, period",
        "marts.fct_customer_spend": "customer_id, period",
    }
    for table, key in keys.items():
        assert incremental.query(f"select {key} from {table} group by {key} having count(*) > 1") == [], table


def test_a_period_without_bills_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with pytest.raises(BadInput):
        place.prepare("2025-01")
    assert not place.deployment.warehouse.exists()


def test_what_dbt_reads_is_that_of_the_run_though_nothing_is_new(tmp_path: Path) -> None:
    """As when a released month is materialized in the Dagster UI, or after a drop of which no row landed."""
    place = Place(tmp_path)
    land_masters(place)
    first_months(place)
    plan = place.prepare("2025-03")
    place.ledger.append("release", {"release": "2025-03.r1", "period": "2025-03", "rows": {}, **plan.as_json()})
    release_folder(place, "2025-03.r1")
    place.ledger.append("catalog", {"catalog": 1, "periods": {"2025-03": "2025-03.r1"}})
    place.prepare("2025-04", "2025-05")
    again = place.prepare("2025-03")
    assert again.nothing_new
    assert place.query("select period from ctl.target_periods") == [("2025-03",)]
    assert place.query("select run_id from ctl.run") == [(again.run_id,)]


def test_a_month_that_is_computed_again_as_asked_goes_on_from_what_readers_see_alone(tmp_path: Path) -> None:
    """As one that is launched in the Dagster UI, where nothing is new."""
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill(month, "C1", f"2025-0{month}", "100") for month in "1234"])
    months = {}
    for month in ("2025-02", "2025-03"):
        plan = place.prepare(month)
        begin(place.ledger, plan)
        months[month] = f"{month}.r1"
        release_folder(place, f"{month}.r1")
        place.ledger.append("release", {"release": f"{month}.r1", "period": month, "rows": {}, **plan.as_json()})
    place.ledger.append("catalog", {"catalog": 1, "periods": months})
    assert place.prepare("2025-03").nothing_new
    place.ledger.append("catalog", {"catalog": 2, "periods": {"2025-03": "2025-03.r1"}})
    with pytest.raises(BadInput, match=r"2025-03 would go on from what readers do not see: 2025-02\.r1 was rolled back"):
        place.prepare("2025-03")
    assert place.prepare("2025-02", "2025-03").nothing_new, "February stays rolled back, and March as it is"
    with pytest.raises(BadInput, match="2025-03 would go on from what readers do not see"):
        place.prepare("2025-03", "2025-04")
    with pytest.raises(BadInput, match="2025-04 would go on from"):
        place.ledger.append("catalog", {"catalog": 3, "periods": {"2025-02": "2025-02.r1"}})
        place.prepare("2025-03", "2025-04")
    place.ledger.append("catalog", {"catalog": 4, "periods": months})
    begin(place.ledger, replace(place.prepare("2025-02"), run_id="killed"))
    with pytest.raises(BadInput, match="2025-03 would go on from rows that were never released"):
        place.prepare("2025-03")


def test_other_measures_make_every_month_again(incremental: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert incremental.prepare("2025-06").input_periods == []
    monkeypatch.setattr("orchestration.warehouse.plan.months_code", lambda: "other code")
    plan = incremental.prepare("2025-06")
    assert plan.input_periods[0] == "2019-01" and plan.totals_base is None
    assert incremental.query("select count(*) from duckdb_tables() where table_name = 'int_customer_months'") == [(0,)]


def test_an_open_warehouse_is_busy(incremental: Place) -> None:
    holder = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(incremental.deployment.warehouse)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(Busy, match="open"):
            incremental.prepare("2025-06")
        other.communicate()


def test_points_are_read_for_the_months_that_a_window_in_use_reaches(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill("a", "C1", "2025-01", "1")])
    rows = [{"customer_id": "C1", "period": p, "points_type": "base", "points": 1} for p in ("2023-12", "2024-01", "2024-12", "2025-01")]
    place.land("points", rows)
    plan = place.prepare("2025-01")
    assert plan.points_periods == ["2024-01", "2024-12"], "the rules ask for last calendar year"
    assert place.query("select period, _period_index from landing.points order by 1") == [("2024-01", 24288), ("2024-12", 24299)]


def test_a_plan_names_what_no_source_delivers_though_it_had_landed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill("a", "C1", "2025-01", "1")])
    place.land("prospects", [{"prospect_id": "P1", "valid_from_date": "2025-01-01"}])
    assert place.prepare("2025-01").undelivered == ["customer_potentials", "customer_purchases", "prospects", "receptions"]


def test_a_change_of_holders_changes_the_months_with_bills_by_number_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.land("bill_lines", [place.bill("a", "C1", "2025-01", "1")])
    place.land("bill_lines", [place.bill("b", None, "2025-02", "1", line_id="L1"), place.bill("c", "C1", "2025-02", "1")])

    def digests() -> dict[str, str]:
        return landed_at(place.deployment, place.ledger, place.ledger.head()[0]).period_digests("2025-02")

    place.land("lines", [{"line_id": "L1", "customer_id": "C1", "start_date": "2024-12-01", "_key": "L1"}])
    before = digests()
    place.land("lines", [{"line_id": "L1", "customer_id": "C2", "start_date": "2025-02-10", "_key": "L1b"}])
    after = digests()
    assert [period for period in after if after[period] != before[period]] == ["2025-02"]
    place.land("lines", [{"line_id": "L9", "customer_id": "C9", "start_date": "2024-12-01", "_key": "L9"}])
    assert digests() == after, "no bill names that number"


def test_a_number_that_was_lent_changes_the_months_after_it_was_given_back(tmp_path: Path) -> None:
    """Whoever took it over ended the interval before, which has no end of its own: in March it is nobody's."""
    place = Place(tmp_path)
    months = ["2025-01", "2025-02", "2025-03"]
    place.land("bill_lines", [place.bill(month, None, month, "1", line_id="L1", billed_at=f"{month}-15 00:00:00") for month in months])
    place.land("lines", [{"line_id": "L1", "customer_id": "C1", "start_date": "2024-12-01", "_key": "L1"}])

    def digests() -> dict[str, str]:
        return landed_at(place.deployment, place.ledger, place.ledger.head()[0]).period_digests(months[-1])

    before = digests()
    lent = {"line_id": "L1", "customer_id": "C2", "start_date": "2025-02-01", "end_date": "2025-02-28", "_key": "L1b"}
    place.land("lines", [lent])
    after = digests()
    assert [month for month in months if after[month] != before[month]] == ["2025-02", "2025-03"]


def test_changes_of_level_in_earlier_months_are_those_that_readers_see(tmp_path: Path) -> None:
    """Of March the second revision was rolled back, April was never released, and a year ago is too long ago."""
    place = Place(tmp_path)
    for release, level in (("2024-05.r1", 1), ("2025-03.r1", 2), ("2025-03.r2", 3)):
        folder = release_folder(place, release, "fct_tier_movements.parquet")
        moved = (
            f"'six_star' as program_id, 'customer' as subject_type, 'C' as subject_id, '{release[:7]}' as period, 'cap' as movement_cause"
        )
        ranks = f"{level}::integer as to_level_rank, 5::integer as from_level_rank"
        duckdb.execute(f"copy (select {moved}, {ranks}) to '{folder}/fct_tier_movements.parquet' (format parquet)")
        place.ledger.append("release", {"run_id": "r", "period": release[:7], "release": release, "rows": {}})
    place.ledger.append("catalog", {"catalog": 1, "periods": {"2024-05": "2024-05.r1", "2025-03": "2025-03.r1"}})
    place.land("bill_lines", [place.bill("b", "C", "2025-05", "10")])
    place.prepare("2025-05")
    assert place.query("select subject_id, period, level_rank, previous_level_rank from ctl.released_movements") == [("C", "2025-03", 2, 5)]
    (place.deployment.releases / "2025-03.r1" / "fct_tier_movements.parquet").unlink()
    with pytest.raises(Failed, match="the released file is gone"):
        place.prepare("2025-05")
