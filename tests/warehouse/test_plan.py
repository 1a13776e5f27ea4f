"""Which months a run reads again, what its windows reach, and when there is nothing new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.deployment import DEFAULT_DEPLOYMENT, load_deployment
from orchestration.errors import BadInput
from orchestration.ledger.readers import begins_anew, held_periods
from orchestration.ledger.store import Ledger
from orchestration.periods import period_from_index, period_index, periods_between
from orchestration.policy import load_policies
from orchestration.policy.used import months_of_charge_types
from orchestration.warehouse import RunPlan, begin, dbt_args
from orchestration.warehouse.database import Carried, carried_levels, lost_periods
from orchestration.warehouse.plan import code_version, months_code, window_months
from orchestration.warehouse.planning import (
    check_levels_go_on,
    check_no_run_was_broken_off,
    check_periods,
    check_readers_see_what_is_read,
    choose_base,
    extra_windows,
    news,
    released_decisions,
    released_programs,
    stale_periods,
    unsettled,
)

LANDED = ["2025-01", "2025-02", "2025-03"]


def plan_of(*periods: str, **more: object) -> RunPlan:
    base = {"input_periods": [], "cutoff_seq": 1, "policy_hash": "p", "inputs_hash": "i", "code_version": "c", "nothing_new": False}
    return RunPlan(run_id="r", periods=list(periods), **(base | more))  # type: ignore[arg-type]


def test_charge_types_matter_in_the_months_of_the_windows_that_ask_for_them() -> None:
    metrics = load_policies(load_deployment(DEFAULT_DEPLOYMENT)).metrics
    months = range(period_index("2020-01"), period_index("2025-12") + 1)

    def reached(*names: str) -> list[str]:
        found = months_of_charge_types([metrics[name] for name in names], period_index("2025-06"), months)
        return [period_from_index(month) for month in sorted(found)]

    assert reached("spend_3m_amount", "key_roles_60m", "base_points_last_year", "service_12m_months") == ["2025-04", "2025-05", "2025-06"]
    assert reached("active_6m_months")[0] == "2025-01"
    total = reached("spend_3m_amount", "spend_total_amount")
    assert (total[0], total[-1], len(total)) == ("2020-01", "2025-06", 66)
    assert reached("key_roles_60m") == []


def test_periods_without_bills_are_refused() -> None:
    check_periods(["2025-02", "2025-03"], "2025-01", LANDED)
    for periods, named in ((["2025-04"], "2025-04"), (["2024-12"], "2024-12"), (["2025-01"], "first_period is 2025-02")):
        with pytest.raises(BadInput, match=named):
            check_periods(periods, "2025-02", LANDED)


def test_a_range_with_a_hole_is_refused() -> None:
    with pytest.raises(BadInput, match="do not follow"):
        check_periods(["2025-01", "2025-03"], "2025-01", LANDED)


def go_on(period: str, released: dict[str, list[str]], first: str = "2025-01", **carried: tuple[str, bool]) -> str:
    """What a run of ``period`` to 2025-09 is refused with; nothing if it is not."""
    try:
        check_levels_go_on([period, "2025-09"], first, released, {program: Carried(*found) for program, found in carried.items()})
    except BadInput as refused:
        return f"{refused.what}. {refused.remedy}"
    return ""


def test_a_month_that_is_left_out_is_refused_with_the_range_to_run() -> None:
    released = {"six_star": ["2025-02", "2025-03"], "vip": ["2025-03"]}
    kept = {"six_star": ("2025-03", True), "vip": ("2025-03", True)}
    assert go_on("2025-04", released, **kept) == ""
    refused = go_on("2025-06", released, **kept)
    assert "2025-06 would begin all levels anew: 2025-04 to 2025-05 are not decided" in refused
    assert "tierhouse run --periods 2025-04..2025-09" in refused
    assert "2025-04 is not decided" in go_on("2025-05", released, **kept)


def test_a_month_that_begins_anew_by_right_is_not_refused() -> None:
    assert go_on("2025-06", {}) == "", "nothing is released"
    assert go_on("2025-02", {"six_star": ["2025-04"]}, six_star=("2025-04", True)) == "", "earlier than all that is released"
    assert go_on("2025-06", {"six_star": ["2025-02"]}, first="2025-06", six_star=("2025-02", True)) == "", "no month before it can be run"
    assert go_on("2025-06", {"six_star": ["2025-02"]}, six_star=("2025-03", False)) == "", "the last subject has left"


def test_a_program_that_was_off_for_a_month_is_named() -> None:
    released = {"six_star": ["2025-03", "2025-04"], "vip": ["2025-03"]}
    refused = go_on("2025-05", released, six_star=("2025-04", True), vip=("2025-03", True))
    assert "would begin the levels of vip anew: 2025-04 is not decided" in refused and "--periods 2025-04..2025-09" in refused


def test_released_months_that_the_warehouse_lost_are_run_again_first() -> None:
    refused = go_on("2025-05", {"six_star": ["2025-02", "2025-03", "2025-04"]})
    assert "2025-02 to 2025-04" in refused and "--periods 2025-02..2025-09" in refused
    assert "--periods 2025-03..2025-09" in go_on("2025-05", {"six_star": ["2025-03", "2025-04"]}, first="2025-03")


def test_a_first_period_that_was_moved_behind_released_months_begins_no_level_anew() -> None:
    """The warehouse was deleted since, as its error says what is to be done where it is damaged."""
    released = {"six_star": ["2025-02", "2025-03", "2025-04"]}
    assert go_on("2025-05", released, first="2025-05", six_star=("2025-04", True)) == "", "the warehouse holds the month before"
    for period in ("2025-05", "2025-06"):
        refused = go_on(period, released, first="2025-05")
        assert "2025-02 to 2025-0" in refused and "tierhouse run --periods 2025-02..2025-09" in refused
        assert "first_period in tierhouse.yaml, now 2025-05, must be 2025-02 or earlier" in refused
    assert go_on("2025-07", released, first="2025-07") == "", "a line was drawn after a month that was never released"


def goes_on(period: str, computed: dict[str, str], seen: dict[str, str], *new: str) -> str:
    """What a run of ``period`` to 2025-09 is refused with; nothing if it is not. ``new``: see the check."""
    back = {month: (release, seen.get(month)) for month, release in computed.items() if release != seen.get(month)}
    try:
        check_readers_see_what_is_read(periods_between(period, "2025-09"), back, new)
    except BadInput as refused:
        return f"{refused.what}. {refused.remedy}"
    return ""


def test_a_month_that_would_go_on_from_one_that_was_rolled_back_is_refused_with_the_range_to_run() -> None:
    computed = {"2025-02": "2025-02.r1", "2025-03": "2025-03.r2", "2025-04": "2025-04.r1"}
    assert goes_on("2025-05", computed, computed) == ""
    refused = goes_on("2025-05", computed, {"2025-02": "2025-02.r1"})
    assert "2025-04.r1 was rolled back, and readers see nothing of 2025-04" in refused
    assert "tierhouse run --periods 2025-03..2025-09" in refused and "with 2025-04.r1" in refused
    refused = goes_on("2025-04", computed, {**computed, "2025-03": "2025-03.r1"})
    assert "2025-03.r2 was rolled back, and readers see 2025-03.r1" in refused and "--periods 2025-03..2025-09" in refused


def test_a_month_of_the_run_that_stays_rolled_back_is_one_that_no_later_month_goes_on_from() -> None:
    computed = {"2025-02": "2025-02.r1", "2025-03": "2025-03.r1", "2025-04": "2025-04.r1"}
    seen = {"2025-02": "2025-02.r1"}
    assert goes_on("2025-03", computed, seen) == "", "nothing is new for any of them, and nothing is released"
    assert goes_on("2025-03", computed, seen, "2025-03", "2025-04", "2025-05") == "", "both are released again"
    refused = goes_on("2025-03", computed, seen, "2025-05")
    assert "2025-05 would go on from what readers do not see: 2025-04.r1 was rolled back" in refused
    assert "tierhouse run --periods 2025-03..2025-09" in refused
    assert "2025-04 would go on" in goes_on("2025-03", computed, seen, "2025-04", "2025-05")


def test_a_month_before_one_that_was_rolled_back_is_none_of_the_next_run() -> None:
    computed = {"2025-03": "2025-03.r2", "2025-04": "2025-04.r1"}
    assert goes_on("2025-05", computed, {"2025-03": "2025-03.r1", "2025-04": "2025-04.r1"}) == "", "April is seen as it was computed"
    assert goes_on("2025-03", computed, {}) == "", "nothing before it was ever released"


def test_the_warehouse_says_which_month_of_a_program_is_its_newest(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    assert carried_levels(file, "2025-04", {"a"}) == {}
    rows = [("a", "2025-04", "x", None), ("b", "2025-03", None, "x"), ("b", "2025-02", "x", "x"), ("c", "2025-03", None, None)]
    rows += [("d", "2025-05", "x", "x")]
    with duckdb.connect(str(file)) as con:
        con.execute("create schema intermediate")
        con.execute(
            "create table intermediate.int_held_decisions (program_id varchar, period_index integer, level_id varchar, held_level_id varchar)"
        )
        for program, period, level, held in rows:
            con.execute("insert into intermediate.int_held_decisions values (?, ?, ?, ?)", [program, period_index(period), level, held])
    found = {"a": Carried("2025-04", True), "b": Carried("2025-03", True), "c": Carried("2025-03", False)}
    assert carried_levels(file, "2025-04", {"a", "b", "c", "d"}) == found
    assert carried_levels(file, "2025-04", set()) == {}


def test_a_month_does_not_go_on_from_a_run_that_ended_before_its_release(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def built(run_id: str, *periods: str) -> None:
        ledger.append("build", {"run_id": run_id, "ok": True, "periods": list(periods), "input_periods": [], "message": ""})

    built("r0", "2025-01")
    check_no_run_was_broken_off(["2025-02"], ledger)  # nothing was ever released: February begins anew
    ledger.append("release", {"run_id": "r0", "period": "2025-01", "release": "2025-01.r1"})
    check_no_run_was_broken_off(["2025-02"], ledger)
    built("r1", "2025-01", "2025-02", "2025-03")
    ledger.append("gate", {"run_id": "r1", "period": "2025-01", "passed": True})
    ledger.append("confirmation", {"run_id": "r1", "period": "2025-01", "release": "2025-01.r1"})
    check_no_run_was_broken_off(["2025-02", "2025-03"], ledger)
    with pytest.raises(BadInput, match="2025-04 would go on") as caught:
        check_no_run_was_broken_off(["2025-04"], ledger)
    assert caught.value.remedy == "run `tierhouse run --periods 2025-02..2025-04`"
    ledger.append("gate", {"run_id": "r1", "period": "2025-02", "passed": False})
    ledger.append("gate", {"run_id": "r1", "period": "2025-03", "passed": True})
    check_no_run_was_broken_off(["2025-04"], ledger)  # held: the gate stops what comes after it
    built("r2", "2025-02")
    ledger.append("release", {"run_id": "r2", "period": "2025-02", "release": "2025-02.r1"})
    check_no_run_was_broken_off(["2025-03"], ledger)
    with pytest.raises(BadInput) as caught:
        check_no_run_was_broken_off(["2025-04"], ledger)  # March went on from what was held
    assert caught.value.remedy == "run `tierhouse run --periods 2025-03..2025-04`"
    built("r3", "2025-02", "2025-03")
    for period in ("2025-02", "2025-03"):
        ledger.append("release", {"run_id": "r3", "period": period, "release": f"{period}.r1"})
    check_no_run_was_broken_off(["2025-04"], ledger)


def test_a_month_begins_anew_where_no_month_before_it_was_ever_released(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    begin(ledger, replace(plan_of("2025-01", "2025-02"), run_id="killed"))
    ledger.append("release", {"run_id": "r", "period": "2025-06", "release": "2025-06.r1"})
    assert begins_anew(ledger, "2025-03") and not begins_anew(ledger, "2025-07")
    check_no_run_was_broken_off(["2025-03"], ledger)


def test_a_month_that_was_held_before_the_first_period_holds_nothing_unless_months_were_released_before_it(tmp_path: Path) -> None:
    """Who has tried a month too early moves first_period; who would go round a hold with it is refused."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.append("gate", {"run_id": "r", "period": "2025-02", "passed": False})
    assert held_periods(ledger) == held_periods(ledger, "2025-02") == ["2025-02"]
    assert held_periods(ledger, "2025-03") == []
    ledger.append("release", {"run_id": "r", "period": "2025-03", "release": "2025-03.r1"})
    assert held_periods(ledger, "2025-03") == []
    ledger.append("release", {"run_id": "s", "period": "2025-01", "release": "2025-01.r1"})
    assert held_periods(ledger, "2025-03") == ["2025-02"]


def test_a_month_does_not_go_on_from_a_run_that_was_killed_while_dbt_wrote(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    released = {"period": "2025-01", "release": "2025-01.r1"}
    begin(ledger, replace(plan_of("2025-01"), run_id="r1"))
    ledger.append("build", {"run_id": "r1", "ok": True, "periods": ["2025-01"], "input_periods": [], "message": ""})
    ledger.append("release", {"run_id": "r1", **released})
    check_no_run_was_broken_off(["2025-02"], ledger)
    begin(ledger, replace(plan_of("2025-01"), run_id="r1"), ["dim_levels", "int_customer_months"])
    check_no_run_was_broken_off(["2025-02"], ledger)  # no month reads what another month has of these
    begin(ledger, replace(plan_of("2025-01"), run_id="r1"), [])
    check_no_run_was_broken_off(["2025-02"], ledger)  # the tests of dbt alone
    for run_id, models in (("r1", None), ("r2", None), ("r3", ["int_held_decisions"])):
        begin(ledger, replace(plan_of("2025-01"), run_id=run_id), models)
        with pytest.raises(BadInput, match="the last computation of 2025-01 ended before its release"):
            check_no_run_was_broken_off(["2025-02"], ledger)
        ledger.append("confirmation", {"run_id": run_id, **released})
        check_no_run_was_broken_off(["2025-02"], ledger)


def test_released_programs_are_those_that_readers_see(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert released_programs(ledger) == {}
    for release, programs in (("2025-01.r1", ["a/v1", "b/v1"]), ("2025-02.r1", ["a/v1"]), ("2025-02.r2", ["a/v1", "b/v1"])):
        ledger.append("release", {"release": release, "period": release[:7], "policies": dict.fromkeys(programs, "hash")})
    ledger.append("catalog", {"catalog": 1, "periods": {"2025-01": "2025-01.r1", "2025-02": "2025-02.r1"}})
    assert released_programs(ledger) == {"a": ["2025-01", "2025-02"], "b": ["2025-01"]}


def test_nothing_landed_is_refused() -> None:
    with pytest.raises(BadInput, match="no bill lines have landed"):
        check_periods(["2025-01"], "2025-01", [])


def test_only_months_made_from_other_rows_are_read_again() -> None:
    assert stale_periods({"2025-01": "a", "2025-02": "b", "2025-03": "c"}, {"2025-01": "a", "2025-02": "x"}) == ["2025-02", "2025-03"]


def test_totals_are_carried_from_the_newest_month_that_no_change_touches() -> None:
    assert choose_base(["2025-01", "2025-02", "2025-03"], "2025-03") == "2025-02"
    assert choose_base(["2025-03"], "2025-03") is None


def test_the_month_before_is_carried_anew_where_a_correction_overtook_it() -> None:
    assert extra_windows(["2025-06"], "2025-05") == []
    assert extra_windows(["2025-06"], "2025-04") == ["2025-05"]
    assert extra_windows(["2025-06"], None) == []


def test_windows_reach_all_months_without_a_base_and_two_calendar_years_with_one() -> None:
    cold = [month for _, _, month in window_months(plan_of("2025-06", first_landed_period="2020-01"))]
    assert (min(m for m in cold if m > 0), max(cold)) == (period_index("2020-01"), period_index("2025-06"))
    warm = [month for _, _, month in window_months(plan_of("2025-06", first_landed_period="2020-01", totals_base="2025-05"))]
    assert (min(m for m in warm if m > 0), max(warm)) == (period_index("2023-07"), period_index("2025-06"))
    assert -1 in cold and -1 in warm


def test_the_range_of_event_time_excludes_its_end() -> None:
    args = dbt_args(plan_of("2025-11", "2025-12"))
    assert args[args.index("--event-time-start") + 1] == "2025-11-01"
    assert args[args.index("--event-time-end") + 1] == "2026-01-01"
    assert "--vars" not in args


def test_a_plan_survives_json() -> None:
    plan = plan_of("2025-01", period_digests={"2025-01": "x"})
    assert RunPlan.from_json(plan.as_json()) == plan


def test_nothing_is_new_only_if_every_period_was_released_from_the_same(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def why(inputs: str = "i", policy: str = "p", code: str = "c", undelivered: tuple[str, ...] = ("staff",)) -> list[str]:
        made_from = {"inputs_hash": inputs, "policy_hash": policy, "code_version": code, "undelivered": list(undelivered)}
        found = {**unsettled(ledger, ["2025-01"]), **news(ledger, ["2025-01"], made_from, ledger.head()[0])}
        return list(found.values())

    made = {"release": "2025-01.r1", "period": "2025-01", "inputs_hash": "i", "policy_hash": "p", "code_version": "c"}
    made["undelivered"] = ["staff"]
    assert "not released" in why()[0]
    ledger.append("release", made)
    assert "not released" in why()[0], "a release that no catalog names is not visible"
    ledger.append("catalog", {"catalog": 1, "periods": {"2025-01": "2025-01.r1"}})
    assert why() == []
    assert "drops" in why(inputs="other")[0]
    assert "policies" in why(policy="other")[0]
    assert "code" in why(code="other")[0]
    assert "mappings deliver other entities than at its release (points)" in why(undelivered=("points", "staff"))[0]
    ledger.append("release", made | {"release": "2025-01.r2", "inputs_hash": "j"})
    assert why() == [], "the newest visible release counts"
    ledger.append("gate", {"period": "2025-01", "run_id": "r", "passed": False})
    assert "held since its release" in why()[0], "what was changed and held, and is changed back: later months wait for it"
    ledger.append("gate", {"period": "2025-01", "run_id": "s", "passed": True})
    assert why() == []
    ledger.append("confirmation", made | {"inputs_hash": "k"})
    assert why(inputs="k") == [], "a run that found the same rows in newer drops need not be done again"
    begin(ledger, replace(plan_of("2025-01"), run_id="t"), ["dim_levels"])
    assert why(inputs="k") == [], "the rows that the month after it reads are those that were released"
    begin(ledger, replace(plan_of("2025-01"), run_id="t"))
    assert why(inputs="k") == ["it was computed since its release, and its rows were never released"]
    ledger.append("confirmation", made | {"inputs_hash": "k", "run_id": "t"})
    assert why(inputs="k") == []


def test_a_month_is_computed_again_where_the_month_before_was_released_anew_since(tmp_path: Path) -> None:
    """As after a late bill of May that the run of June has read, too: for June nothing is new but the levels of May."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    seen: dict[str, str] = {}

    def computed(run_id: str, *releases: str, kind: str = "release", **more: Any) -> None:
        for release in releases:
            seen[release[:7]] = release
            ledger.append(kind, {"period": release[:7], "release": release, "run_id": run_id, **more})
        ledger.append("catalog", {"catalog": 1, "periods": seen})

    def behind() -> list[str]:
        assert set(unsettled(ledger, list(seen)).values()) <= {"the month before it has been released anew since"}
        return list(unsettled(ledger, list(seen)))

    computed("r1", "2026-05.r1", "2026-06.r1")
    computed("r2", "2026-07.r1")
    assert behind() == []
    computed("r3", "2026-05.r1", kind="confirmation")
    assert behind() == [], "it has the rows that it had"
    computed("r4", "2026-05.r2")
    assert behind() == ["2026-06"]
    computed("r5", "2026-06.r1", kind="confirmation")
    assert behind() == [], "what May has become changes nothing in June, and so nothing in July"
    computed("r6", "2026-06.r2")
    assert behind() == ["2026-07"]
    computed("r7", "2026-06.r1", kind="confirmation")
    computed("r7", "2026-07.r2")
    assert behind() == []
    computed("r8", "2026-04.r1")
    assert behind() == ["2026-05"], "a month before all others began levels that May goes on from"
    computed("r9", "2026-05.r3", carries_levels=False)
    assert behind() == ["2026-06"], "where all programs grade events a month goes on from none"
    computed("r10", "2026-04.r2")
    assert behind() == ["2026-06"]


def test_released_months_that_the_warehouse_lacks_are_lost(tmp_path: Path) -> None:
    ledger, path = Ledger(tmp_path / "ledger.sqlite"), tmp_path / "warehouse.duckdb"
    for period, rows in (("2025-01", 5), ("2025-02", 5), ("2025-03", 0)):
        ledger.append("release", {"release": f"{period}.r1", "period": period, "rows": {"fct_decisions": rows}})
    assert released_decisions(ledger, ["2025-01"]) == [], "no catalog names it"
    ledger.append("catalog", {"catalog": 1, "periods": {period: f"{period}.r1" for period in ("2025-01", "2025-02", "2025-03")}})
    released = released_decisions(ledger, ["2025-01", "2025-02", "2025-03", "2025-04"])
    assert released == ["2025-01", "2025-02"], "a month without any decision has none to lose"
    assert lost_periods(path, released) == released
    with duckdb.connect(str(path)) as con:
        con.execute("create schema intermediate")
    assert lost_periods(path, released) == released
    with duckdb.connect(str(path)) as con:
        con.execute("create table intermediate.int_held_decisions as select 24301 as period_index")
    assert lost_periods(path, released) == ["2025-01"]
    assert lost_periods(path, []) == []


@pytest.mark.parametrize(
    "file",
    ["models/staging/stg_x.sql", "dbt_project/macros/x.sql", "orchestration/warehouse/inputs.py", "orchestration/warehouse/landed.py"],
)
def test_the_code_version_follows_the_code_wherever_the_project_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """Also in a folder called ``target``, as dbt's own."""
    root = tmp_path / "target" / "tierhouse"
    for folder in ("models/staging", "dbt_project/macros", "orchestration/policy", "orchestration/warehouse"):
        (root / folder).mkdir(parents=True)
    monkeypatch.setattr("orchestration.warehouse.plan.PROJECT_ROOT", root)
    seen = set()
    for text in ("select 1", "select 2"):
        (root / file).write_text(text)
        seen.add((code_version(), months_code()))
    assert len({version for version, _ in seen}) == len({months for _, months in seen}) == 2


@pytest.mark.parametrize("module", ["plan", "planning"])
def test_the_code_version_follows_what_chooses_the_months_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """A run of a released month would say that nothing is new, though it would read months that it left out."""
    monkeypatch.setattr("orchestration.warehouse.plan.PROJECT_ROOT", tmp_path)
    (tmp_path / "orchestration" / "warehouse").mkdir(parents=True)
    seen = set()
    for text in ("select 1", "select 2"):
        (tmp_path / "orchestration" / "warehouse" / f"{module}.py").write_text(text)
        seen.add((code_version(), months_code()))
    assert len({version for version, _ in seen}) == 2 and len({months for _, months in seen}) == 1, "no month is read again for it"


def test_the_code_version_follows_the_settings_of_the_dbt_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another value of `flapping_changes` is another mart; a run of a released month said that nothing is new."""
    monkeypatch.setattr("orchestration.warehouse.plan.PROJECT_ROOT", tmp_path)
    (tmp_path / "dbt_project").mkdir()
    seen = set()
    for changes in (2, 3):
        (tmp_path / "dbt_project" / "dbt_project.yml").write_text(f"vars: {{flapping_changes: {changes}}}")
        seen.add((code_version(), months_code()))
    assert len({version for version, _ in seen}) == 2 and len({months for _, months in seen}) == 1, "no month is read again for it"
