"""The proof knows what attributes are made of: bands and their numbers, ranks, averages, counts; who is in scope; caps."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestration.policy import Finding, check_policies
from orchestration.policy.boundaries import boundary_cases
from orchestration.policy.compile import evaluation_order
from orchestration.policy.profiles import band_of, table_holds
from tests.policy.conftest import SeedFolder
from tests.support import draws

LEVELS = [f"star_{n}" for n in range(1, 7)]
SPEND, BAND, OTHER_BAND, BRAND = "spend_avg_6m", "t_spend_band", "t_spend_band_2", "brand"
METRIC = {"kind": "metric", "subject_type": "customer", "may_be_null": "false"}
slow_fixture = settings(max_examples=draws(40, 160), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Rules = Sequence[tuple[str, str, Sequence[tuple[str, str, str]]]]


@pytest.fixture
def table(seeds):
    """The six-star program, with further attributes to compare."""
    seeds.set("programs", 2, "monotone_in", "")
    for seed in ("scope_rules", "caps"):
        seeds.write(seed, seeds.rows(seed)[:1])
    for column in ("validity_months", "grace_months", "fall"):
        seeds.set("policy_versions", 2, column, "")
    seeds.add(
        "attributes",
        {"attribute_id": "t_sum", "type": "decimal", "metric_id": "spend_6m_amount", **METRIC},
        {"attribute_id": "t_service", "type": "integer", "metric_id": "service_6m_months", **METRIC},
        {"attribute_id": "t_active_6m", "type": "integer", "metric_id": "active_6m_months", **METRIC},
        {"attribute_id": "t_active_12m", "type": "integer", "metric_id": "active_12m_months", **METRIC},
        *({"attribute_id": f"t_{kind}", "subject_type": "customer", "kind": kind, "type": "decimal", "of_attributes": "t_sum", "may_be_null": "true"}
          for kind in ("position", "share", "portion")),
        *({"attribute_id": name, "subject_type": "customer", "kind": "band", "type": "category", "of_attributes": SPEND, "may_be_null": "true"}
          for name in (BAND, OTHER_BAND)),
        {"attribute_id": "t_known", "subject_type": "customer", "kind": "first_known", "type": "integer",
         "of_attributes": "tenure_months|t_active_6m", "may_be_null": "false"},
        {"attribute_id": "t_position_band", "subject_type": "customer", "kind": "band", "type": "category", "of_attributes": "t_position",
         "may_be_null": "true"},
    )  # fmt: skip
    set_bands(seeds, BAND, ["80", "300"])
    set_bands(seeds, OTHER_BAND, ["150"])
    set_bands(seeds, "t_position_band", ["20", "50", "100"])
    return seeds


def set_bands(seeds, attribute: str, bounds: Sequence[str]) -> None:
    """Bands b0, b1, … of an attribute of six_star v1; without a last bound of 100 the last one is open."""
    head, *rows = seeds.rows("bands")
    seeds.write("bands", [head, *(row for row in rows if row[head.index("attribute_id")] != attribute)])
    uppers = list(bounds) if bounds[-1:] == ["100"] else [*bounds, ""]
    of = {"program_id": "six_star", "version": "v1", "attribute_id": attribute}
    seeds.add("bands", *({**of, "band_id": f"b{n}", "band_order": f"{n + 1}", "below": upper} for n, upper in enumerate(uppers)))


def scope(seeds, *rows: tuple[str, str, str, str]) -> None:
    of = {"program_id": "six_star", "version": "v1"}
    seeds.add("scope_rules", *({**of, "rule_id": r, "attribute": a, "operator": o, "value": v} for r, a, o, v in rows))


def cap(seeds, *rows: tuple[str, str, str, str, str]) -> None:
    of = {"program_id": "six_star", "version": "v1"}
    seeds.add("caps", *({**of, "cap_id": c, "level_id": level, "attribute": a, "operator": o, "value": v} for c, level, a, o, v in rows))


# What is not looked at here: a table of a few rules gives few levels and uses few bands.
BESIDE = {"unused_level", "unused", "idle_band"}


def check(seeds, *kinds: str) -> list[Finding]:
    found = [f for f in check_policies(seeds.load()) if f.kind not in BESIDE]
    assert sorted(f.kind for f in found) == sorted(kinds), [str(f) for f in found]
    for finding in found:
        assert finding.remedy and finding.file.endswith(".csv") and finding.row > 1
    return found


def test_a_program_that_uses_every_seed_and_kind_is_sound(own):
    assert check_policies(own.load()) == []


@pytest.mark.parametrize(
    "rules",
    [
        [("a", [(BAND, "=", "b0")]), ("b", [(SPEND, ">=", "80")]), ("null", [(SPEND, "is null", "")])],
        [("a", [(BAND, "in", "b0|(null)")]), ("b", [(BAND, "not in", "b0")])],
        [("a", [(BAND, "!=", "b1")]), ("b", [(SPEND, "in range", "80..300")]), ("null", [(BAND, "is null", "")])],
        [
            ("a", [(BAND, "in", "b0|(null)")]),
            ("b", [(BAND, "=", "b1"), (OTHER_BAND, "=", "b0")]),
            ("c", [(OTHER_BAND, "=", "b1"), (SPEND, "<", "300")]),
            ("d", [(BAND, "=", "b2")]),
        ],
        [("none", [("t_service", "=", "0")]), ("some", [(SPEND, "is not null", "")])],
        [("a", [(SPEND, "<", "0")]), ("b", [("t_sum", ">=", "0")]), ("c", [("t_sum", "<", "0"), (SPEND, "is null", "")])],
        [("last", [("t_position", "=", "100")]), ("others", [("t_sum", ">", "0")])],
        [("last", [("t_portion", "=", "0")]), ("others", [("t_sum", ">", "0")]), ("null", [("t_portion", "is null", ""), ("t_sum", "<=", "0")])],
        [("first", [("t_share", "=", "0")]), ("others", [("t_position", ">", "0")])],
        [("known", [("t_share", "is not null", ""), ("t_sum", ">", "0")]), ("none", [("t_sum", "<=", "0")])],
        [("known", [("t_portion", ">", "0")]), ("none", [("t_sum", "<=", "0")])],
        [("a", [("t_active_6m", ">", "5"), ("t_active_12m", ">", "5")]), ("b", [("t_active_6m", "<=", "5")])],
        [("a", [("t_active_12m", ">=", "9"), ("t_active_6m", ">=", "3")]), ("b", [("t_active_12m", "<", "9")])],
        [("a", [("t_active_6m", "in", "0|1|2|3|4|5|6")])],
        [
            ("a", [("tenure_months", ">=", "6")]),
            ("b", [("t_known", "<", "6")]),
            ("c", [("tenure_months", "is null", ""), ("t_active_6m", "=", "6")]),
        ],
        [("a", [("t_position_band", "in", "b0|b1")]), ("b", [("t_position", "in range", "50..100")]), ("c", [("t_position", "=", "100")])],
    ],
    ids=str,
)  # fmt: skip
def test_what_attributes_are_made_of_gives_no_false_finding(table, rules):
    table.rules([(name, LEVELS[n], conditions) for n, (name, conditions) in enumerate(rules)], "unique")
    check(table)
    # Nothing is proven by assuming too much: without any one of the rules there is a hole.
    for left_out in range(len(rules)):
        rest = [rule for n, rule in enumerate(rules) if n != left_out]
        if rest:
            table.rules([(name, LEVELS[n], conditions) for n, (name, conditions) in enumerate(rest)], "unique")
            assert {f.kind for f in check_policies(table.load())} & {"gap", "null_gap"}, rules[left_out]


@pytest.mark.parametrize("attribute", ["contribution_12m", "t_sum", "t_contribution_position"])
def test_what_is_never_null_leaves_no_gap_whatever_the_seed_allows(table, attribute):
    """Spend is known of everyone, so profit or else spend is, and the place by it."""
    position = {"kind": "position", "subject_type": "customer", "type": "decimal", "may_be_null": "true"}
    table.add("attributes", {"attribute_id": "t_contribution_position", "of_attributes": "contribution_12m", **position})
    table.set("attributes", table.row_of("attributes", attribute_id="t_sum"), "may_be_null", "true")
    table.rules([("low", "star_1", [(attribute, "<", "10")]), ("high", "star_2", [(attribute, ">=", "10")])], "unique")
    assert [f for f in check_policies(table.load()) if f.severity == "error"] == []
    table.rules([("low", "star_1", [("margin_12m", "<", "10")]), ("high", "star_2", [("margin_12m", ">=", "10")])], "unique")
    check(table, "null_gap")


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        ([("a", [(BAND, "=", "b0"), (SPEND, ">=", "80")]), ("b", [])], "unreachable"),
        ([("a", [(SPEND, "<", "300")]), ("b", [(BAND, "=", "b1")]), ("c", [])], "masked"),
        ([("a", [(BAND, "=", "b2")]), ("b", [(OTHER_BAND, "=", "b1"), (SPEND, ">", "299.99"), (SPEND, ">=", "300")]), ("c", [])], "masked"),
        ([("a", [("t_service", "=", "0"), (SPEND, "is not null", "")]), ("b", [])], "unreachable"),
        ([("a", [("t_position", "<", "50"), ("t_share", "<", "20"), ("t_position", ">", "30")]), ("b", [])], "unreachable"),
        ([("a", [("t_active_12m", "<", "3"), ("t_active_6m", ">", "3")]), ("b", [])], "unreachable"),
        ([("a", [("t_active_6m", ">", "6")]), ("b", [])], "unreachable"),
        ([("a", [("t_known", ">", "6"), ("tenure_months", "is null", "")]), ("b", [])], "unreachable"),
        ([("a", [("contribution_12m", "is null", "")]), ("b", [])], "unreachable"),
    ],
    ids=str,
)
def test_what_attributes_are_made_of_is_used_against_a_rule(table, rules, kind):
    table.rules([(name, LEVELS[5 - n], conditions) for n, (name, conditions) in enumerate(rules)])
    (finding,) = check(table, kind)
    assert finding.severity == "error"


def test_a_gap_of_those_alone_who_lack_several_attributes_is_found(table):
    table.rules([("a", "star_4", [(BRAND, "is not null", "")]), ("b", "star_1", [("nominated_level", "is not null", "")])])
    (finding,) = check(table, "null_gap")
    assert "lack several attributes" in finding.what
    assert finding.example[BRAND] is None and finding.example["nominated_level"] is None


def test_two_attributes_of_one_metric_are_one_number(table):
    table.add("attributes", {"attribute_id": "t_sum_again", "type": "decimal", "metric_id": "spend_6m_amount", **METRIC})
    table.rules([("low", "star_1", [("t_sum", "<", "80")]), ("high", "star_2", [("t_sum_again", ">=", "80")])], "unique")
    check(table)


def test_an_example_shows_the_band_with_its_number(table):
    table.rules([("low", "star_1", [(BAND, "in", "b0|(null)")]), ("high", "star_2", [(BAND, "=", "b2")])], "unique")
    (finding,) = check(table, "gap")
    assert finding.example[BAND] == "b1" and 80 <= Decimal(str(finding.example[SPEND])) < 300
    table.rules([("low", "star_1", [(BAND, "in", "b0|b1")]), ("high", "star_2", [(BAND, "=", "b2")])], "unique")
    (finding,) = check(table, "null_gap")
    assert f"{BAND} is null" in finding.what and finding.example[BAND] is None


def test_lists_of_hundreds_of_values_are_proven_as_short_ones_are(table):
    """Neighbours in a list are one range for the proof, with the holes that other rules make."""
    some, more = ([f"r{n}" for n in range(300) if n % 7 == rest] for rest in (0, 1))
    lists = [("some", some), ("more", more), ("both", [*some[:5], "r2", *more[:5]])]

    def rules(*names: str) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
        return [(name, LEVELS[n], [("region", "in", "|".join(values))]) for n, (name, values) in enumerate(lists) if name in names]

    rest = ("rest", LEVELS[5], [("region", "not in", "|".join([*some, *more]))])
    none = ("none", LEVELS[4], [("region", "is null", "")])
    table.rules([*rules("some", "more"), rest, none], "unique")
    check(table)
    table.rules([*rules("some"), rest, none], "unique")
    (finding,) = check(table, "gap")
    assert finding.example["region"] in more
    table.rules([*rules("some", "more", "both"), rest, none], "unique")
    assert sorted((f.rule_id, f.example["region"] in some) for f in check(table, *["overlap"] * 3)) == [
        ("both", False),
        ("both", True),
        ("rest", False),
    ]
    table.rules([*rules("both"), *rules("some", "more"), ("last", LEVELS[5], [])])
    check(table)


def test_a_gap_of_subjects_out_of_scope_is_no_gap(table):
    table.rules([("old", "star_2", [(BAND, "in", "b1|b2")]), ("none", "star_1", [(SPEND, "is null", "")])], "unique")
    check(table, "gap")
    scope(table, ("small", SPEND, "<", "80"))
    check(table)
    scope(table, ("small", BRAND, "=", "gotone"))
    check(table, "gap")


def test_scope_rules_that_leave_nobody_are_found(table):
    scope(table, ("low", BAND, "in", "b0|(null)"), ("high", SPEND, ">=", "80"))
    (finding,) = check(table, "nobody_in_scope")
    assert finding.severity == "error" and finding.rule_id == "high" and "'low' and 'high'" in finding.what and finding.example


def test_scope_rules_that_are_never_the_reason_or_never_hold_are_found(table):
    table.rules([("others", "star_1", [])])
    scope(table, ("low", SPEND, "<", "100"), ("lower", BAND, "=", "b0"), ("never", SPEND, "<", "1"), ("never", SPEND, ">", "2"))
    masked, never = sorted(check(table, "masked_scope_rule", "unreachable"), key=lambda f: f.kind)
    assert (masked.rule_id, masked.severity) == ("lower", "warning") and "low (row" in masked.what
    assert (never.rule_id, never.severity) == ("never", "error")


def test_a_rule_for_subjects_out_of_scope_is_found_with_the_scope_rule(table):
    table.rules([("small", "star_1", [(BAND, "=", "b0")]), ("others", "star_2", [])])
    scope(table, ("low", SPEND, "<", "100"))
    (finding,) = check(table, "unreachable")
    assert finding.rule_id == "small" and "excluded by low (row 2)" in finding.what and finding.example[BAND] == "b0"


@pytest.mark.parametrize(
    ("caps", "kind", "severity", "words"),
    [
        ([("top", "star_6", BRAND, "=", "gotone")], "idle_cap", "warning", "highest level"),
        ([("a", "star_3", SPEND, "<", "50"), ("b", "star_3", BAND, "=", "b0")], "", "", ""),
        ([("a", "star_3", SPEND, "<", "50"), ("a", "star_3", SPEND, ">", "50")], "unreachable", "error", "contradict"),
        ([("a", "star_3", BRAND, "is not null", ""), ("b", "star_4", BRAND, "=", "gotone")], "masked_cap", "warning", "a (row 2)"),
        ([("a", "star_4", BRAND, "=", "gotone"), ("b", "star_3", BRAND, "is not null", "")], "masked_cap", "warning", "b (row 3)"),
        ([("a", "star_3", BRAND, "=", "gotone"), ("b", "star_3", BRAND, "=", "gotone")], "masked_cap", "warning", "cap 'b' never counts"),
        (
            [("a", "star_5", BRAND, "=", "easyown"), ("a", "star_5", "nominated_level", "is null", "")],
            "idle_cap",
            "warning",
            "never lowers",
        ),
    ],
)
def test_caps_that_do_nothing_are_found(table, caps, kind, severity, words):
    cap(table, *caps)
    found = check(table, *([kind] if kind else []))
    if kind:
        assert found[0].severity == severity and words in found[0].what and found[0].file.endswith("caps.csv")


def test_a_cap_may_lower_a_level_that_is_held_though_no_longer_reached(table):
    cap(table, ("a", "star_5", BRAND, "=", "easyown"), ("a", "star_5", "nominated_level", "is null", ""))
    table.set("policy_versions", 2, "validity_months", "12")
    check(table)


def test_monotone_is_proven_through_bands_and_ranks(table):
    rules = [("a", "star_4", [(BAND, "=", "b2")]), ("b", "star_5", [(BAND, "=", "b1")]), ("c", "star_1", [])]
    table.set("programs", 2, "monotone_in", SPEND)
    table.rules(rules)
    (finding,) = check(table, "not_monotone")
    assert "star_5 to star_4" in finding.what and finding.example[BAND] == "b1"
    table.rules([("a", "star_5", [(BAND, "=", "b2")]), ("b", "star_4", [(BAND, "=", "b1")]), ("c", "star_1", [])])
    check(table)
    table.set("programs", 2, "monotone_in", "t_sum")
    table.rules([("a", "star_5", [("t_position", "<", "20")]), ("b", "star_4", [("t_share", "<", "80")]), ("c", "star_1", [])])
    check(table)
    table.rules([("a", "star_1", [("t_position", "<", "20")]), ("b", "star_4", [("t_share", "<", "80")]), ("c", "star_1", [])])
    check(table, "not_monotone")
    table.rules([("a", "star_1", [(SPEND, ">=", "300")]), ("b", "star_4", [("t_sum", ">=", "100")]), ("c", "star_1", [])])
    check(table, "not_monotone")
    table.rules([("a", "star_4", [(SPEND, ">=", "300")]), ("b", "star_3", [("t_sum", ">=", "100")]), ("c", "star_1", [])])
    check(table)


@pytest.mark.parametrize("promised", ["t_sum", SPEND, "t_first"])
@pytest.mark.parametrize("asked", ["t_sum", SPEND, "t_first", "t_position", "t_share", "t_portion", "t_position_of_first"])
def test_numbers_of_one_sum_rise_together(table, promised, asked):
    """Levels that rise with an average also hang on the place of its sum among the sums of others, and the other way round."""
    first = {"kind": "first_known", "type": "decimal", "of_attributes": "margin_12m|t_sum", "may_be_null": "false"}
    table.add("attributes", {"attribute_id": "t_first", "subject_type": "customer", **first})
    place = {"kind": "position", "type": "decimal", "of_attributes": "t_first", "may_be_null": "true"}
    table.add("attributes", {"attribute_id": "t_position_of_first", "subject_type": "customer", **place})
    table.set("programs", 2, "monotone_in", promised)
    falls = asked in {"t_position", "t_share", "t_position_of_first"}
    condition = [(asked, "<" if falls else ">=", "50")]
    table.rules([("near", "star_5", condition), ("others", "star_1", [])])
    check(table)
    table.rules([("near", "star_1", condition), ("others", "star_5", [])])
    check(table, "not_monotone")


@pytest.mark.parametrize("shared", ["t_share", "t_portion"])
def test_the_first_amount_above_zero_gives_everybody_a_share(table, shared):
    table.set("programs", 2, "monotone_in", "t_sum")
    table.rules([("nobody", "star_5", [(shared, "is null", "")]), ("others", "star_1", [])])
    check(table, "not_monotone")
    table.rules([("nobody", "star_1", [(shared, "is null", "")]), ("others", "star_5", [])])
    check(table)


@pytest.mark.parametrize("shared", ["t_share", "t_portion"])
def test_the_last_amount_above_zero_leaves_nobody_a_share(table, shared):
    """Who comes last with what was the whole: the place rises as the share goes."""
    table.set("programs", 2, "monotone_in", "t_position")
    table.rules([("nobody", "star_1", [(shared, "is null", "")]), ("others", "star_5", [])])
    check(table, "not_monotone")
    table.rules([("nobody", "star_5", [(shared, "is null", "")]), ("others", "star_1", [])])
    check(table)


def test_a_score_rises_with_a_number_of_which_more_never_scores_less(tmp_path):
    table = SeedFolder(tmp_path / "seeds", "six_star", "vip_score")
    table.set("programs", table.row_of("programs", program_id="vip_score"), "monotone_in", "tenure_months")
    check(table)
    table.set("score_bands", table.row_of("score_bands", dimension_id="tenure", band_order="3"), "score", "10")
    check(table, "not_monotone")


@pytest.mark.parametrize("asked", ["t_sum", SPEND])
@pytest.mark.parametrize(("promised", "low", "high"), [("t_portion", 1, 5), ("t_share", 5, 1), ("t_position", 5, 1)])
def test_a_promise_in_a_rank_is_one_in_its_amount(table, promised, asked, low, high):
    """Where a portion rises the amount does; who comes later in the order has less."""
    table.set("programs", 2, "monotone_in", promised)
    for bar in ("0.01", "100"):
        table.rules([("little", f"star_{low}", [(asked, "<", bar)]), ("rest", f"star_{high}", [])])
        check(table)
        table.rules([("little", f"star_{high}", [(asked, "<", bar)]), ("rest", f"star_{low}", [])])
        check(table, "not_monotone")


@pytest.mark.parametrize("promised", ["t_sum", SPEND])
@pytest.mark.parametrize(
    ("bounds", "null"),
    [(["80", "100"], "star_3"), (["80", "100"], "star_5"), (["20", "80"], "star_5")],
)
def test_a_share_begins_with_the_own_amount_above_zero(table, promised, bounds, null):
    """Who has the first positive amount has all of it: no other share follows on none."""
    table.set("programs", 2, "monotone_in", promised)
    near, far = [("t_share", "<", bounds[0])], [("t_share", "in range", "..".join(bounds))]
    rules = [("near", "star_5", near), ("far", "star_4", far), ("nobody", null, [("t_share", "is null", "")]), ("others", "star_1", [])]
    table.rules(rules)
    check(table)
    table.rules([("near", "star_2", near), *rules[1:3], ("others", "star_1", [])])
    check(table, "not_monotone")


def test_a_level_may_fall_where_the_subject_leaves_the_scope(table):
    table.set("programs", 2, "monotone_in", SPEND)
    table.rules([("a", "star_1", [(BAND, "=", "b2")]), ("b", "star_5", [])])
    check(table, "not_monotone")
    scope(table, ("big", SPEND, ">=", "300"))
    check(table, "unreachable")


def sanity(seeds) -> list[tuple[str, str]]:
    found = check_policies(seeds.load())
    assert {f.severity for f in found} <= {"warning"}
    return [(f.kind, f.what) for f in found]


def test_plans_and_checklists_that_leave_a_level_out_are_found(own):
    for seed in ("contact_plans", "checklists"):
        head, *rows = own.rows(seed)
        own.write(seed, [head, *rows[:-1]])
    (plan, what), (checklist, _) = sanity(own)
    assert (plan, checklist) == ("no_contact_plan", "no_checklist") and what.endswith("no contact plan for gold")


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        ({"gold": {"share_target_pct": "60"}}, "level 'gold' of own v1 has a share_target_pct and no contact group"),
        ({"gold": {"contact_group": "G", "reach_target_pct": "60"}}, "its subjects are no priority subjects"),
        (
            {"gold": {"contact_group": "G", "share_target_pct": "60"}, "silver": {"contact_group": "G", "share_target_pct": "50"}},
            "'G' of own v1 has a share_target_pct of 50 in row",
        ),
        ({"gold": {"contact_group": "G", "share_target_pct": "60"}, "silver": {"contact_group": "G"}}, None),
    ],
)
def test_targets_of_contacts_that_are_compared_with_nothing_or_contradict_each_other_are_found(own, plans, words):
    for level, cells in plans.items():
        for column, value in cells.items():
            own.set("contact_plans", own.row_of("contact_plans", program_id="own", level_id=level), column, value)
    found = sanity(own)
    assert [kind for kind, _ in found] == (["contact_target"] if words else [])
    assert all(words in what for _, what in found)


def test_bands_that_no_rule_tells_apart_or_uses_are_found(own):
    row = own.row_of("decision_conditions", program_id="own", attribute="t_spend_band", operator="!=")
    own.set("decision_conditions", row, "value", "big")
    ((kind, what),) = sanity(own)
    assert kind == "idle_band" and "'middle' from 'small'" in what
    own.add("bands", {"program_id": "six_star", "version": "v1", "attribute_id": "t_spend_band", "band_id": "all", "band_order": "1"})
    assert {kind for kind, _ in sanity(own)} == {"idle_band", "unused"}


@pytest.mark.parametrize(
    ("seed", "cells", "changes", "words"),
    [
        ("score_dimensions", {"dimension_id": "months"}, {"low": "12", "high": "24"}, "has it 0"),
        ("score_dimensions", {"dimension_id": "months"}, {"low": "-24", "high": "0"}, "has it 100"),
        ("score_bands", {"band_order": "1"}, {"score": "60"}, ""),
    ],
)
def test_a_dimension_that_gives_everybody_the_same_is_found(own, seed, cells, changes, words):
    for column, value in changes.items():
        own.set(seed, own.row_of(seed, **cells), column, value)
    found = sanity(own)
    assert [kind for kind, _ in found] == (["idle_dimension"] if words else [])
    if words:
        assert words.replace("has it", "every subject")[:5] in found[0][1] and "changes no order" in found[0][1]


def test_a_dimension_whose_bands_all_score_alike_tells_only_who_has_it(own):
    for order in ("1", "2"):
        own.set("score_bands", own.row_of("score_bands", band_order=order), "score", "100")
    ((kind, what),) = sanity(own)
    assert kind == "idle_dimension" and "every subject that has it 100" in what and "tells only who has none" in what


cuts_of = st.lists(st.integers(-200, 40_000).map(lambda n: Decimal(n) / 100), min_size=2, max_size=5, unique=True).map(sorted)


def banded(cuts: list[Decimal]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """A sound table under unique: a rule for each band, by its name or by its number, the highest one split by brand."""
    rules: list[tuple[str, str, list[tuple[str, str, str]]]] = [("unknown", LEVELS[0], [(BAND, "is null", "")])]
    for n, (low, high) in enumerate(pairwise([None, *cuts])):
        by_number = [(SPEND, "<", f"{high}"), *([(SPEND, ">=", f"{low}")] if low is not None else [])]
        rules.append((f"band_{n}", LEVELS[n % 5], [(BAND, "=", f"b{n}")] if n % 2 else by_number))
    last = f"b{len(cuts)}"
    rules.append(("top_gotone", LEVELS[5], [(BAND, "=", last), (BRAND, "=", "gotone")]))
    rules.append(("top_other", LEVELS[5], [(BAND, "in", last), (BRAND, "in", "easyown|mzone|(null)")]))
    rules.append(("top_new", LEVELS[5], [(SPEND, ">=", f"{cuts[-1]}"), (BRAND, "not in", "gotone|easyown|mzone")]))
    return rules


def rules_that_hold(seeds, example: dict[str, str | None]) -> list[str]:
    program = seeds.load().programs["six_star"]
    profile: dict[str, Any] = {**example, SPEND: None if example[SPEND] is None else Decimal(example[SPEND] or "")}
    profile[BRAND] = profile.get(BRAND)
    bands = {a.attribute_id: a for a in program.versions[0].attributes if a.kind == "band"}
    for name, attribute in bands.items():
        assert name not in example or example[name] == band_of(attribute, profile[SPEND])
        profile[name] = band_of(attribute, profile[SPEND])
    return [rule.rule_id for rule in program.versions[0].rules if table_holds(rule, profile)]


@slow_fixture
@given(cuts=cuts_of, data=st.data())
def test_a_planted_gap_is_found_in_a_table_of_bands(table, cuts, data):
    set_bands(table, BAND, [f"{cut:.2f}" for cut in cuts])
    rules = banded(cuts)
    table.rules(data.draw(st.permutations(rules)), "unique")
    check(table)
    removed = data.draw(st.sampled_from(rules))
    table.rules([r for r in rules if r is not removed], "unique")
    found = [f for f in check_policies(table.load()) if f.kind in {"gap", "null_gap"}]
    assert found
    examples = [f.example for f in found]
    for example in examples:
        assert rules_that_hold(table, example) == []
    table.rules(rules, "unique")
    for example in examples:
        assert rules_that_hold(table, example) == [removed[0]]


@slow_fixture
@given(cuts=cuts_of, data=st.data(), step=st.sampled_from(["0.0001", "0.01", "50"]))
def test_a_planted_overlap_is_found_in_a_table_of_bands(table, cuts, data, step):
    set_bands(table, BAND, [f"{cut:.2f}" for cut in cuts])
    rules = banded(cuts)
    number = data.draw(st.sampled_from([n for n in range(1, len(cuts) + 1) if n % 2 == 1]))
    rule_id, level, conditions = rules[number]
    _, _, upper = conditions[0]
    rules[number] = (rule_id, level, [(SPEND, "<", f"{Decimal(upper) + Decimal(step)}"), *conditions[1:]])
    table.rules(rules, "unique")
    found = [f for f in check_policies(table.load()) if f.kind == "overlap"]
    assert rule_id in {f.rule_id for f in found} or any(f"'{rule_id}'" in f.what for f in found)
    for finding in found:
        assert len(rules_that_hold(table, finding.example)) > 1


@slow_fixture
@given(cuts=cuts_of, data=st.data())
def test_a_planted_mask_is_found_in_a_table_of_bands(table, cuts, data):
    set_bands(table, BAND, [f"{cut:.2f}" for cut in cuts])
    rules = [(f"bar_{n}", LEVELS[5 - n], [(SPEND, ">=", f"{cut}")]) for n, cut in enumerate(reversed(cuts))]
    rules.append(("others", LEVELS[0], []))
    table.rules(rules)
    check(table)
    place = data.draw(st.integers(1, len(cuts)))
    planted = ("planted", LEVELS[5], [(BAND, "=", f"b{len(cuts) - place + 1}"), (BRAND, "=", "gotone")])
    table.rules([*rules[:place], planted, *rules[place:]])
    (finding,) = check(table, "masked")
    assert finding.rule_id == "planted" and f"bar_{place - 1}" in finding.what
    holding = rules_that_hold(table, finding.example)
    assert "planted" in holding and holding[0] != "planted"


conditions = st.one_of(
    st.tuples(st.just(SPEND), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from(["79.995", "80", "300"])),
    st.tuples(st.just(BAND), st.sampled_from(["in", "not in"]), st.sampled_from(["b0|b1", "b1|(null)", "b2"])),
    st.tuples(st.just(BAND), st.sampled_from(["=", "!="]), st.sampled_from(["b0", "b1", "b2"])),
    st.tuples(st.just(OTHER_BAND), st.just("="), st.sampled_from(["b0", "b1"])),
    st.tuples(st.just(BRAND), st.sampled_from(["in", "not in"]), st.sampled_from(["gotone|mzone", "gotone|(null)"])),
    st.tuples(st.sampled_from([BRAND, BAND]), st.sampled_from(["is null", "is not null"]), st.just("")),
)
tables = st.lists(st.tuples(st.sampled_from(LEVELS), st.lists(conditions, max_size=3)), min_size=1, max_size=5)
scopes = st.lists(st.lists(conditions, min_size=1, max_size=2), max_size=2)
AMOUNTS = [None, *map(Decimal, ("0", "79.995", "79.999", "80", "100", "150", "200", "300", "301"))]


@settings(max_examples=draws(150, 300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=tables, excluded=scopes, hit_policy=st.sampled_from(["first", "unique", "priority"]))
def test_findings_on_any_table_of_bands_are_those_of_trying_every_profile(table, rules, excluded, hit_policy):
    assume(len(rules) == 1 or any(cs for _, cs in rules))
    table.rules([(f"r{n}", level, cs) for n, (level, cs) in enumerate(rules)], hit_policy)
    head = table.rows("scope_rules")[0]
    table.write("scope_rules", [head])
    scope(table, *((f"s{n}", *c) for n, cs in enumerate(excluded) for c in cs))
    policies = table.load()
    program = policies.programs["six_star"]
    version = program.versions[0]
    ordered = evaluation_order(program, version)
    bands = {a.attribute_id: a for a in version.attributes if a.kind == "band"}
    profiles = [
        {SPEND: spend, BRAND: brand, **{name: band_of(a, spend) for name, a in bands.items()}}
        for spend, brand in product(AMOUNTS, [None, "gotone", "easyown", "mzone", "new"])
    ]
    inside = [p for p in profiles if not any(table_holds(s, p) for s in version.scope_rules)]
    reasons = [next((s.rule_id for s in version.scope_rules if table_holds(s, p)), None) for p in profiles]
    found = check_policies(policies)
    got = {(f.kind, str(f.rule_id)) for f in found if f.kind in {"unreachable", "masked", "redundant", "masked_scope_rule"}}
    met = {s.rule_id for s in version.scope_rules for p in profiles if table_holds(s, p)}
    expected = {("unreachable", s.rule_id) for s in version.scope_rules if s.rule_id not in met}
    expected |= {("masked_scope_rule", s) for s in met - set(reasons)}
    if not inside:
        assert got == expected and any(f.kind == "nobody_in_scope" for f in found)
        return
    held = [[r for r in ordered if table_holds(r, p)] for p in inside]
    ever = {r.rule_id for hs in held for r in hs}
    expected |= {("unreachable", r.rule_id) for r in ordered if r.rule_id not in ever}
    if hit_policy == "unique":
        pairs = {(b.rule_id, a.rule_id) for hs in held for n, a in enumerate(hs) for b in hs[n + 1 :]}
        assert {(f.rule_id, f.what.split("rule ")[2].split("'")[1]) for f in found if f.kind == "overlap"} == pairs
    else:
        expected |= {("masked", rule_id) for rule_id in ever - {hs[0].rule_id for hs in held if hs}}
        for rule in ordered:
            nexts = {hs[1].level_id if hs[1:] else None for hs in held if hs and hs[0] is rule}
            if nexts == {rule.level_id}:
                expected.add(("redundant", rule.rule_id))
    assert got == expected
    assert any(f.kind in {"gap", "null_gap"} for f in found) == any(not hs for hs in held)


def test_boundary_cases_of_a_band_are_those_of_its_number(own):
    program = own.load().programs["own"]
    cases = boundary_cases(program, program.versions[0])
    around = {c["value"]: c["matched_rule_id"] for c in cases if (c["rule_id"], c["attribute"]) == ("best", SPEND)}
    assert around == {"299.99": "nominated", "300": "best", "300.01": "best", "(null)": "nominated"}
    assert {(c["level_id"], c["matched_rule_id"]) for c in cases if c["value"] == "internal"} == {("(out of scope)", "internal")}
    assert {c["value"]: c["capped_to"] for c in cases if c["rule_id"] == "new"} == {"2": "silver", "3": "", "4": "", "(null)": ""}
    ranks = [c["value"] for c in cases if (c["rule_id"], c["attribute"]) == ("best", "t_position")]
    assert ranks[:3] == ["19.99", "20", "20.01"]


def test_the_tied_attributes_of_a_boundary_case_follow(own):
    program = own.load().programs["own"]
    for case in boundary_cases(program, program.versions[0]):
        others = dict(pair.split(" = ") for pair in case["other_attributes"].split("; ")) | {case["attribute"]: case["value"]}
        position, share = others["t_position"], others["t_share"]
        assert (position == "(null)") <= (share == "(null)")
        if "(null)" not in (position, share):
            assert Decimal(position) <= Decimal(share) and (Decimal(position) == 0) == (Decimal(share) == 0)
