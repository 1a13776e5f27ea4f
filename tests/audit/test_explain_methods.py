"""Every method and type of subject is explained end to end, and a release that was changed in any place is told apart."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from orchestration.audit import Explanation, explain, render
from orchestration.audit.life import Outlook, outlook
from orchestration.audit.texts import Lang
from orchestration.deployment import load_deployment
from orchestration.errors import BadInput, Mismatch
from orchestration.ingest.contracts import load_contracts
from orchestration.ledger import Ledger
from orchestration.policy import Policies, load_policy_files
from orchestration.policy.model import Level, Version
from tests.audit.wide_release import PERIOD, RELEASE, WideRelease, drops, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WideRelease:
    return make(tmp_path_factory.mktemp("audit") / "wide")


@pytest.fixture
def wide(made: WideRelease, tmp_path: Path) -> WideRelease:
    """A copy of its own, so that a test may change it."""
    deployment = load_deployment(shutil.copytree(made.deployment.folder, tmp_path / "wide"))
    return WideRelease(deployment, Ledger(deployment.ledger))


def _explain(wide: WideRelease, program: str | None, subject: str) -> Explanation:
    return explain(wide.deployment, wide.ledger, subject, program, PERIOD)


def _one_of_each_rule(wide: WideRelease) -> list[tuple[str, str]]:
    query = (
        f"select program_id, min(subject_id) from read_parquet('{wide.file}') group by program_id, coalesce(matched_rule_id, status_reason)"
    )
    return sorted(duckdb.sql(query).fetchall())


def test_a_subject_of_every_rule_of_every_program_is_explained_and_agrees(made: WideRelease) -> None:
    pairs = _one_of_each_rule(made)
    assert {program for program, _ in pairs} == {program.program_id for program in _policies(made).enabled()}
    for program, subject in pairs:
        found = _explain(made, program, subject)
        assert found.matched is None or found.matched.holds
        assert subject in render(found, "en")


def _policies(wide: WideRelease) -> Policies:
    return load_policy_files(wide.deployment.releases / RELEASE / "policy")


def _ids(policies: Policies) -> set[str]:
    """Words that are no words: ids of policies, entities and their columns, names as the seeds write them in Chinese, and landed values."""
    found = {"UTC", "CNY", "json", "r", "v"}
    for seed in policies.seeds.values():
        for row in seed:
            cells = (v for c, v in row.values.items() if v and not c.endswith("_en") and c not in {"description", "note", "unit"})
            found |= {word for cell in cells for word in re.findall(r"[A-Za-z]+", str(cell))}
    for entity, contract in load_contracts().items():
        found |= {word for name in (entity, *contract.columns) for word in re.findall(r"[A-Za-z]+", name)}
    for rows in drops().values():
        found |= {word for row in rows for value in row.values() for word in re.findall(r"[A-Za-z]+", str(value))}
    return found


def test_a_chinese_explanation_has_no_english_word_but_ids(made: WideRelease) -> None:
    known = _ids(_policies(made))
    for program, subject in _one_of_each_rule(made):
        text = render(_explain(made, program, subject), "zh")
        # The last section names run, code and files.
        told = text.split("\n\n发布\n")[0].split("政策哈希")[0]
        strange = {word for word in re.findall(r"[A-Za-z]+", re.sub(r"\S+\.csv", "", told)) if word not in known}
        assert strange == set(), f"{program} {subject}"


@pytest.mark.parametrize(
    ("program", "subject", "lang", "phrases"),
    [
        (
            "customer_pyramid",
            "c7",
            "en",
            [
                "Customer c7: Major in Customer pyramid",
                "band Major (from 1 to below 20); strictly above: 1 of 9 subjects (11.11 %)",
                "Why not VIP",
                "how much more would do depends on the other subjects",
            ],
        ),
        ("customer_pyramid", "c8", "en", ["Profit, 12 months: not known (2025-07 to 2026-06)", "a landed row that counts lacks its cost", "VIP (below 1)"]),
        ("contribution_layers", "c5", "zh", ["严格高于本对象者(9 个中的 3 个)", "(50 至 80(不含))"]),
        (
            "vip_score",
            "c2",
            "en",
            ["VIP score:", "per cent of the others strictly below", "the others share its weight", "Rows of surveys in the window (1)"],
        ),
        (
            "staff_grade",
            "s2",
            "en",
            ["Staff member s2: Senior", "Initiative", "(none)", "missing: the others share its weight", "over 3 (Customer satisfaction"],
        ),
        ("staff_grade", "s4", "en", ["Why this level\n  Not evaluated: needs staff_satisfaction_3m.\n\n"]),
        ("staff_grade", "s3", "zh", ["不在评级范围", "范围规则 no_service_staff", "岗位"]),
        (
            "group_value",
            "g2",
            "en",
            ["Group g2: Key", "own 3,800.01 of", "Members with their sums (2)", "leader", "as 3,800.01 × 100 = 380,001 with 1 ×"],
        ),
        ("size_growth", "c2", "en", ["grid of two axes", "Size = Large (from 3,000): band Small (below 3,000)", "of Spend, 3 months before"]),
        # c8 spends 2,400.005 in three months, after 2,400: just above the bound of the band.
        ("size_growth", "c8", "en", ["band Grows (from 100); Spend, 3 months 2,400.005 of Spend, 3 months before the last 3 2,400 (100.000208 %)"]),
        ("size_growth", "c9", "en", ["Growth is not known: not known: Spend, 3 months before the last 3 is not above 0"]),
        (
            "accredited",
            "c2",
            "en",
            ["Day of the event: 2026-06-10", "Application a1", "document review", "approved", "notification (after the period)"],
        ),
        ("accredited", "c1", "zh", ["申请状态 = 已批准：实际为 已申请", "申请 a2"]),
        ("reception", "e1", "en", ["Reception e1: VVIP", "n1 (nomination): VVIP", "approved by k.boss on 2026-05-20", ": counts"]),
        ("reception", "e2", "en", ["approved by the one who asked", "Why not VVIP"]),
        ("relation", "p2", "en", ["Prospect p2: Far", "it is 29 months", "prospects  first_contact_date"]),
        ("relation", "p3", "en", ["several rules hold, and only one may", "Rule decides", "Rule known_long"]),
        ("relation", "p4", "zh", ["没有规则成立"]),
        (
            "six_star",
            "c6",
            "en",
            ["Cap arrears_cap, at most Three stars, is in force", "Cap arrears_cap: Five stars becomes Three stars", "is covered and not changed"],
        ),
        (
            "six_star",
            "c1",
            "en",
            ["Override n3, at least: Three stars becomes Four stars. Reason: standing; asked by k.sales, approved by k.boss; 2026-06-01"],
        ),
        ("six_star", "c3", "zh", ["指定特批 n4：五星变为六星", "申请人 k.sales，审批人 k.boss"]),
        ("six_star", "c10", "en", ["out of scope (Test, internal and IoT lines are not graded)", "yes Segment is one of internal, test, iot: it is test"]),
    ],
)  # fmt: skip
def test_each_method_is_told_with_its_values(made: WideRelease, program: str, subject: str, lang: Lang, phrases: list[str]) -> None:
    text = render(_explain(made, program, subject), lang)
    assert [phrase for phrase in phrases if phrase not in text] == [], text


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> WideRelease:
    """A deployment without points, surveys and campaigns: a program that needs one, and a score that does without the others."""
    return make(tmp_path_factory.mktemp("lacking") / "wide", without={"points", "surveys", "campaign_responses"})


def test_programs_that_lack_an_input_are_explained_for_every_reason(lacking: WideRelease) -> None:
    for program, subject in _one_of_each_rule(lacking):
        assert subject in render(_explain(lacking, program, subject), "en")


@pytest.mark.parametrize(
    ("program", "subject", "phrases"),
    [
        ("six_star", "c1", ["Not evaluated: needs points."]),
        ("six_star", "c10", ["out of scope (Test, internal and IoT lines are not graded)", "yes Segment is one of internal, test, iot: it is test"]),
        ("vip_score", "c2", ["VIP score:", "Satisfaction", "missing: the others share its weight", "Participation", "missing: counted as 0"]),
    ],
)  # fmt: skip
def test_what_a_deployment_lacks_is_told(lacking: WideRelease, program: str, subject: str, phrases: list[str]) -> None:
    text = render(_explain(lacking, program, subject), "en")
    assert [phrase for phrase in phrases if phrase not in text] == [], text


def test_a_dimension_that_is_not_delivered_is_null_in_the_evidence(lacking: WideRelease) -> None:
    found = _explain(lacking, "vip_score", "c2")
    evidence = json.loads(found.decision["evidence"])
    assert evidence["survey_answers_12m"] is None and evidence["vip_points__satisfaction"] is None
    assert {w.metric.metric_id for w in found.windows}.isdisjoint({"survey_score_12m", "survey_answers_12m", "responses_12m"})


@pytest.fixture(scope="module")
def removed(tmp_path_factory: pytest.TempPathFactory) -> WideRelease:
    """A release made after two sources were taken out of the deployment and a third no longer said what bills cost; all had landed."""
    return make(tmp_path_factory.mktemp("removed") / "wide", removed={"financial_positions", "surveys", "bill_lines.cost_amount"})


def test_a_release_is_judged_by_what_was_delivered_when_it_was_made(made: WideRelease, removed: WideRelease) -> None:
    for program, subject in [*_one_of_each_rule(removed), ("wealth", "c1"), ("vip_score", "c2")]:
        assert subject in render(_explain(removed, program, subject), "en")
    before, after = (_explain(wide, "wealth", "c1") for wide in (made, removed))
    assert (before.decision["level_id"], after.decision["level_id"]) == ("rich", "plain")
    assert ([c.attribute.attribute_id for c in before.columns], after.columns) == (["asset_amount"], [])


@pytest.mark.parametrize(
    ("program", "subject", "evidence", "what"),
    [
        ("wealth", "c1", {"asset_amount": "0.0000", "wealth_points__assets": "0.000000"}, "asset_amount = None, the decision holds 0.0000"),
        ("vip_score", "c3", {"survey_score_12m": "0.0000", "survey_answers_12m": 0}, "survey_score_12m = None, the decision holds 0.0000"),
    ],
)  # fmt: skip
def test_a_value_of_what_was_not_delivered_is_a_mismatch(
    removed: WideRelease, tmp_path: Path, program: str, subject: str, evidence: dict[str, Any], what: str
) -> None:
    deployment = load_deployment(shutil.copytree(removed.deployment.folder, tmp_path / "wide"))
    changed = WideRelease(deployment, Ledger(deployment.ledger))
    changed.change(program, subject, evidence=evidence)
    with pytest.raises(Mismatch, match=what):
        _explain(changed, program, subject)


def test_a_scope_rule_of_a_program_that_lacks_an_input_is_judged_again(lacking: WideRelease, tmp_path: Path) -> None:
    deployment = load_deployment(shutil.copytree(lacking.deployment.folder, tmp_path / "wide"))
    changed = WideRelease(deployment, Ledger(deployment.ledger))
    changed.change("six_star", "c1", status="out_of_scope", status_reason="no_customer_line")
    with pytest.raises(Mismatch, match="scope rule none, the decision holds no_customer_line"):
        _explain(changed, "six_star", "c1")


def test_who_was_only_billed_is_out_of_scope_before_any_scope_rule_is_asked(wide: WideRelease) -> None:
    for customer in ("c10", "c4"):
        steps = '[{"step":"scope","from":null,"to":null,"why":"not_in_service"},{"step":"qualified","from":null,"to":null,"why":"not in scope"}]'
        none = dict.fromkeys(("level_id", "level_rank", "qualified_level_id", "qualified_level_rank", "held_level_id", "held_level_rank"))
        wide.change("six_star", customer, status="out_of_scope", status_reason="not_in_service", steps=steps, matched_rule_id=None, **none)
        found = _explain(wide, "six_star", customer)
        assert "out of scope (billed, but not in service on any day of the month)" in render(found, "en")
        assert "不在评级范围(有账单，但当月没有一天在网)" in render(found, "zh")


def test_members_of_a_group_count_in_the_months_of_membership_alone(made: WideRelease) -> None:
    [window] = _explain(made, "group_value", "g2").windows
    members = {m.customer_id: (len(m.periods), str(m.value)) for m in window.members}
    # c2 until March and again in June; c3 from January on.
    assert members == {"c2": (10, "2000.0050"), "c3": (6, "1800.0050")}
    assert window.agrees


def test_the_bills_of_a_group_name_the_member(made: WideRelease) -> None:
    found = _explain(made, "group_value", "g2")
    lines = render(found, "en").partition("\nBill lines of the window")[2].splitlines()
    assert lines[1].split()[:2] == ["customer", "period"]
    told = [tuple(line.split()[:2]) for line in lines[2 : 2 + len(found.bills)]]
    assert told == [(bill.customer_id, bill.period) for bill in found.bills] and len(set(told)) == 16
    assert render(_explain(made, "six_star", "c2"), "en").partition("\nBill lines of the window")[2].splitlines()[1].split()[0] == "period"


def test_a_survey_counts_in_the_local_month(made: WideRelease) -> None:
    window = next(w for w in _explain(made, "vip_score", "c2").windows if w.metric.metric_id == "survey_answers_12m")
    assert [(m.period, m.rows) for m in window.months if m.rows] == [(PERIOD, 1)]


def test_json_lists_scores_members_rows_and_steps_of_applications(made: WideRelease) -> None:
    score = json.loads(json.dumps(_explain(made, "vip_score", "c2").as_json()))
    vip = next(a for a in score["attributes"] if a["kind"] == "score")
    assert {d["dimension"] for d in vip["dimensions"]} >= {"amount", "satisfaction"}
    assert all(set(d) >= {"scaled", "weight", "contribution", "missing_rule"} for d in vip["dimensions"])
    group = json.loads(json.dumps(_explain(made, "group_value", "g2").as_json()))
    assert [m["customer_id"] for m in group["windows"][0]["members"]] == ["c2", "c3"]
    assert {b["customer_id"] for b in group["bills"]} == {"c2", "c3"}
    application = json.loads(json.dumps(_explain(made, "accredited", "c2").as_json()))
    assert [s["step"] for s in application["applications"]] == ["application", "review", "decision", "notification"]
    assert application["subject_type"] == "customer"


@pytest.mark.parametrize(
    ("program", "subject", "change", "what"),
    [
        ("customer_pyramid", "c6", {"evidence": {"contribution_position__above": 3}}, "contribution_position__above = 2, the decision holds 3"),
        ("customer_pyramid", "c7", {"evidence": {"contribution_position__population": 10}}, "contribution_position__population"),
        ("contribution_layers", "c5", {"evidence": {"spend_share_above__above_amount": "25000.0000"}}, "spend_share_above__above_amount"),
        ("contribution_layers", "c5", {"evidence": {"spend_layer": "head"}}, "spend_layer = core, the decision holds head"),
        ("group_value", "g2", {"evidence": {"group_spend_portion__total_amount": "4400.0000"}}, "group_spend_portion__total_amount"),
        ("vip_score", "c2", {"evidence": {"vip_points": "99.000000"}}, "vip_points"),
        ("vip_score", "c2", {"evidence": {"vip_points__tenure": "100.000000"}}, "vip_points__tenure = 80.000000"),
        ("vip_score", "c2", {"score": 12}, "a score of"),
        ("staff_grade", "s1", {"evidence": {"staff_role": "store"}}, "staff_role = hotline, the decision holds store"),
        ("relation", "p2", {"evidence": {"months_known": 30}}, "months_known = 29, the decision holds 30"),
        ("reception", "e2", {"evidence": {"reception_nominated": "vvip"}}, "rule by_notice, the decision holds without_notice"),
        ("reception", "e2", {"evidence": {"reception_nominated": "usual"}}, "reception_nominated = None, the decision holds usual"),
        ("accredited", "c1", {"evidence": {"application_state": "reviewed"}}, "application_state = applied, the decision holds reviewed"),
        ("six_star", "c10", {"status_reason": "not_real_name"}, "scope rule no_customer_line, the decision holds not_real_name"),
        ("six_star", "c4", {"status": "out_of_scope", "status_reason": "no_customer_line"}, "scope rule none"),
        ("six_star", "c6", {"cap_level_rank": None}, "a cap of rank 3, the decision holds None"),
        ("six_star", "c4", {"level_id": "star_6"}, "the steps end at star_5, the decision holds star_6"),
        ("six_star", "c4", {"qualified_level_id": "star_6"}, "rule star_5_spend gives star_5, the decision holds star_6"),
        ("six_star", "c2", {"missing_amount": "1.0000"}, "the decision says 1.0000"),
        ("relation", "p4", {"status_reason": "several rules hold: unique allows one"}, "no rule holds"),
        ("vip_score", "c3", {"evidence": {"campaigns_accepted_12m": None, "vip_points__participation": None}},
         "no campaigns_accepted_12m, of which 8 of the release's own subjects have one"),
    ],
)  # fmt: skip
def test_a_changed_decision_is_a_mismatch(wide: WideRelease, program: str, subject: str, change: dict[str, Any], what: str) -> None:
    wide.change(program, subject, **change)
    with pytest.raises(Mismatch, match=re.escape(what)):
        _explain(wide, program, subject)


def test_a_step_that_the_landing_does_not_give_is_a_mismatch(wide: WideRelease) -> None:
    steps = json.loads(_explain(wide, "six_star", "c1").decision["steps"])
    kept = [step for step in steps if step["step"] != "at_least"]
    wide.change("six_star", "c1", steps=json.dumps(kept), level_id="star_3")
    with pytest.raises(Mismatch, match=r"give the steps \{'at_least': 'star_4'\}, the decision holds none"):
        _explain(wide, "six_star", "c1")


def test_a_subject_that_was_taken_out_of_the_release_changes_the_place_of_the_others(wide: WideRelease) -> None:
    with duckdb.connect() as con:
        con.execute(
            f"create table d as select * from read_parquet('{wide.file}') where not (program_id = 'customer_pyramid' and subject_id = 'c8')"
        )
        con.execute(f"copy d to '{wide.file}' (format parquet)")
    with pytest.raises(Mismatch, match="own subjects give contribution_position__above = 0, the decision holds 1"):
        _explain(wide, "customer_pyramid", "c7")


@pytest.mark.parametrize(
    ("entity", "program", "subject", "column", "value", "what"),
    [
        ("surveys", "vip_score", "c2", "score", 3, "survey_score_12m = 3, the decision holds 9"),
        ("staff_measures", "staff_grade", "s1", "score", 1, "staff_problem_solving_3m_sum"),
        ("bill_lines", "group_value", "g2", "net_amount", 1, "group_spend_12m_amount"),
        ("suspensions", "six_star", "c6", "reason", "request", "arrears_suspensions_12m = 0, the decision holds 3"),
        ("groups", "group_value", "g2", "is_nominated_strategic", True, "the decision holds False"),
        ("bill_lines", "customer_pyramid", "c7", "cost_amount", None, "margin_12m_amount = None"),
        ("nominations", "reception", "e1", "approver_id", "k.sales", "reception_nominated = None, the decision holds vvip"),
    ],
)  # fmt: skip
def test_a_changed_landed_row_is_a_mismatch(
    wide: WideRelease, entity: str, program: str, subject: str, column: str, value: Any, what: str
) -> None:
    for part in (wide.deployment.landing / entity).rglob("*.parquet"):
        part.chmod(0o644)
        with duckdb.connect() as con:
            con.execute(f"create table p as select * from read_parquet('{part}', hive_partitioning = false)")
            con.execute(f"update p set {column} = ?", [value])
            con.execute(f"copy p to '{part}' (format parquet)")
    with pytest.raises(Mismatch, match=re.escape(what)):
        _explain(wide, program, subject)


def test_without_a_program_the_first_one_that_is_run_is_explained(made: WideRelease) -> None:
    assert _explain(made, None, "c4").program.program_id == "six_star"


@pytest.mark.parametrize(
    ("program", "subject", "what", "remedy"),
    [
        ("group_value", "g22", "there is no group 'g22' in any release", "did you mean 'g2'?"),
        ("staff_grade", "S1x", "there is no staff 'S1x' in any release", "did you mean 's1'?"),
        ("six_star", "g1", "'g1' is a group, and program 'six_star' grades a customer", "write --program group_value"),
        ("six_stars", "c1", "there is no program 'six_stars'", "did you mean 'six_star'?"),
    ],
)
def test_what_is_not_there_is_bad_input_that_names_the_nearest(
    made: WideRelease, program: str, subject: str, what: str, remedy: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(what)) as err:
        _explain(made, program, subject)
    assert remedy in err.value.remedy


def test_the_nearest_released_period_is_named(made: WideRelease) -> None:
    with pytest.raises(BadInput) as err:
        explain(made.deployment, made.ledger, "c1", "six_star", "2026-02")
    assert "write --period 2026-06" in err.value.remedy


def test_only_channels_of_the_program_are_named(made: WideRelease) -> None:
    assert [d["channel"] for d in _explain(made, "six_star", "c4").deliveries] == ["hotline", "of_no_program"]
    assert [d["channel"] for d in _explain(made, "vip_score", "c4").deliveries] == ["of_no_program"]


@pytest.mark.parametrize(
    ("program", "subject", "changes", "en", "zh"),
    [
        ("accredited", "c2", {"movement": "first"}, "compared with no month before", "按事件单独评定"),
        ("six_star", "c4", {"movement": "first"}, "First decision on record.", "首次评级"),
        ("six_star", "c4", {"movement": "same", "previous_level_id": "star_5"}, "Same level as before.", "级别与此前相同"),
        # The level that it showed is none of the program's any more.
        ("six_star", "c4", {"movement": "same", "previous_level_id": "red"}, "took the place of red, of the same rank", "取代同等级的red"),
    ],
)
def test_a_movement_is_told_as_what_it_is(wide: WideRelease, program: str, subject: str, changes: dict[str, str], en: str, zh: str) -> None:
    wide.change(program, subject, held_since_period=PERIOD, **changes)
    found = _explain(wide, program, subject)
    said = render(found, "en").partition("\nMovement\n")[2]
    assert en in said and (f"Held since {PERIOD}" in said) == (program != "accredited")
    assert zh in render(found, "zh").partition("\n级别变动\n")[2]


HELD = '{"step":"scope","from":null,"to":null,"why":"in scope"},{"step":"qualified","from":null,"to":"star_5","why":"star_5_spend"}'


@pytest.mark.parametrize(
    ("review", "held", "until", "en", "zh"),
    [
        ("first", "star_5", "2027-05", ["is reached and held until 2027-05", "Next review in 2027-06: if nothing changes, Five stars is renewed"], "首次达到五星"),
        ("rose", "star_5", "2027-05", ["rises at once to Five stars"], "即时升至五星"),
        ("held", "star_6", "2027-03", ["What the rules give", "The level is Six stars all the same", "Why the rules do not give Six stars", "Six stars is held until 2027-03, then reviewed", "it falls by one level to Five stars in 2027-05"], "六星保持至 2027-03"),
        ("renewed", "star_5", "2027-05", ["still qualified, Five stars is held again until 2027-05"], "续期至 2027-05"),
        ("grace", "star_6", "2026-05", ["still held in grace until 2026-06", "falls by one level to Five stars in 2026-07"], "宽限期内六星保留至 2026-06"),
        ("fell_one_level", "star_6", "2027-05", ["falls by one level to Six stars, held until 2027-05"], "下降一级至六星"),
        ("fell_to_qualified", "star_5", "2027-05", ["falls to the qualified level Five stars"], "降至达标级别五星"),
    ],
)  # fmt: skip
def test_a_review_is_told_as_a_sentence_with_what_comes_next(
    wide: WideRelease, review: str, held: str, until: str, en: list[str], zh: str
) -> None:
    steps = f'[{HELD},{{"step":"review","from":"star_5","to":"{held}","why":"{review}"}}]'
    rank = int(held[-1])
    held_columns = {"level_id": held, "level_rank": rank, "held_level_id": held, "held_level_rank": rank, "valid_until_period": until}
    wide.change("six_star", "c4", steps=steps, review=review, movement="fell", movement_cause="validity", **held_columns)
    found = _explain(wide, "six_star", "c4")
    text = render(found, "en")
    assert [phrase for phrase in [*en, "Cause: validity or grace ended."] if phrase not in text] == [], text
    assert (f"Held until {until}, then reviewed." in text) is (until >= PERIOD), "what is over is not told as to come"
    assert zh in render(found, "zh")


@pytest.mark.parametrize(("until", "ends"), [("2026-11", False), ("2026-12", True)])
def test_a_nomination_that_ends_before_the_review_is_told_with_it(wide: WideRelease, until: str, ends: bool) -> None:
    steps = (
        '[{"step":"scope","from":null,"to":null,"why":"in scope"},{"step":"qualified","from":null,"to":"star_6","why":"star_6_nominated"},'
        '{"step":"review","from":"star_6","to":"star_6","why":"first"}]'
    )
    held = {"held_level_id": "star_6", "held_level_rank": 6, "valid_until_period": until, "review": "first"}
    wide.change("six_star", "c9", steps=steps, **held)
    found = _explain(wide, "six_star", "c9")
    assert ("is renewed. The nomination that gives it ends on 2026-12-31, before that" in render(found, "en")) is ends
    assert ("续期。但所依据的提名于 2026-12-31 到期" in render(found, "zh")) is ends


def test_a_review_follows_the_version_that_then_holds(made: WideRelease) -> None:
    program = _explain(made, "six_star", "c4").program
    first = replace(program.versions[0], valid_to="2026-12")

    def later(**cells: Any) -> Version:
        return replace(
            first, version="v2", valid_from="2027-01", valid_to=None, row=replace(first.row, values={**first.row.values, **cells})
        )

    def asked(until: str, *versions: Version, qualified: str = "star_4") -> list[str] | None:
        decision = {"period": PERIOD, "valid_until_period": until, "held_level_id": "star_6", "qualified_level_id": qualified}
        found = outlook(decision, replace(program, versions=versions))
        return list(found.as_json().values()) if found else None

    second = later(fall="to_qualified", grace_months=3)
    assert asked("2026-10", first, second) == ["2026-11", "one_level", "2026-12", "star_5", "v1"]
    assert asked("2026-12", first, second) == ["2027-01", "to_qualified", "2027-04", "star_4", "v2"]
    # The months of grace are those of the version that holds in them.
    assert asked("2026-11", first, second) == ["2026-12", "to_qualified", "2027-03", "star_4", "v2"]
    # Nothing is reviewed where the program has ended. Without validity the level follows the rules from the first month of the version on.
    assert asked("2026-12", first) is None
    unheld = later(validity_months=None)
    assert asked("2026-12", first, unheld) == ["2027-01", "follows", "2027-01", "star_4", "v2"]
    assert asked("2027-04", first, unheld) == ["2027-05", "follows", "2027-01", "star_4", "v2"]
    assert asked("2027-04", first, unheld, qualified="star_6") is None


def test_that_another_version_reviews_the_level_is_told(made: WideRelease) -> None:
    found = _explain(made, "six_star", "c4")
    review = Outlook("2027-06", "renewed", "2027-06", "star_5", "v2")
    assert "By then version v2 of the policy holds" in render(replace(found, next_review=review), "en")
    assert "届时生效的是政策版本 v2" in render(replace(found, next_review=review), "zh")
    assert "By then" not in render(replace(found, next_review=replace(review, policy_version="v1")), "en")
    held = replace(found, decision=found.decision | {"valid_until_period": "2027-05"}, next_review=review)
    ended = replace(held, next_review=replace(review, effect="follows", effect_period="2026-08"))
    assert "From 2026-08 on no level is held for a time: if nothing changes, it becomes Five stars. By then version v2" in render(
        ended, "en"
    )
    assert "自 2026-08 起不再设有效期：若无变化，级别变为五星。" in render(ended, "zh")
    assert "Held until 2027-05, then reviewed." in render(held, "en") and "Held until" not in render(ended, "en")


@pytest.mark.parametrize(
    ("program", "subject", "is_enough", "en", "zh"),
    [
        ("six_star", "c2", True, "CNY more of Spend, 6 months.", "距五星尚差：近6个月消费 "),
        # Score and satisfaction are both too low: with the points alone the rule of experts does not hold.
        ("staff_grade", "s2", False, "that amount alone does not give it", "仅此数量尚不足以达到"),
        ("size_growth", "c2", None, "Size is in another band than a rule asks for", "规模所在区段不符合规则要求"),
    ],
)
def test_what_is_missing_is_told_as_what_it_brings(
    made: WideRelease, program: str, subject: str, is_enough: bool | None, en: str, zh: str
) -> None:
    found = _explain(made, program, subject)
    assert found.as_json()["is_amount_enough"] is is_enough and found.as_json()["currency"] == "CNY"
    for lang, phrase in (("en", en), ("zh", zh)):
        told = [line for line in render(found, cast(Lang, lang)).splitlines() if "Missing to" in line or line.startswith("  距")]
        assert len(told) == 1 and phrase in told[0], told


def test_that_the_next_level_is_not_seen_is_told_with_what_is_missing(made: WideRelease) -> None:
    """An override gives c1 four stars for now; c2 has none, and no cap."""
    assert ["stays Four stars all the same" in render(_explain(made, "six_star", c), "en") for c in ("c1", "c2")] == [True, False]
    assert "显示的级别仍为四星" in render(_explain(made, "six_star", "c1"), "zh")
    found = _explain(made, "six_star", "c2")
    lowest = found.program.levels[0]
    for changes, is_covered in (
        ({"held_level_rank": 6, "level_rank": 6}, True),
        ({"held_level_rank": 6, "cap_level_rank": 1, "level_rank": 1}, True),
        ({"set_level_rank": 1, "level_rank": 1}, True),
        ({"at_least_level_rank": 1}, False),
    ):
        told = render(replace(found, decision={**found.decision, "level_id": lowest.level_id, **changes}), "en")
        assert ("stays One star all the same" in told) is is_covered, changes


def test_who_holds_a_level_of_overrides_alone_is_not_asked_why_not(made: WideRelease) -> None:
    found = _explain(made, "six_star", "c3")
    honour, legend = (
        Level(name, rank, replace(found.program.levels[-1].row, values={"name_en": name.title(), "name_zh": name}))
        for name, rank in (("honour", 8), ("legend", 9))
    )
    qualified = {"qualified_level_id": "star_6", "qualified_level_rank": 6}

    def told(*levels: Level, shown: Level | None = None) -> str:
        held = {"level_id": shown.level_id, "level_rank": shown.rank} if shown else {}
        program = replace(found.program, levels=(*found.program.levels, *levels))
        return render(replace(found, program=program, decision={**found.decision, **qualified, **held}), "en")

    assert "Why not Honour\n  No rule gives Honour; only an override can." in told(honour)
    assert "There is no level above." in told(honour, shown=honour)
    assert "Why not Legend\n  No rule gives Legend; only an override can." in told(honour, legend, shown=honour)


def test_text_of_sources_begins_no_line_and_does_not_speak_to_the_terminal(made: WideRelease) -> None:
    found = _explain(made, "six_star", "c1")
    (row,) = found.nominations
    forged = replace(row, reason="standing\x1b[2J\n  Approved by everybody\u202e", nomination_id="n3\r")
    for lang in ("en", "zh"):
        text = render(replace(found, nominations=[forged]), cast(Lang, lang))
        assert not any(line.strip().startswith("Approved") for line in text.splitlines())
        assert not {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}
        assert r"standing\x1b[2J\n  Approved by everybody\u202e" in text
