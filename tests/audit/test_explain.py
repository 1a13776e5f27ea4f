"""Explain tells what was released, from the rows that it rests on, and refuses to tell anything else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest

from orchestration.audit import Explanation, changed_deliveries, explain, render
from orchestration.audit.landed import Landing
from orchestration.audit.released import deliveries
from orchestration.audit.sources import departures
from orchestration.deployment import load_deployment
from orchestration.errors import BadInput, Failed, Mismatch
from orchestration.ingest import ingest
from orchestration.ledger import Ledger
from orchestration.policy import load_policy_files
from tests.audit.small_release import PERIOD, RELEASE, SPEND, SmallRelease, decision, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit") / "small"
    make(folder)
    return folder


@pytest.fixture
def small(made: Path, tmp_path: Path) -> SmallRelease:
    """A copy of its own, so that a test may change it."""
    deployment = load_deployment(shutil.copytree(made, tmp_path / "small"))
    return SmallRelease(deployment, Ledger(deployment.ledger))


def _explain(small: SmallRelease, customer: str = "A", program: str = "six_star", period: str = PERIOD) -> Explanation:
    return explain(small.deployment, small.ledger, customer, program, period)


def test_bills_behind_the_window_are_listed_with_the_line_they_stand_on(small: SmallRelease) -> None:
    found = _explain(small)
    assert [(b.period, b.charge_type, b.amount, b.file, b.row) for b in found.bills] == [
        ("2026-02", "voice", Decimal("50.0000"), "bills_1.csv", 3),
        ("2026-03", "data", Decimal("100.0000"), "bills_1.csv", 4),
        ("2026-03", "device_instalment", Decimal("500.0000"), "bills_1.csv", 5),
        ("2026-05", "data", Decimal("-20.0000"), "bills_1.csv", 8),
        ("2026-05", "voice", Decimal("90.0050"), "bills_2.csv", 2),
        ("2026-06", "credit_me", Decimal("1.0000"), "bills_1.csv", 7),
    ]
    for bill in found.bills:
        line = (small.deployment.drops / bill.file).read_text().splitlines()[bill.row - 1]
        assert bill.charge_type in line
        assert f"{bill.amount.normalize():f}" in line


def test_a_number_that_two_sources_give_away_on_one_day_has_the_holder_of_the_warehouse(small: SmallRelease) -> None:
    """Of rows that begin on one day staging takes the source that is named last; the other one held the number on no day at all."""
    crm = (small.deployment.sources / "crm.yaml").read_text()
    (small.deployment.sources / "crm_2.yaml").write_text(crm.replace("source: crm", "source: crm_2").replace('_*.csv"', '_moved.csv"'))
    for source, holder in (("2", "C"), ("moved", "A")):
        (small.deployment.drops / f"lines_{source}.csv").write_text(f"number,id,first_day,last_day\nn9,{holder},2026-01-10,\n")
    bills = "key,bill,number,month,day,charge,amount,kind,refers\nk9,b9,n9,2026-01,,voice,5.00,,\n"
    (small.deployment.drops / "bills_3.csv").write_text(bills)
    (small.deployment.sources / "crm.yaml").write_text(crm.replace('"lines_*.csv"', '"lines_[0-9].csv"'))
    ingest(small.deployment, small.ledger, say=lambda _: None)
    with Landing(small.deployment, small.ledger, small.ledger.head()[0]) as landing:
        found = landing.bills(["A", "B", "C"], ["2026-01"])
    assert [(bill.document_id, bill.customer_id) for bill in found] == [("b9", "A")]


def test_a_step_of_an_application_that_two_sources_tell_is_one_as_in_the_warehouse(small: SmallRelease) -> None:
    """The newest counts, of one day that of the source that is named last."""
    names = "application_id,program_id,subject_id,step,step_date,outcome"
    mapped = ", ".join(f"{name}: {name}" for name in names.split(","))
    steps = {
        "one": ["a1,six_star,A,review,2026-01-09,", "a1,six_star,A,decision,2026-01-10,returned"],
        "two": ["a1,six_star,A,review,2026-01-08,", "a1,six_star,A,decision,2026-01-10,approved"],
    }
    for source, rows in steps.items():
        feed = f'  - entity: applications\n    files: "{source}.csv"\n    format: csv\n    columns: {{{mapped}}}\n'
        (small.deployment.sources / f"{source}.yaml").write_text(f"source: {source}\ntitle: Applications\nfeeds:\n{feed}")
        (small.deployment.drops / f"{source}.csv").write_text("\n".join([names, *rows, ""]))
    ingest(small.deployment, small.ledger, say=lambda _: None)
    with Landing(small.deployment, small.ledger, small.ledger.head()[0]) as landing:
        found = landing.applications("A", "six_star")
    assert [(s.step, s.step_date.day, s.outcome) for s in found] == [("review", 9, None), ("decision", 10, "approved")]


def test_window_value_is_the_sum_of_the_bills_that_count(small: SmallRelease) -> None:
    spend = next(w for w in _explain(small).windows if w.metric.metric_id == "spend_6m_amount")
    assert (spend.value, spend.traced, spend.periods[0], spend.periods[-1]) == (Decimal(SPEND), Decimal(SPEND), "2026-01", "2026-06")
    assert {month.period: month.value for month in spend.months}["2026-05"] == Decimal("70.0050")


def test_the_months_without_rows_are_all_or_the_others(small: SmallRelease) -> None:
    sections = [section.splitlines() for section in render(_explain(small)).split("\n\n")]
    of = {section[0].partition(":")[0]: section for section in sections}
    assert of["Suspensions for arrears, 12 months"][1] == "  every month: 0"
    assert "  other months: 0" in of["Spend, 6 months"]


def test_points_of_last_year_are_listed_and_bonus_points_do_not_count(small: SmallRelease) -> None:
    found = _explain(small)
    points = next(w for w in found.windows if w.metric.metric_id == "base_points_last_year")
    assert (points.traced, len(found.points)) == (Decimal(2000), 3)


def test_matched_rule_and_what_is_missing_to_the_level_above(small: SmallRelease) -> None:
    found = _explain(small)
    matched = found.matched
    assert matched is not None
    [condition] = matched.conditions
    number = condition.reading.number
    assert number is not None
    assert (condition.holds, number.top, number.bottom, condition.bars) == (True, Decimal(SPEND), 5, (Decimal(200),))
    [above] = found.above
    assert above.level_id == "star_3"
    assert above.conditions[0].missing == Decimal("179.9950") == Decimal(str(found.decision["missing_amount"]))


def test_the_level_above_is_one_that_the_rules_give(small: SmallRelease) -> None:
    # Another version may give a level between the two: levels have no versions.
    levels = small.deployment.releases / RELEASE / "policy" / "levels.csv"
    ranked = levels.read_text(encoding="utf-8")
    for star in (6, 5, 4, 3):
        ranked = ranked.replace(f"six_star,star_{star},{star},", f"six_star,star_{star},{star + 1},")
    levels.write_text(f"{ranked}six_star,star_2_plus,3,Two stars plus,二星加,,\n", encoding="utf-8")
    found = _explain(small)
    assert [rule.level_id for rule in found.above] == ["star_3"]
    assert "Why not Three stars" in render(found, "en")


def test_a_rule_that_holds_behind_the_one_that_decides_says_so(small: SmallRelease) -> None:
    found = _explain(small)
    rules = [replace(rule, conditions=[]) if rule.level_id == "star_3" else rule for rule in found.rules]
    text = render(replace(found, tables=replace(found.tables, rules=rules)), "en")
    assert "Why not Three stars" in text and "it holds and does not decide: rule star_2_spend does" in text


def test_a_nomination_approved_by_its_requester_is_shown_and_does_not_count(small: SmallRelease) -> None:
    found = _explain(small)
    assert [(n.nomination_id, n.requester_id, n.approver_id) for n in found.nominations] == [("N1", "s1", "s1")]
    assert not next(v for v in found.rules if v.item_id == "star_6_nominated").holds


def test_rows_that_came_after_the_release_are_not_shown(small: SmallRelease) -> None:
    text = "key,bill,number,month,day,charge,amount,kind,refers\nk5,b4,n1,2026-05,2026-05-20 08:00:00,voice,1.00,,\n"
    (small.deployment.drops / "bills_3.csv").write_text(text)
    ingest(small.deployment, small.ledger, say=lambda _: None)
    assert "bills_3.csv" not in {bill.file for bill in _explain(small).bills}


FEED = "customer_id,level_id\nc0,star_4\nA,star_2\n"
NOT_SEEN = "Sent, and no longer to be seen whom the file has"
CHANGED = "Changed after it was delivered"


def _said_of_deliveries(found: Explanation, lang: Literal["en", "zh"] = "en") -> list[str]:
    """The lines after that of the run, without times."""
    lines = [line.partition(", 2")[0] for line in render(found, lang).splitlines()]
    return lines[next(at for at, line in enumerate(lines) if "r-1" in line) + 1 :]


def test_deliveries_of_the_release_are_named(small: SmallRelease) -> None:
    assert _said_of_deliveries(_explain(small)) == ["Sent to", "  To no channel so far."]
    small.deliver(FEED.replace("A", "B"), release="2026-05.r1")
    small.deliver(FEED)
    assert [d["channel"] for d in _explain(small).deliveries] == ["hotline"]


@pytest.mark.parametrize(
    ("feed", "has_subject", "lines"),
    [
        (FEED, True, ["Sent to", "  hotline: catalog 1"]),
        ('customer_id,note\nc0,"two\r\nlines, ""A"""\n"A",\n', True, ["Sent to", "  hotline: catalog 1"]),
        ("customer_id,level_id\nc0,star_4\nA1,A\n", False, ["Sent to", "  To no channel so far.", "Not in the feeds", "  hotline: catalog 1"]),
        # Another customer's id, which has an apostrophe of its own: none stands before what is no formula.
        ("customer_id,level_id\n'A,star_2\n", False, ["Sent to", "  To no channel so far.", "Not in the feeds", "  hotline: catalog 1"]),
        ("customer_id,level_id\n", False, ["Sent to", "  To no channel so far.", "Not in the feeds", "  hotline: catalog 1"]),
        ("phone,level_id\nA,star_2\n", None, [NOT_SEEN, "  hotline: catalog 1"]),
        ("", None, [NOT_SEEN, "  hotline: catalog 1"]),
    ],
)  # fmt: skip
def test_a_feed_that_has_no_row_of_the_subject_was_not_sent_for_it(
    small: SmallRelease, feed: str, has_subject: bool | None, lines: list[str]
) -> None:
    small.deliver(feed)
    found = _explain(small)
    assert [(d["has_subject"], d["is_changed"]) for d in found.deliveries] == [(has_subject, False)]
    assert _said_of_deliveries(found) == lines


def test_an_id_that_looks_like_a_formula_is_found_as_feeds_write_it(small: SmallRelease) -> None:
    policies = load_policy_files(small.deployment.releases / RELEASE / "policy")
    for feed, has_subject in (("customer_id\n'=A\n", True), ("customer_id\n=A\n", False)):
        small.deliver(feed)
        found = deliveries(small.deployment, small.ledger, RELEASE, policies, "six_star", "=A")
        assert found[-1]["has_subject"] is has_subject


def test_it_is_not_said_that_nothing_was_sent_while_that_is_unknown(small: SmallRelease) -> None:
    small.deliver(FEED).unlink()
    found = _explain(small)
    assert [(d["has_subject"], d["is_changed"]) for d in found.deliveries] == [(None, None)]
    assert _said_of_deliveries(found) == [NOT_SEEN, "  hotline: catalog 1"]
    assert changed_deliveries(small.deployment, found.deliveries) is None


@pytest.mark.parametrize(
    "damage", [FEED.replace("A,", "B,").encode(), b"customer_id\n\xff\xfe\n", b'customer_id\n"A', b"customer_id\n\0\r", b""]
)
def test_a_delivered_file_that_was_changed_is_a_mismatch_and_no_witness(small: SmallRelease, damage: bytes) -> None:
    path = small.deliver(FEED)
    path.write_bytes(damage)
    found = _explain(small)
    assert [(d["has_subject"], d["is_changed"]) for d in found.as_json()["deliveries"]] == [(None, True)]
    assert _said_of_deliveries(found) == [CHANGED, "  hotline: catalog 1"]
    assert _said_of_deliveries(found, "zh")[0] == "下发后文件已被改动"
    said = changed_deliveries(small.deployment, found.deliveries)
    assert isinstance(said, Mismatch) and said.what == "changed after it was delivered: channels/hotline/hotline_1.csv"


def test_a_file_in_whose_place_a_later_delivery_lies_is_gone_and_not_changed(small: SmallRelease) -> None:
    small.deliver("customer_id\nA\n")
    path = small.deliver(FEED)
    found = _explain(small)
    assert [(d["has_subject"], d["is_changed"]) for d in found.deliveries] == [(None, None), (True, False)]
    assert _said_of_deliveries(found) == ["Sent to", "  hotline: catalog 1", NOT_SEEN, "  hotline: catalog 1"]
    path.write_text("customer_id\nB\n", encoding="utf-8")
    assert [d["is_changed"] for d in _explain(small).deliveries] == [None, True]


def test_json_holds_everything_that_the_text_says(small: SmallRelease) -> None:
    value = json.loads(json.dumps(_explain(small).as_json()))
    assert value["level"]["level_id"] == "star_2"
    assert value["matched_rule"]["conditions"][0]["compared_with"] == ["200"]
    assert value["bills"][0] == {
        "source": "billing",
        "file": "bills_1.csv",
        "row": 3,
        "document_id": "b2",
        "line_id": "n1",
        "period": "2026-02",
        "charge_type": "voice",
        "amount": "50.0000",
        "is_credit_note": False,
        "customer_id": "A",
        "cost": None,
        "counts_as_spend": True,
    }
    assert value["policy"]["approver"] == "head.of.customer.value"
    assert value["policy"]["policy_hash"] == "p", "the hash that was recorded, which an older release reckoned otherwise"
    assert value["release"]["release"] == RELEASE


@pytest.mark.parametrize(
    ("lang", "phrases"),
    [
        (
            "en",
            [
                "Customer A: Two stars in Six-star rating, 2026-06",
                "220.005 over 5 months",
                "40 × 5 = 200",
                "missing 179.995",
                "Rose from One star",
            ],
        ),
        ("zh", ["客户 A", "二星", "220.005", "40 × 5 = 200", "尚差 179.995", "由一星上升"]),
    ],
)
def test_text_says_why_in_both_languages(small: SmallRelease, lang: str, phrases: list[str]) -> None:
    text = render(_explain(small), "zh" if lang == "zh" else "en")
    assert [phrase for phrase in phrases if phrase not in text] == []


def test_a_leaver_is_explained_without_a_rule(small: SmallRelease) -> None:
    steps = '[{"step":"scope","from":null,"to":null,"why":"left"}]'
    gone = dict.fromkeys(("level_id", "level_rank", "qualified_level_id", "qualified_level_rank", "matched_rule_id", "policy_version"))
    small.write_decisions({**gone, "status": "out_of_scope", "status_reason": "left", "movement": "left", "steps": steps, "evidence": {}})
    found = _explain(small)
    assert (found.matched, found.above, found.bills) == (None, [], [])
    assert "out of scope" in render(found, "en")
    assert "不在评级范围" in render(found, "zh")
    # Nothing says that A has left; B gave the number up in February.
    assert (found.departures, "Last days" in render(found, "en")) == ([], False)
    policies = load_policy_files(small.deployment.releases / RELEASE / "policy")
    with Landing(small.deployment, small.ledger, found.release["cutoff_seq"]) as landing:
        of_b = departures(landing, policies.programs["six_star"], "B", PERIOD)
        assert departures(landing, policies.programs["six_star"], "B", "2026-02") == []
    assert [(d.entity, d.column, str(d.day), d.row.file, d.row.row) for d in of_b] == [
        ("lines", "end_date", "2026-02-14", "lines_1.csv", 2)
    ]
    told = render(replace(found, departures=of_b), "en").split("Last days, as the sources say\n")[1].split("\n\n")[0]
    assert told.splitlines()[1].split() == ["2026-02-14", "lines", "end_date", "lines_1.csv", "2"]


def test_a_decision_that_its_bills_do_not_give_is_a_mismatch(small: SmallRelease) -> None:
    evidence = json.loads(decision()["evidence"]) | {"spend_6m_amount": "221.0050"}
    small.write_decisions({"evidence": evidence, "missing_amount": "178.9950"})
    with pytest.raises(Mismatch, match=r"220\.0050.*221\.0050"):
        _explain(small)


def test_a_decision_that_its_policy_does_not_give_is_a_mismatch(small: SmallRelease) -> None:
    small.write_decisions({"matched_rule_id": "star_3_spend", "level_id": "star_3"})
    with pytest.raises(Mismatch, match="star_2_spend"):
        _explain(small)


def test_evidence_that_is_not_whole_is_an_error(small: SmallRelease) -> None:
    small.write_decisions({"evidence": {"brand": "easyown"}})
    with pytest.raises(Failed, match="evidence lacks"):
        _explain(small)


@pytest.mark.parametrize(
    ("customer", "program", "period", "what"),
    [
        ("nobody", "six_star", PERIOD, "no customer 'nobody'"),
        ("A", "seven_star", PERIOD, "no program 'seven_star'"),
        ("A", "six_star", "2026-07", "2026-07 is not released; released are 2026-06"),
    ],
)
def test_an_unknown_customer_program_or_period_is_bad_input_with_a_remedy(
    small: SmallRelease, customer: str, program: str, period: str, what: str
) -> None:
    with pytest.raises(BadInput, match=what) as err:
        _explain(small, customer, program, period)
    assert err.value.remedy


def test_a_landed_part_that_is_gone_is_an_error_that_names_it(small: SmallRelease) -> None:
    next((small.deployment.landing / "bill_lines").rglob("*.parquet")).unlink()
    with pytest.raises(Failed, match="landed file is gone"):
        _explain(small)


def test_a_damaged_part_or_release_is_an_error_with_a_remedy(small: SmallRelease) -> None:
    part = next((small.deployment.landing / "bill_lines").rglob("*.parquet"))
    part.chmod(0o644)
    part.write_bytes(b"PAR1 no more")
    with pytest.raises(Failed, match="landed file cannot be read"):
        _explain(small)
    (small.deployment.releases / RELEASE / "fct_decisions.parquet").write_bytes(b"")
    with pytest.raises(Failed, match="released decisions cannot be read") as err:
        _explain(small)
    assert "backup" in err.value.remedy
