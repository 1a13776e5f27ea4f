"""The proof takes of a number what its kind, its contract or the warehouse guarantees, and nothing that a seed merely declares."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from orchestration.errors import BadInput
from orchestration.policy import check_policies
from orchestration.policy.facts import bounds

STAFF = {"subject_type": "staff", "may_be_null": "true"}
CUSTOMER = {"subject_type": "customer", "may_be_null": "true"}
SINCE = {"kind": "months_since", "type": "integer"}
# attribute → (its row, what it may be at least and at most)
ATTRIBUTES: dict[str, tuple[dict[str, str], tuple[int | None, int | None]]] = {
    "since_left": ({**CUSTOMER, **SINCE, "column_name": "left_date"}, (None, None)),
    # Who is billed before joining is in scope.
    "since_joined": ({**CUSTOMER, **SINCE, "column_name": "joined_date"}, (None, None)),
    "since_grade": ({**CUSTOMER, **SINCE, "column_name": "as_of_date", "entity": "credit_grades"}, (0, None)),
    "staff_since_joined": ({**STAFF, **SINCE, "column_name": "joined_date"}, (0, None)),
    "staff_since_left": ({**STAFF, **SINCE, "column_name": "left_date"}, (None, 0)),
    "staff_since_noted": ({**STAFF, **SINCE, "column_name": "valid_from_date"}, (0, None)),
    "known_since": ({**SINCE, "subject_type": "prospect", "may_be_null": "false", "column_name": "first_contact_date"}, (0, None)),
    # A notice may come after the month of the arrival; an arrival is in the period by local time, and its column is in UTC.
    "noted_since": ({**SINCE, "subject_type": "reception", "may_be_null": "false", "column_name": "noted_date"}, (None, None)),
    "arrived_since": ({**SINCE, "subject_type": "reception", "may_be_null": "false", "column_name": "arrives_at"}, (None, None)),
    "tenure": ({**CUSTOMER, "kind": "column", "type": "integer", "column_name": "tenure_months", "minimum": "3", "maximum": "60"}, (1, None)),
    "idle": ({**CUSTOMER, "kind": "column", "type": "integer", "column_name": "months_since_active"}, (0, None)),
    "spend_now": ({**CUSTOMER, "kind": "column", "type": "decimal", "column_name": "spend_amount", "minimum": "0"}, (None, None)),
    "price": ({**CUSTOMER, "kind": "column", "type": "decimal", "column_name": "price_amount", "entity": "devices"}, (0, None)),
    "guests": ({"subject_type": "reception", "may_be_null": "true", "kind": "column", "type": "integer", "column_name": "guests"}, (1, None)),
    "spend": ({**CUSTOMER, "kind": "metric", "type": "decimal", "metric_id": "spend_6m_amount", "minimum": "0", "maximum": "9"}, (None, None)),
    "points": ({**CUSTOMER, "kind": "metric", "type": "integer", "metric_id": "base_points_ytd"}, (0, None)),
    "answers": ({**CUSTOMER, "kind": "metric", "type": "integer", "metric_id": "survey_answers_12m"}, (0, None)),
    "active": ({**CUSTOMER, "kind": "metric", "type": "integer", "metric_id": "active_6m_months", "maximum": "3"}, (0, 6)),
    "margin": ({**CUSTOMER, "kind": "metric", "type": "decimal", "metric_id": "margin_12m_amount", "minimum": "0"}, (None, None)),
    "spend_a_month": (
        {**CUSTOMER, "kind": "average", "type": "decimal", "metric_id": "spend_3m_amount", "months_metric_id": "service_3m_months", "minimum": "0"},
        (None, None),
    ),
    # The answers are those that are added up, each between 0 and 10.
    "satisfaction": (
        {**CUSTOMER, "kind": "average", "type": "decimal", "metric_id": "survey_score_12m", "months_metric_id": "survey_answers_12m", "maximum": "5"},
        (0, 10),
    ),
    "score_an_acceptance": (
        {**CUSTOMER, "kind": "average", "type": "decimal", "metric_id": "survey_score_12m", "months_metric_id": "responses_12m"},
        (0, None),
    ),
    "growth": (
        {**CUSTOMER, "kind": "ratio", "type": "decimal", "metric_id": "spend_3m_amount", "divisor_metric_id": "spend_6m_amount", "minimum": "0"},
        (None, None),
    ),
    "position": ({**CUSTOMER, "kind": "position", "type": "decimal", "of_attributes": "spend", "minimum": "10", "maximum": "20"}, (0, 100)),
    "counted": ({**CUSTOMER, "kind": "first_known", "type": "integer", "of_attributes": "tenure|active", "minimum": "3"}, (0, None)),
    "known_margin": ({**CUSTOMER, "kind": "first_known", "type": "decimal", "of_attributes": "margin|points"}, (None, None)),
}  # fmt: skip


@pytest.fixture
def attributes(seeds):
    seeds.add("attributes", *({"attribute_id": f"t_{name}", **_named(row)} for name, (row, _) in ATTRIBUTES.items()))
    return seeds.load().attributes


def _named(row: dict[str, str]) -> dict[str, str]:
    parts = row.get("of_attributes", "")
    return {**row, "of_attributes": "|".join(f"t_{part}" for part in parts.split("|") if part)}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_number_is_bounded_by_what_no_row_can_break(attributes, name):
    _, (low, high) = ATTRIBUTES[name]
    assert bounds(attributes[f"t_{name}"]) == (low if low is None else Decimal(low), high if high is None else Decimal(high))


def plain_table(seeds, attribute: dict[str, str], rules) -> None:
    """six_star with these rules alone, and one more attribute."""
    seeds.set("programs", 2, "monotone_in", "")
    for seed in ("scope_rules", "caps"):
        seeds.write(seed, seeds.rows(seed)[:1])
    seeds.add("attributes", {**CUSTOMER, **attribute})
    seeds.rules([(name, f"star_{n}", [condition]) for n, (name, *condition) in enumerate(rules, 1)], "unique")


def found(seeds) -> list[tuple[str, dict[str, str | None]]]:
    return [(f.kind, f.example) for f in check_policies(seeds.load()) if f.kind != "unused_level"]


@pytest.mark.parametrize("column", ["left_date", "joined_date"])
def test_a_date_that_lies_ahead_falls_through_and_is_found(seeds, decide, con, column):
    con.execute("alter table metrics add column left_date date")
    rules = [("none", "t_months", "is null", ""), ("past", "t_months", ">=", "0")]
    plain_table(seeds, {**SINCE, "attribute_id": "t_months", "column_name": column}, rules)
    ahead = {"period_index": 24317, column: date(2027, 5, 31)}
    (decision,) = decide(seeds.load(), ahead)
    assert (decision["status"], decision["status_reason"]) == ("not_evaluated", "no rule holds")
    ((kind, example),) = found(seeds)
    assert kind == "gap" and int(example["t_months"] or 0) < 0
    # The finding can be mended in any of the ways in which a rule can say it.
    for operator, value in (("<", "0"), ("in range", "-60..0")):
        plain = [*rules, ("ahead", "t_months", operator, value)]
        seeds.rules([(name, f"star_{n}", [condition]) for n, (name, *condition) in enumerate(plain, 1)], "unique")
        assert [kind for kind, _ in found(seeds)] == ([] if operator == "<" else ["gap"])
        (decision,) = decide(seeds.load(), ahead)
        assert decision["matched_rule_id"] == "ahead"


def test_credit_notes_fall_below_a_declared_minimum_and_are_found(seeds, decide):
    rules = [("low", "t_spend", "in range", "0..50"), ("middle", "t_spend", "in range", "50..100"), ("high", "t_spend", ">=", "100")]
    attribute = {
        "attribute_id": "t_spend",
        "kind": "metric",
        "type": "decimal",
        "metric_id": "spend_6m_amount",
        "minimum": "0",
        "may_be_null": "false",
    }
    plain_table(seeds, attribute, rules)
    (decision,) = decide(seeds.load(), {"spend_6m_amount": Decimal("-5.47")})
    assert (decision["status"], decision["status_reason"]) == ("not_evaluated", "no rule holds")
    ((kind, example),) = found(seeds)
    assert kind == "gap" and Decimal(example["t_spend"] or 0) < 0
    seeds.rules(
        [(name, f"star_{n}", [condition]) for n, (name, *condition) in enumerate([*rules, ("credit", "t_spend", "<", "0")], 1)], "unique"
    )
    assert found(seeds) == []


@pytest.mark.parametrize(
    ("minimum", "maximum", "value", "remedy"),
    [
        ("0", "", "-1", "write a number of at least 0"),
        ("", "100000000", "100000001", "write a number of at most 100000000"),
        ("-10", "10", "11", "write a number from -10 to 10"),
    ],
)
def test_a_declared_bound_limits_what_a_rule_may_name_and_the_message_says_it(seeds, minimum, maximum, value, remedy):
    attribute = {"kind": "metric", "type": "decimal", "metric_id": "spend_6m_amount", "minimum": minimum, "maximum": maximum}
    plain_table(seeds, {"attribute_id": "t_spend", **attribute}, [("bar", "t_spend", ">=", value)])
    with pytest.raises(BadInput, match="what a rule may name of t_spend") as caught:
        seeds.load()
    assert remedy in caught.value.remedy
