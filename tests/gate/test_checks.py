"""Every check of expectations/ is seen failing, with all failing keys in its file; without a fault all of them pass."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.deployment import Deployment
from orchestration.gate import GateResult, run_gate
from orchestration.gate.run import make_candidate
from orchestration.gate.suites import load_suites
from orchestration.ledger import Ledger
from tests.gate.fixture_warehouse import Plan, build_warehouse, make_place, record_build, silent

PERIODS = ["2026-05", "2026-06"]
PREFIXES = ("", "held_", "qualified_")


def levels_become(rank: str) -> str:
    """SET clause that makes ``rank`` the shown, held and qualified level alike."""
    return ", ".join(f"{prefix}level_id = 'star_' || ({rank}), {prefix}level_rank = {rank}" for prefix in PREFIXES)


MARCH_OF_LEVELS = levels_become("level_rank % 6 + 1")
# SET clause beside one of a new level: the month before showed the old one.
HAS_RISEN = "previous_level_id = level_id, movement = 'rose'"


def movements_by(cause: str, period: str) -> str:
    """INSERT of the movements of whoever has another level than before; ``cause`` as SQL over the decisions."""
    return f"""insert into marts.fct_tier_movements
        select program_id, subject_type, subject_id, period, previous_level_id, level_id, 'rose', {cause}
        from marts.fct_decisions where period = '{period}' and previous_level_id <> level_id"""


# Subject c6 has level 1, c12 too; c1 … c5 have the levels 2 … 6.
SET_C6 = "update marts.fct_decisions set level_id = 'star_5', level_rank = 5, set_level_rank = 5, steps = '[{\"step\":\"set\",\"to\":\"star_5\"}]' where subject_id = 'c6' and period = '2026-06'"
HELD_UNTIL_JULY = "update marts.fct_decisions set valid_until_period = '2026-07', review = 'held'"


def nomination(**changed: str) -> str:
    """INSERT of an override of c6 that counts in June 2026, but for what is ``changed``; values as SQL."""
    row = {
        "nomination_id": "'N1'", "program_id": "'six_star'", "subject_id": "'c6'", "kind": "'set'", "level_id": "'star_5'", "requester_id": "'A'",
        "approver_id": "'B'", "approved_date": "date '2026-06-30'", "start_date": "date '2026-06-30'", "end_date": "date '2026-06-30'",
    } | changed  # fmt: skip
    return f"insert into landing.nominations ({', '.join(row)}) values ({', '.join(row.values())})"


# check → (faults in the warehouse, number of failing keys or None where it is not a number of subjects)
WAREHOUSE_FAULTS: dict[str, tuple[list[str], int | None]] = {
    "decisions__keys_are_present": (
        ["update marts.fct_decisions set subject_type = null where subject_id in ('c1', 'c2', 'c3') and period = '2026-06'"],
        3,
    ),
    "decisions__keys_are_unique": (
        ["insert into marts.fct_decisions select * from marts.fct_decisions where subject_id in ('c4', 'c5') and period = '2026-06'"],
        2,
    ),
    "decisions__are_not_empty": (
        [
            """insert into policy.programs values ('five_star', 'group', 'month', null, true), ('off', 'group', 'month', null, false),
            ('grade', 'staff', 'month', null, true), ('nearness', 'prospect', 'month', null, true)""",
            "insert into intermediate.int_group_metrics values ('g1', '2026-06', true), ('g2', '2026-06', true)",
            "insert into intermediate.int_staff_metrics values ('s1', '2026-06', true)",
            "insert into intermediate.int_prospect_metrics values ('p1', '2026-06', true)",
        ],
        3,
    ),
    "decisions__status_is_known": (
        ["update marts.fct_decisions set status = 'perhaps', status_reason = 'x' where subject_id = 'c6' and period = '2026-06'"],
        1,
    ),
    "decisions__level_belongs_to_program": (
        [
            f"update marts.fct_decisions set {changed} where subject_id = 'c{n}' and period = '2026-06'"
            for n, changed in enumerate(
                [
                    *(f"{prefix}level_id = 'star_9'" for prefix in PREFIXES),
                    *(f"{prefix}level_rank = {prefix}level_rank + 1" for prefix in PREFIXES),
                ],
                1,
            )
        ],
        6,
    ),
    "levels__are_the_held_one_as_covered": (
        [
            "update marts.fct_decisions set cap_level_rank = 2 where subject_id in ('c1', 'c2') and period = '2026-06'",
            "update marts.fct_decisions set at_least_level_rank = 3 where subject_id in ('c6', 'c3') and period = '2026-06'",
            "update marts.fct_decisions set held_level_id = 'star_6', held_level_rank = 6 where subject_id = 'c12' and period = '2026-06'",
            SET_C6.replace("level_rank = 5, set_", "level_rank = 5 - 1, set_")
            .replace("c6", "c18")
            .replace("'star_5', level_rank", "'star_4', level_rank"),
            nomination(subject_id="'c18'"),
            nomination(kind="'at_least'", level_id="'star_3'"),
            nomination(kind="'at_least'", level_id="'star_3'", subject_id="'c3'"),
        ],
        4,
    ),
    "levels__are_what_the_last_step_says": (
        [
            SET_C6.replace('"to":"star_5"', '"to":"star_4"'),
            SET_C6.replace('"}]', '"}').replace("c6", "c12"),
            SET_C6.replace("c6", "c18"),
            *(nomination(subject_id=f"'{subject}'") for subject in ("c6", "c12", "c18")),
        ],
        2,
    ),
    "overrides__are_approved": (
        [SET_C6, "update marts.fct_decisions set at_least_level_rank = 1 where subject_id = 'c12' and period = '2026-06'"],
        2,
    ),
    "validity__is_kept": (
        [
            "update policy.policy_versions set validity_months = 12",
            HELD_UNTIL_JULY,
            "update marts.fct_decisions set valid_until_period = '2026-05' where subject_id = 'c4' and period = '2026-05'",
            "update marts.fct_decisions set valid_until_period = '2026-06' where subject_id = 'c9' and period = '2026-05'",
            f"update marts.fct_decisions set {levels_become('1')} where subject_id in ('c3', 'c4', 'c9') and period = '2026-06'",
            f"update marts.fct_decisions set {levels_become('6')} where subject_id = 'c1' and period = '2026-06'",
        ],
        2,
    ),
    "decisions__decided_have_a_level": (
        [
            f"update marts.fct_decisions set {changed} where subject_id = 'c{n}' and period = '2026-06'"
            for n, changed in enumerate(
                [
                    *(f"{column} = null" for column in ("matched_rule_id", "level_id", "held_level_id", "qualified_level_id")),
                    "status = 'not_evaluated', level_id = null",
                    "status = 'out_of_scope', status_reason = 'shown all the same'",
                ],
                1,
            )
        ],
        6,
    ),
    # Whoever lacks an input is not meant.
    "decisions__a_rule_decides": (
        [
            f"""update marts.fct_decisions set status = 'not_evaluated', status_reason = '{reason}', level_id = null, level_rank = null
            where subject_id = '{subject}' and period = '2026-06'"""
            for subject, reason in (("c1", "no rule holds"), ("c2", "several rules hold: unique allows one"), ("c3", "needs points"))
        ],
        2,
    ),
    # More than the 20 that Great Expectations would list.
    "decisions__are_complete": (
        ["delete from marts.fct_decisions where cast(substr(subject_id, 2) as integer) <= 45 and period = '2026-06'"],
        45,
    ),
    # Not approved by somebody else, not at all, not begun, ended, and not there; v7 is sound.
    "decisions__policy_is_approved": (
        [
            "update policy.policy_versions set approver = 'Owner '",
            """insert into policy.policy_versions by name select 'six_star' as program_id, * from (values
                ('v2', '2026-06', null, 'owner', null), ('v3', '2026-06', null, 'owner', ' '), ('v4', '2026-07', null, 'owner', 'approver'),
                ('v5', '2020-01', '2026-05', 'owner', 'approver'), ('v7', '2026-06', '2026-06', 'owner', 'approver')
            ) as t (version, valid_from_period, valid_to_period, author, approver)""",
            "update marts.fct_decisions set policy_version = 'v' || (1 + cast(substr(subject_id, 2) as integer) % 7)",
        ],
        6,
    ),
    "money__is_conserved": (["update marts.fct_conservation set decided_amount = decided_amount - 0.0001 where period = '2026-06'"], 1),
    "tags__keys_are_present": (
        [
            "update marts.fct_customer_tags set customer_id = null where customer_id = 'c25' and period = '2026-06'",
            "update marts.fct_customer_tags set tag_id = null where customer_id = 'c35' and period = '2026-06'",
        ],
        2,
    ),
    "tags__keys_are_unique": (
        ["insert into marts.fct_customer_tags select * from marts.fct_customer_tags where customer_id = 'c25' and period = '2026-06'"],
        1,
    ),
    "tags__are_defined": (["delete from policy.tags where tag_id = 'rent_ends'"], 1),
    "tags__expire_after_the_period_began": (
        [
            f"update marts.fct_customer_tags set expires_date = {date} where customer_id = '{customer}' and period = '2026-06'"
            for customer, date in (("c25", "'2026-05-31'"), ("c35", "null"), ("c45", "'2026-06-01'"))
        ],
        2,
    ),
    "movement__no_program_stops_deciding": (
        [
            """update marts.fct_decisions set status = 'not_evaluated', status_reason = 'needs points', level_id = null, level_rank = null,
            qualified_level_id = null, qualified_level_rank = null, matched_rule_id = null, steps = '[{"step":"scope","from":null,"to":null,"why":"x"}]'
            where period = '2026-06' and cast(substr(subject_id, 2) as integer) <= 4"""
        ],
        1,
    ),
    "movement__is_within_budget": (
        [f"update marts.fct_decisions set {MARCH_OF_LEVELS} where cast(substr(subject_id, 2) as integer) <= 24 and period = '2026-06'"],
        24,
    ),
    "movement__outside_budget_is_small": (
        [
            f"update marts.fct_decisions set policy_version = 'v2', {MARCH_OF_LEVELS}, {HAS_RISEN} where period = '2026-06'",
            "insert into policy.policy_versions values ('six_star', 'v2', '2026-06', null, 'owner', 'approver', null, null, null)",
            movements_by("'policy'", "2026-06"),
        ],
        1,
    ),
    # One subject moved without a cause, one has a cause and did not move, one has two: the counts are off by two.
    "movement__causes_add_up": (
        [
            "update marts.fct_decisions set movement = 'joined' where subject_id in ('c1', 'c3') and period = '2026-06'",
            """insert into marts.fct_tier_movements
            select 'six_star', 'customer', unnest(['c2', 'c3', 'c3']), '2026-06', null, 'star_1', 'joined', 'joined'""",
        ],
        4,
    ),
    # In reach are January to June 2026.
    "drops__charge_types_are_known": (
        [
            """insert into intermediate.int_landed_charges values ('2026-06', 'slice', 12.5, 3), ('2026-01', 'slice', -1, 1),
            ('2025-12', 'pager', 9, 1), ('2026-07', 'later', 9, 1)"""
        ],
        2,
    ),
    "nominations__name_a_known_level": (
        [
            nomination(nomination_id="'N2'", level_id="'star_9'", approver_id="null", approved_date="null"),
            nomination(nomination_id="'N3'", program_id="'seven_star'"),
            nomination(nomination_id="'N4'", level_id="'star_9'", start_date="date '2026-05-01'", end_date="date '2026-05-31'"),
            nomination(nomination_id="'N5'", level_id="'star_9'", start_date="date '2026-07-01'", end_date="date '2026-07-31'"),
            nomination(),
        ],
        2,
    ),
    "levels__have_not_drifted": (
        [f"update marts.fct_decisions set {levels_become('6')} where period = '2026-06' and level_rank > 2"],
        None,
    ),
}
OTHER_FAULTS = {"candidate__was_built", "period__is_closed", "drops__bad_share_is_within_limit", "drops__rows_balance"}


def gate_of(
    folder: Path,
    faults: list[str],
    *,
    problems: dict[str, list[Any]] | None = None,
    built: bool | None = True,
    periods: list[str] = PERIODS,
    limits: dict[str, float] | None = None,
) -> tuple[GateResult, Deployment, Ledger]:
    deployment, ledger = make_place(folder, **limits or {})
    build_warehouse(deployment, periods, faults=faults)
    plan = Plan("run1", periods)
    # What failed is a build that was executed again after one that ended well.
    for ended_well in {None: [], True: [True], False: [True, False]}[built]:
        record_build(ledger, "run1", ended_well)
    result = run_gate(deployment, ledger, plan, periods[-1], say=silent, problems=problems or {})
    return result, deployment, ledger


def failed(result: GateResult) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in result.checks if not check["passed"]}


def keys(deployment: Deployment, check: dict[str, Any]) -> list[dict[str, str]]:
    with (deployment.data / check["failing_keys_file"]).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sound_candidate_passes_every_check(tmp_path: Path) -> None:
    result, deployment, ledger = gate_of(tmp_path, [])
    assert failed(result) == {}
    assert result.passed
    every = [(suite.suite, check.check) for suite in load_suites(deployment) for check in suite.checks]
    assert [(c["suite"], c["check"]) for c in result.checks] == every
    entry = ledger.last("gate")
    assert entry is not None
    assert entry.payload["passed"] and entry.payload["candidate_hash"] == result.candidate_hash
    assert json.loads(result.path.read_text())["passed"] is True


def test_every_check_has_a_test_in_which_it_fails(tmp_path: Path) -> None:
    deployment, _ = make_place(tmp_path)
    assert {check.check for suite in load_suites(deployment) for check in suite.checks} == set(WAREHOUSE_FAULTS) | OTHER_FAULTS


@pytest.mark.parametrize("check", sorted(WAREHOUSE_FAULTS))
def test_check_fails_and_lists_all_failing_keys(check: str, tmp_path: Path) -> None:
    faults, expected_rows = WAREHOUSE_FAULTS[check]
    result, deployment, ledger = gate_of(tmp_path, faults)
    found = failed(result)
    assert check in found
    assert result.passed is (found[check]["severity"] == "warning" and len(found) == 1)
    listed = keys(deployment, found[check])
    assert len(listed) == found[check]["failing_rows"] > 0
    if expected_rows is not None:
        assert len(listed) == expected_rows
    entry = ledger.last("gate")
    assert entry is not None
    assert entry.payload["passed"] is result.passed


@pytest.mark.parametrize(
    "changed",
    [
        {"approver_id": "'A'"},
        {"approver_id": "' ａ'"},
        {"approver_id": "null", "approved_date": "null"},
        {"approved_date": "date '2026-07-01'"},
        {"start_date": "date '2026-07-01'", "end_date": "date '2026-12-31'"},
        {"start_date": "date '2026-01-01'", "end_date": "date '2026-05-31'"},
        {"end_date": "null"},
        {"kind": "'at_least'"},
        {"level_id": "'star_4'"},
        {"subject_id": "'c12'"},
    ],
    ids=lambda changed: "_".join(changed),
)
def test_an_override_counts_only_as_approved_by_someone_else_and_while_in_force(changed: dict[str, str], tmp_path: Path) -> None:
    result, _, _ = gate_of(tmp_path, [SET_C6, nomination(**changed)])
    assert set(failed(result)) == {"overrides__are_approved"}


def test_levels_that_are_covered_pass_with_their_steps(tmp_path: Path) -> None:
    result, _, _ = gate_of(tmp_path, [SET_C6, nomination()])
    assert failed(result) == {}


@pytest.mark.parametrize(
    "given_up", ["update policy.policy_versions set validity_months = null", "delete from marts.dim_levels where level_id = 'star_4'"]
)
def test_a_level_may_fall_where_the_program_has_given_up_its_validity(given_up: str, tmp_path: Path) -> None:
    faults, _ = WAREHOUSE_FAULTS["validity__is_kept"]
    result, _, _ = gate_of(tmp_path, [*faults, given_up])
    assert "validity__is_kept" not in failed(result)


def test_a_program_whose_subjects_the_deployment_lacks_holds_nothing_up(tmp_path: Path) -> None:
    result, _, _ = gate_of(tmp_path, ["insert into policy.programs values ('five_star', 'group', 'month', null, true)"])
    assert failed(result) == {}


def test_a_program_that_has_ended_holds_nothing_up_unless_it_feeds_a_channel(tmp_path: Path) -> None:
    """A successor that was forgotten looks the same: nobody is to lose the levels of a feed by it."""
    faults, _ = WAREHOUSE_FAULTS["movement__no_program_stops_deciding"]
    ended = "update policy.policy_versions set valid_to_period = '2026-05'"
    result, _, _ = gate_of(tmp_path / "fed", [*faults, ended])
    assert "movement__no_program_stops_deciding" in failed(result)
    result, _, _ = gate_of(tmp_path / "apart", [*faults, ended, "delete from policy.channels"])
    assert "movement__no_program_stops_deciding" not in failed(result)
    result, _, _ = gate_of(tmp_path / "goes_on", [*faults, "delete from policy.channels"])
    assert "movement__no_program_stops_deciding" in failed(result)


def test_of_events_those_who_had_one_are_complete(tmp_path: Path) -> None:
    programs = "insert into policy.programs values ('upgrade', 'customer', 'event', 'applications', true), ('vip', 'reception', 'event', 'receptions', true)"
    receptions = "insert into intermediate.int_reception_metrics values ('R1', '2026-06', true), ('R0', '2026-05', true)"
    steps = "insert into intermediate.int_application_states values ('upgrade', 'c1', '2026-06', true), ('upgrade', 'c2', '2026-06', false)"
    result, deployment, _ = gate_of(tmp_path, [programs, receptions, steps])
    found = failed(result)
    assert set(found) == {"decisions__are_complete", "decisions__are_not_empty"}
    assert {(row["program_id"], row["subject_id"]) for row in keys(deployment, found["decisions__are_complete"])} == {
        ("vip", "R1"),
        ("upgrade", "c1"),
    }


def test_events_have_no_movement_budget(tmp_path: Path) -> None:
    faults, _ = WAREHOUSE_FAULTS["movement__is_within_budget"]
    result, _, _ = gate_of(tmp_path, [*faults, "update policy.programs set clock = 'event', event_entity = 'applications'"])
    assert failed(result) == {}


@pytest.mark.parametrize("built", [None, False])
def test_a_candidate_that_dbt_did_not_finish_fails(built: bool | None, tmp_path: Path) -> None:
    result, _, _ = gate_of(tmp_path, [], built=built)
    assert set(failed(result)) == {"candidate__was_built"}
    assert not result.passed


@pytest.mark.parametrize(
    ("problems", "check"),
    [
        ({"2026-06": ["billing: 1 of 2 promised files for 2026-06 are there"]}, "period__is_closed"),
        ({"*": ["crm: a control total does not agree"]}, "period__is_closed"),
        ({"2026-06": ["billing/bill_lines: 3.1 % of the rows are bad in x.csv (allowed: 2 %)"]}, "drops__bad_share_is_within_limit"),
    ],
)
def test_an_open_period_fails(problems: dict[str, list[Any]], check: str, tmp_path: Path) -> None:
    result, deployment, _ = gate_of(tmp_path, [], problems=problems)
    found = failed(result)
    assert set(found) == {check}
    assert keys(deployment, found[check])[0]["problem"] == next(iter(problems.values()))[0]


def test_a_problem_of_another_period_does_not_fail_this_one(tmp_path: Path) -> None:
    result, _, _ = gate_of(tmp_path, [], problems={"2026-05": ["one file is missing"]})
    assert result.passed


def test_a_file_whose_rows_do_not_add_up_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "source": "billing",
        "entity": "bill_lines",
        "file": "a.csv",
        "rows_in": 10,
        "landed": 8,
        "quarantined": 1,
        "superseded": 0,
        "agrees": False,
    }
    monkeypatch.setattr("orchestration.gate.drops.balance", lambda ledger, upto_seq: [row])
    result, deployment, _ = gate_of(tmp_path, [])
    found = failed(result)
    assert set(found) == {"drops__rows_balance"}
    assert keys(deployment, found["drops__rows_balance"])[0]["file"] == "a.csv"


UNKNOWN_CHARGES = WAREHOUSE_FAULTS["drops__charge_types_are_known"][0]


def test_an_unknown_charge_type_is_listed_with_its_months_lines_and_amount_and_may_be_approved(tmp_path: Path) -> None:
    result, deployment, _ = gate_of(tmp_path, UNKNOWN_CHARGES)
    check = failed(result)["drops__charge_types_are_known"]
    assert (check["severity"], result.passed) == ("approvable", False)
    assert keys(deployment, check) == [
        {"charge_type": "slice", "period": "2026-01", "landed_line_count": "1", "landed_amount": "-1.0000"},
        {"charge_type": "slice", "period": "2026-06", "landed_line_count": "3", "landed_amount": "12.5000"},
    ]


@pytest.mark.parametrize("mended", ["insert into policy.charge_types values ('slice', false)", "delete from ctl.charge_periods"])
def test_a_charge_type_that_is_listed_or_that_no_metric_asks_for_holds_nothing(mended: str, tmp_path: Path) -> None:
    result, _, _ = gate_of(tmp_path, [*UNKNOWN_CHARGES, mended])
    assert failed(result) == {}


def test_nominations_for_what_the_policies_do_not_have_are_listed_by_their_id(tmp_path: Path) -> None:
    result, deployment, _ = gate_of(tmp_path, WAREHOUSE_FAULTS["nominations__name_a_known_level"][0])
    listed = keys(deployment, failed(result)["nominations__name_a_known_level"])
    assert [(row["nomination_id"], row["problem"]) for row in listed] == [
        ("N2", "the program has no such level"),
        ("N3", "there is no such program"),
    ]
    assert set(listed[0]) == {"nomination_id", "program_id", "level_id", "problem"}


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        ({}, set()),
        ({"rows": 61}, {"money__is_conserved"}),
        ({"amount": "1780.0001"}, {"money__is_conserved"}),
        ({"superseded": {"2026-06": {"rows": 1, "amount": "20"}}}, {"money__is_conserved"}),
        ({"superseded": {"2026-05": {"rows": 1, "amount": "20"}}}, set()),
        ({"cutoff": 0}, set()),
    ],
)
def test_the_money_of_the_warehouse_is_what_the_ledger_recorded(recorded: dict[str, Any], found: set[str], tmp_path: Path) -> None:
    """Sixty bills of 0 to 60, together 1780; what landed after the cut-off is no matter."""
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, PERIODS)
    record_build(ledger, "run1")
    part = {"path": "p", "period": "2026-06", "rows": recorded.get("rows", 60), "amount": recorded.get("amount", "1780.0000")}
    gone = recorded.get("superseded", {})
    supersedes = {"path": None, "rows": len(gone), "by_file": {}, "by_period": gone, "periods": list(gone)}
    counts = {"rows_in": 60, "landed": 60, "quarantined": 0, "not_for_entity": 0, "unattributed": 0, "identical": 0, "reasons": {}}
    counts |= {"amount_in": "1", "amount_landed": "1", "amount_quarantined": "0", "amount_unattributed": "0"}
    drop = {"source": "s", "entity": "bill_lines", "file": "f", "file_id": "f", "parts": [part], "supersedes": supersedes, **counts}
    seq = ledger.append("drop_landed", {**drop, "rows_in": part["rows"]}).seq
    plan = Plan("run1", PERIODS, cutoff_seq=recorded.get("cutoff", seq))
    result = run_gate(deployment, ledger, plan, "2026-06", say=silent, problems={})
    assert set(failed(result)) == found


def test_movement_is_not_budgeted_for_the_first_period(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, ["2026-06"])
    record_build(ledger, "run1")
    result = run_gate(deployment, ledger, Plan("run1", ["2026-06"]), "2026-06", say=silent, problems={})
    assert result.passed


def test_movement_among_a_few_subjects_is_shown_and_holds_nothing(tmp_path: Path) -> None:
    few = "delete from marts.fct_decisions where cast(substr(subject_id, 2) as integer) > 20"
    others = "delete from intermediate.int_customer_metrics where cast(substr(customer_id, 2) as integer) > 20"
    result, _, _ = gate_of(tmp_path, [few, others, f"update marts.fct_decisions set {MARCH_OF_LEVELS} where period = '2026-06'"])
    assert result.passed and set(failed(result)) == {"movement__outside_budget_is_small"}


def test_a_level_put_between_others_moves_nobody(tmp_path: Path) -> None:
    """The ranks that the month before was released with are no ranks of today."""
    lower = "update marts.fct_decisions set level_rank = level_rank - 1 where period = '2026-05'"
    moved = "update marts.fct_decisions set level_id = 'star_1', level_rank = 1 where period = '2026-06' and subject_id = 'c1'"
    result, _, _ = gate_of(tmp_path, [lower, moved])
    observed = next(c["observed"] for c in result.checks if c["check"] == "movement__is_within_budget")
    assert "(0 up, 1 down)" in observed


def test_movement_of_a_new_policy_is_counted_apart(tmp_path: Path) -> None:
    faults, _ = WAREHOUSE_FAULTS["movement__outside_budget_is_small"]
    result, _, _ = gate_of(tmp_path, faults)
    assert result.passed, "a warning does not hold"
    observed = next(c["observed"] for c in result.checks if c["check"] == "movement__is_within_budget")
    assert "0.0 % moved" in observed and "60 of these by the policy and not in the share" in observed


def test_with_a_new_policy_what_else_moved_is_held_to_the_budget(tmp_path: Path) -> None:
    """Forty of sixty moved by their spend in the month of the new version, and twenty by it."""
    faults = [
        f"update marts.fct_decisions set policy_version = 'v2', {MARCH_OF_LEVELS}, {HAS_RISEN} where period = '2026-06'",
        "insert into policy.policy_versions values ('six_star', 'v2', '2026-06', null, 'owner', 'approver', null, null, null)",
        movements_by("case when cast(substr(subject_id, 2) as integer) <= 20 then 'policy' else 'new_spend' end", "2026-06"),
    ]
    result, deployment, _ = gate_of(tmp_path, faults)
    assert not result.passed
    found = failed(result)
    assert set(found) == {"movement__is_within_budget"}
    assert {row["subject_id"] for row in keys(deployment, found["movement__is_within_budget"])} == {f"c{n}" for n in range(21, 61)}


CAPPED = "insert into policy.caps values ('six_star', '{}', 'bad_credit', 'star_3', 'credit_class', '=', 'bad')"
V2 = "insert into policy.policy_versions values ('six_star', '{}', '2026-06', null, 'owner', 'approver', {}, {}, null)"


@pytest.mark.parametrize(
    ("what", "cause", "terms", "by_policy"),
    [
        ("a new cap", "cap", [V2.format("v2", "null", "null"), CAPPED.format("v2")], 60),
        ("a cap fewer", "cap", [V2.format("v2", "null", "null"), CAPPED.format("v1")], 60),
        ("the same caps", "cap", [V2.format("v2", "null", "null"), CAPPED.format("v1"), CAPPED.format("v2")], 0),
        ("another validity beside the same caps", "cap", [V2.format("v2", "3", "null"), CAPPED.format("v1"), CAPPED.format("v2")], 0),
        ("another validity", "validity", [V2.format("v2", "3", "null")], 60),
        ("a grace", "validity", [V2.format("v2", "null", "1")], 60),
        ("the same terms, written out", "validity", [V2.format("v2", "0", "0"), CAPPED.format("v2")], 0),
        ("another reason", "new_spend", [V2.format("v2", "3", "1"), CAPPED.format("v2")], 0),
    ],
)
def test_what_caps_and_terms_of_a_new_version_moved_is_counted_apart(
    what: str, cause: str, terms: list[str], by_policy: int, tmp_path: Path
) -> None:
    becomes = f"update marts.fct_decisions set policy_version = 'v2', {MARCH_OF_LEVELS}, {HAS_RISEN} where period = '2026-06'"
    result, _, _ = gate_of(tmp_path, [becomes, *terms, movements_by(f"'{cause}'", "2026-06")])
    assert ("movement__is_within_budget" in failed(result)) == (by_policy == 0), what
    observed = next(c["observed"] for c in result.checks if c["check"] == "movement__is_within_budget")
    assert (f"{by_policy} of these by the policy and not in the share" in observed) == (by_policy > 0)


def test_a_cap_of_the_version_that_was_is_held_to_the_budget(tmp_path: Path) -> None:
    faults = [
        f"update marts.fct_decisions set {MARCH_OF_LEVELS}, {HAS_RISEN} where period = '2026-06'",
        CAPPED.format("v1"),
        movements_by("'cap'", "2026-06"),
    ]
    assert "movement__is_within_budget" in failed(gate_of(tmp_path, faults)[0])


@pytest.mark.parametrize(
    ("cause", "found"),
    [("policy", set()), ("new_spend", {"movement__is_within_budget", "levels__have_not_drifted"})],
)
def test_with_a_new_policy_levels_drift_by_what_it_did_not_move(cause: str, found: set[str], tmp_path: Path) -> None:
    """All above two stars become six: half of them all."""
    faults = [
        f"update marts.fct_decisions set {levels_become('6')}, {HAS_RISEN} where period = '2026-06' and level_rank in (3, 4, 5)",
        "update marts.fct_decisions set policy_version = 'v2' where period = '2026-06'",
        "insert into policy.policy_versions values ('six_star', 'v2', '2026-06', null, 'owner', 'approver', null, null, null)",
        movements_by(f"'{cause}'", "2026-06"),
    ]
    assert set(failed(gate_of(tmp_path, faults)[0])) == found


@pytest.mark.parametrize(
    ("cause", "found"),
    [("points", {"movement__outside_budget_is_small"}), ("new_spend", {"movement__is_within_budget"})],
)
def test_in_january_what_points_moved_is_counted_apart_and_nothing_else(cause: str, found: set[str], tmp_path: Path) -> None:
    faults = [
        f"update marts.fct_decisions set {MARCH_OF_LEVELS}, {HAS_RISEN} where period = '2026-01'",
        movements_by(f"'{cause}'", "2026-01"),
    ]
    result, _, _ = gate_of(tmp_path, faults, periods=["2025-12", "2026-01"])
    assert set(failed(result)) == found
    assert result.passed == (cause == "points")
    observed = next(c["observed"] for c in result.checks if c["check"] == "movement__is_within_budget")
    assert ("60 of these by points and not in the share" in observed) == (cause == "points")


@pytest.mark.parametrize("key", ["max_moved_share", "max_drift"])
def test_a_deployment_sets_its_own_budget(key: str, tmp_path: Path) -> None:
    check, at_most = {
        "max_moved_share": ("movement__is_within_budget", "at most 35"),
        "max_drift": ("levels__have_not_drifted", "at most 0.25"),
    }[key]
    faults, _ = WAREHOUSE_FAULTS[check]
    found = failed(gate_of(tmp_path / "default", faults)[0])
    assert at_most in found[check]["observed"]
    assert check not in failed(gate_of(tmp_path / "own", faults, limits={key: 0.9 if key == "max_moved_share" else float("inf")})[0])


def test_a_budget_of_nothing_holds_the_first_that_moves_and_one_that_is_met_holds_nobody(tmp_path: Path) -> None:
    moves = [f"update marts.fct_decisions set {MARCH_OF_LEVELS}, {HAS_RISEN} where period = '2026-06' and subject_id in ('c1', 'c2', 'c3')"]
    assert "movement__is_within_budget" in failed(gate_of(tmp_path / "nothing", moves, limits={"max_moved_share": 0})[0])
    assert "movement__is_within_budget" not in failed(gate_of(tmp_path / "met", moves, limits={"max_moved_share": 3 / 60})[0])


def test_a_deployment_has_a_suite_of_its_own(tmp_path: Path) -> None:
    deployment, _ = make_place(tmp_path)
    own = deployment.folder / "expectations"
    own.mkdir()
    text = (Path(__file__).parents[2] / "expectations" / "movement.yaml").read_text()
    (own / "movement.yaml").write_text(text.replace("(select max_moved_share from candidate.limits)", "0.9"))
    result, _, _ = gate_of(tmp_path, WAREHOUSE_FAULTS["movement__is_within_budget"][0])
    assert "movement__is_within_budget" not in failed(result)


def test_a_suite_that_compares_with_the_month_before_finds_every_mart_of_it(tmp_path: Path) -> None:
    """Levels are of no period: those of a run that has both months are the same for both."""
    deployment, _ = make_place(tmp_path)
    build_warehouse(deployment, PERIODS)
    with duckdb.connect() as con:
        make_candidate(con, deployment, Plan("run1", PERIODS), "2026-06")
        counted = "(select count(*) from previous.dim_levels), (select count(*) from previous.dim_programs)"
        assert con.execute(f"select {counted}, (select list(distinct period) from previous.fct_decisions)").fetchall() == [
            (6, 1, ["2026-05"])
        ]
