"""`policy check` finds every planted gap, overlap and mask, with an example that shows it, and says nothing of a sound table."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestration.deployment import load_deployment
from orchestration.errors import BadInput
from orchestration.policy import Finding, check_policies, load_policies, require_sound
from orchestration.policy.boundaries import boundary_cases, write_boundary_cases
from orchestration.policy.compile import evaluation_order
from orchestration.policy.profiles import Space, table_holds
from tests.policy.conftest import SeedFolder
from tests.support import draws

LEVELS = [f"star_{n}" for n in range(1, 7)]
SPEND, BRAND, POINTS = "spend_avg_6m", "brand", "points_last_year"
slow_fixture = settings(max_examples=draws(40, 160), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(seeds, *kinds: str) -> list[Finding]:
    found = check_policies(seeds.load())
    assert {f.kind for f in found if f.kind != "unused_level"} == set(kinds), [str(f) for f in found]
    for finding in found:
        assert finding.remedy and finding.file.endswith(".csv") and finding.row > 1
        assert finding.where in str(finding)
    return [f for f in found if f.kind != "unused_level"]


def values_of(finding: Finding) -> dict[str, Any]:
    """The example as typed values."""
    typed: dict[str, Any] = dict(finding.example)
    if typed.get(SPEND) is not None:
        typed[SPEND] = Decimal(typed[SPEND])
    if typed.get(POINTS) is not None:
        typed[POINTS] = int(typed[POINTS])
    return typed


def rules_that_hold(seeds, profile: dict[str, Any]) -> list[str]:
    program = seeds.load().programs["six_star"]
    return [rule.rule_id for rule in program.versions[0].rules if table_holds(rule, profile)]


def no_monotone(seeds) -> None:
    seeds.set("programs", 2, "monotone_in", "")


def test_the_default_policies_have_no_finding():
    assert check_policies(load_policies(load_deployment())) == []


cuts_of = st.lists(st.integers(-200, 40_000).map(lambda n: Decimal(n) / 100), min_size=2, max_size=5, unique=True).map(sorted)


def bands(cuts: list[Decimal]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """A sound table under unique: bands of spend, the null average, and the highest band split by brand."""
    rules = [("lowest", LEVELS[0], [(SPEND, "<", f"{cuts[0]}")]), ("unknown", LEVELS[0], [(SPEND, "is null", "")])]
    for n, (low, high) in enumerate(pairwise(cuts)):
        rules.append((f"band_{n}", LEVELS[n % 4 + 1], [(SPEND, "in range", f"{low}..{high}")]))
    rules.append(("top_gotone", LEVELS[5], [(SPEND, ">=", f"{cuts[-1]}"), (BRAND, "=", "gotone")]))
    rules.append(("top_other", LEVELS[5], [(SPEND, ">=", f"{cuts[-1]}"), (BRAND, "not in", "gotone")]))
    rules.append(("top_unknown", LEVELS[5], [(SPEND, ">=", f"{cuts[-1]}"), (BRAND, "is null", "")]))
    return rules


@slow_fixture
@given(cuts=cuts_of, data=st.data())
def test_a_planted_gap_is_found_and_a_sound_table_has_no_finding(seeds, cuts, data):
    no_monotone(seeds)
    rules = bands(cuts)
    seeds.rules(data.draw(st.permutations(rules)), "unique")
    check(seeds)
    removed = data.draw(st.sampled_from(rules))
    seeds.rules([r for r in rules if r is not removed], "unique")
    (finding,) = check(seeds, "null_gap" if "unknown" in removed[0] else "gap")
    profile = values_of(finding)
    assert rules_that_hold(seeds, profile) == []
    seeds.rules(rules, "unique")
    assert rules_that_hold(seeds, profile) == [removed[0]]


@slow_fixture
@given(cuts=cuts_of, data=st.data(), step=st.sampled_from(["0.0001", "0.01", "50"]))
def test_a_planted_overlap_is_found(seeds, cuts, data, step):
    no_monotone(seeds)
    rules = bands(cuts)
    number = data.draw(st.integers(2, len(cuts)))
    rule_id, level, ((attribute, operator, value),) = rules[number]
    low, high = map(Decimal, value.split(".."))
    rules[number] = (rule_id, level, [(attribute, operator, f"{low - Decimal(step)}..{high}")])
    seeds.rules(rules, "unique")
    found = check(seeds, "overlap")
    assert rule_id in {f.rule_id for f in found} or any(f"'{rule_id}'" in f.what for f in found)
    for finding in found:
        assert len(rules_that_hold(seeds, values_of(finding))) > 1


def falling(cuts: list[Decimal]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """A sound table under first: bars from the top, then all others."""
    rules = [(f"bar_{n}", LEVELS[5 - n], [(SPEND, ">=", f"{cut}")]) for n, cut in enumerate(reversed(cuts))]
    return [*rules, ("others", LEVELS[0], [])]


@slow_fixture
@given(cuts=cuts_of.filter(lambda c: len(c) < 5), data=st.data())
def test_a_planted_mask_is_found(seeds, cuts, data):
    rules = falling(cuts)
    seeds.rules(rules)
    check(seeds)
    place = data.draw(st.integers(1, len(rules) - 1))
    above = cuts[len(cuts) - place]
    planted = ("planted", LEVELS[5], [(SPEND, ">", f"{above}"), (POINTS, ">=", "10")])
    seeds.rules([*rules[:place], planted, *rules[place:]])
    (finding,) = check(seeds, "masked")
    assert finding.rule_id == "planted" and finding.severity == "error"
    assert f"bar_{place - 1}" in finding.what
    holding = rules_that_hold(seeds, values_of(finding))
    assert "planted" in holding and holding[0] != "planted"


conditions = st.one_of(
    st.tuples(st.just(SPEND), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from(["40", "79.995", "80"])),
    st.tuples(st.just(SPEND), st.sampled_from(["in range"]), st.sampled_from(["40..80", "79.995..80"])),
    st.tuples(st.just(POINTS), st.sampled_from(["=", "<", ">", "<=", ">=", "!="]), st.sampled_from(["0", "10", "11"])),
    st.tuples(st.just(BRAND), st.sampled_from(["in", "not in"]), st.sampled_from(["gotone|mzone", "gotone|(null)", "easyown", "(null)"])),
    st.tuples(st.sampled_from([BRAND, SPEND]), st.sampled_from(["is null", "is not null"]), st.just("")),
)
tables = st.lists(st.tuples(st.sampled_from(LEVELS), st.lists(conditions, max_size=3)), min_size=1, max_size=6)
EVERY_PROFILE = [
    {SPEND: spend, POINTS: points, BRAND: brand}
    for spend, points, brand in product(
        [None, *map(Decimal, ("39", "40", "60", "79.995", "79.999", "80", "81"))], [0, 1, 10, 11, 12], [None, "gotone", "easyown", "mzone", "new"]
    )
]  # fmt: skip


@settings(max_examples=draws(120, 300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables, hit_policy=st.sampled_from(["first", "unique", "priority"]))
def test_findings_on_any_table_are_those_of_trying_every_profile(seeds, table, hit_policy):
    assume(len(table) == 1 or any(cs for _, cs in table))
    seeds.rules([(f"r{n}", level, cs) for n, (level, cs) in enumerate(table)], hit_policy)
    policies = seeds.load()
    program = policies.programs["six_star"]
    ranks = {level.level_id: level.rank for level in program.levels}
    rules = evaluation_order(program, program.versions[0])
    held = [[r for r in rules if table_holds(r, p)] for p in EVERY_PROFILE]
    used = {c.attribute.attribute_id for r in rules for c in r.conditions}
    ever = {r.rule_id for found in held for r in found}
    expected: set[tuple[str, str]] = {("unreachable", r.rule_id) for r in rules if r.rule_id not in ever}
    if hit_policy == "unique":
        expected |= {("overlap", f"{a.rule_id}+{b.rule_id}") for found in held for n, a in enumerate(found) for b in found[n + 1 :]}
    else:
        deciding = {found[0].rule_id for found in held if found}
        expected |= {("masked", rule_id) for rule_id in ever - deciding}
        for rule in rules:
            nexts = [found[1].level_id if found[1:] else None for found in held if found and found[0] is rule]
            if nexts and set(nexts) == {rule.level_id}:
                expected.add(("redundant", rule.rule_id))
    level_of = [ranks[found[0].level_id] if found else 0 for found in held]
    by_rest: dict[tuple[Any, Any], list[tuple[Decimal, int]]] = {}
    for profile, rank in zip(EVERY_PROFILE, level_of, strict=True):
        if profile[SPEND] is not None:
            by_rest.setdefault((profile[POINTS], profile[BRAND]), []).append((profile[SPEND], rank))
    falls = any(0 < later < earlier for series in by_rest.values() for n, (_, earlier) in enumerate(series) for _, later in series[n + 1 :])
    found = check_policies(policies)
    got = set()
    for finding in found:
        if finding.kind == "overlap":
            other = finding.what.split("rule ")[2].split("'")[1]
            got.add(("overlap", f"{other}+{finding.rule_id}"))
        elif finding.kind in {"unreachable", "masked", "redundant"}:
            got.add((finding.kind, str(finding.rule_id)))
    assert got == expected
    assert any(f.kind in {"gap", "null_gap"} for f in found) == any(not h for h in held)
    known = [h for p, h in zip(EVERY_PROFILE, held, strict=True) if all(p[a] is not None for a in used)]
    assert any(f.kind == "gap" for f in found) == any(not h for h in known)
    assert any(f.kind == "not_monotone" for f in found) == falls


def test_a_level_that_falls_as_spend_rises_is_found(seeds):
    seeds.rules([("high", "star_2", [(SPEND, ">=", "300")]), ("low", "star_5", [])])
    (finding,) = check(seeds, "not_monotone")
    assert "star_5 to star_2" in finding.what and finding.rule_id == "high"
    no_monotone(seeds)
    check(seeds)


def test_a_contradiction_and_a_rule_without_effect_are_found(seeds):
    rules = [
        ("never", "star_6", [(SPEND, ">=", "300"), (SPEND, "<", "200")]),
        ("five", "star_5", [(SPEND, ">=", "300")]),
        ("same", "star_1", [(SPEND, ">=", "80")]),
        ("others", "star_1", []),
    ]
    seeds.rules(rules)
    never, same = check(seeds, "unreachable", "redundant")
    assert (never.rule_id, never.row, never.severity) == ("never", 2, "error")
    assert (same.rule_id, same.row, same.severity) == ("same", 4, "warning")


def test_counts_are_whole_and_amounts_are_dense(seeds):
    no_monotone(seeds)
    seeds.rules([("low", "star_1", [(POINTS, "<=", "9")]), ("high", "star_2", [(POINTS, ">=", "10")])], "unique")
    check(seeds)
    seeds.rules(
        [
            ("low", "star_1", [(SPEND, "<=", "9.99")]),
            ("high", "star_2", [(SPEND, ">=", "10")]),
            ("null", "star_1", [(SPEND, "is null", "")]),
        ],
        "unique",
    )
    (finding,) = check(seeds, "gap")
    assert Decimal("9.99") < values_of(finding)[SPEND] < 10


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [("approver", "", "no_approver"), ("approver", "Policy.Owner ", "self_approved"), ("approved_on", "", "no_approval_day")],
)
def test_a_version_that_is_not_approved_by_someone_else_is_found(seeds, column, value, kind):
    seeds.set("policy_versions", 2, column, value)
    (finding,) = check(seeds, kind)
    assert finding.where == f"{seeds.path('policy_versions')}, row 2"


def test_a_version_that_is_approved_only_later_is_found_in_its_cell(seeds):
    row = seeds.row_of("policy_versions", program_id="six_star")
    seeds.set("policy_versions", row, "approved_on", "2026-06-15")
    assert check_policies(seeds.load(), today=date(2026, 6, 15)) == []
    (finding,) = check_policies(seeds.load(), today=date(2026, 6, 14))
    assert (finding.kind, finding.severity) == ("approved_later", "error")
    assert finding.where == f"{seeds.path('policy_versions')}, row {row}, column approved_on"
    assert "is approved on 2026-06-15, and today is 2026-06-14" in finding.what and finding.remedy
    with pytest.raises(BadInput, match="column approved_on"):
        require_sound(seeds.load(), today=date(2026, 6, 14))
    seeds.set("policy_versions", row, "approved_on", f"{date.today() + timedelta(days=2)}")
    assert [f.kind for f in check_policies(seeds.load())] == ["approved_later"], "without a day it is that of the machine"


@pytest.mark.parametrize("hit_policy", ["first", "unique", "priority"])
def test_rules_without_any_condition_are_one_finding(seeds, hit_policy):
    seeds.set("programs", 2, "hit_policy", hit_policy)
    seeds.write("decision_conditions", seeds.rows("decision_conditions")[:1])
    (finding,) = check(seeds, "no_conditions")
    assert finding.severity == "error" and "none of the 8 rules of six_star v1 has a condition" in finding.what
    assert f"add the conditions to {seeds.path('decision_conditions')}" in finding.remedy
    seeds.rules([("others", "star_1", [])])
    check(seeds)


def test_a_method_without_any_condition_says_so(tmp_path):
    folder = SeedFolder(tmp_path / "seeds", "customer_pyramid")
    for seed in ("channels", "channel_audience", "channel_columns", "decision_conditions"):
        folder.write(seed, folder.rows(seed)[:1])
    with pytest.raises(BadInput, match="none of the rules of customer_pyramid v1 has a condition, and percentile rests on them") as caught:
        folder.load()
    assert "policy_versions.csv, row 2" in caught.value.where and "decision_conditions" in caught.value.remedy


@pytest.mark.parametrize(
    ("valid_to", "valid_from", "kind"),
    [
        ("2026-05", "2026-06", None),
        ("2026-05", "2026-08", "validity_gap"),
        ("2026-05", "2026-05", "validity_overlap"),
        ("", "2026-06", "validity_overlap"),
        ("", "2020-01", "validity_overlap"),
    ],
)
def test_versions_neither_leave_a_period_out_nor_share_one(seeds, valid_to, valid_from, kind):
    rows = seeds.rows("policy_versions")
    seeds.write("policy_versions", [rows[0], [*rows[1][:3], valid_to, *rows[1][4:]], ["six_star", "v2", valid_from, "", *rows[1][4:]]])
    for seed in ("decision_rules", "decision_conditions"):
        rows = seeds.rows(seed)
        seeds.write(seed, [*rows, *([r[0], "v2", *r[2:]] for r in rows[1:])])
    found = check(seeds, *([kind] if kind else []))
    if kind == "validity_gap":
        assert "2026-06 to 2026-07" in found[0].what
    if kind == "validity_overlap":
        seeds.set("policy_versions", 2, "valid_to_period", {"2026-06": "2026-05", "2026-05": "2026-04"}.get(valid_from, "2019-12"))
        advises = "end version 'v1' with" in found[0].remedy
        assert advises is (valid_from != "2020-01"), "a version cannot end before it begins"
        if advises:
            check(seeds)


def test_a_last_version_that_ends_is_a_warning(seeds):
    seeds.set("policy_versions", 2, "valid_to_period", "2026-05")
    (finding,) = check(seeds, "no_successor")
    assert finding.severity == "warning"
    assert finding.where == f"{seeds.path('policy_versions')}, row 2"
    assert "from 2026-06 on" in finding.what


def test_an_error_stops_a_run_and_a_warning_does_not(seeds):
    seeds.rules([("five", "star_5", [(SPEND, ">=", "300")]), ("same", "star_1", [(SPEND, ">=", "80")]), ("others", "star_1", [])])
    assert {f.severity for f in require_sound(seeds.load())} == {"warning"}
    seeds.rules([("five", "star_5", [(SPEND, ">=", "300")])])
    with pytest.raises(BadInput, match="no rule of six_star v1 holds") as caught:
        require_sound(seeds.load())
    assert "policy_versions.csv, row 2" in caught.value.where
    assert len(caught.value.details["findings"]) == 2


def test_a_program_that_is_switched_off_is_not_checked(seeds):
    seeds.rules([("five", "star_5", [(SPEND, ">=", "300")])])
    seeds.set("programs", 2, "enabled", "false")
    assert check_policies(seeds.load()) == []


def test_boundary_cases_show_each_bar_and_the_level_either_side(seeds):
    program = seeds.load().programs["six_star"]
    cases = boundary_cases(program, program.versions[0])
    around = {c["value"]: c["level_id"] for c in cases if c["rule_id"] == "star_3_spend"}
    assert around == {"79.99": "star_2", "80": "star_3", "80.01": "star_3", "(null)": "star_1"}
    assert {c["attribute"] for c in cases} == {a.attribute_id for a in program.versions[0].attributes}


def test_boundary_cases_are_those_of_the_compiled_sql(seeds, decide, con):
    policies = seeds.load()
    program = policies.programs["six_star"]
    columns = {BRAND: "brand", POINTS: "base_points_last_year", "segment": "segment", "is_real_name": "is_real_name"}
    for case in boundary_cases(program, program.versions[0]):
        profile = dict(pair.split(" = ") for pair in case["other_attributes"].split("; ")) | {case["attribute"]: case["value"]}
        row: dict[str, Any] = {columns[a]: None if profile[a] == "(null)" else profile[a] for a in columns}
        months = 0 if profile[SPEND] == "(null)" else 1
        row |= {"service_6m_months": months, "spend_6m_amount": Decimal(profile[SPEND]) if months else Decimal(0)}
        level = profile["nominated_level"]
        nominations = [] if level == "(null)" else [("six_star", "c0", "2026-06", level, program.level(level).rank)]
        con.execute("delete from extras")
        con.execute("insert into extras values ('c0', '2026-06', ?)", [int(profile["arrears_suspensions"])])
        (decision,) = decide(policies, row, nominations=nominations)
        if case["level_id"] == "(out of scope)":
            assert (decision["status"], decision["status_reason"]) == ("out_of_scope", case["matched_rule_id"]), case
            continue
        assert (decision["matched_rule_id"], decision["qualified_level_id"]) == (case["matched_rule_id"], case["level_id"]), case
        capped = decision["cap_rank"] is not None and decision["cap_rank"] < decision["qualified_rank"]
        assert (decision["cap_level_id"] if capped else "") == case["capped_to"], case


def test_the_boundary_files_of_the_default_policies_are_current(tmp_path):
    deployment = load_deployment()
    written = write_boundary_cases(load_policies(deployment), tmp_path)
    kept = deployment.seeds / "boundaries"
    again = "write them anew: tierhouse policy check --boundaries seeds/boundaries"
    assert {path.name for path in written} == {path.name for path in kept.iterdir()}, again
    for path in written:
        assert (kept / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), again


@pytest.mark.parametrize("hit_policy", ["first", "unique", "priority"])
@pytest.mark.parametrize("missing", ["gap", "null_gap"])
def test_what_a_finding_advises_mends_it(seeds, hit_policy, missing):
    """Under unique a last rule for everybody would hold together with every other one."""
    no_monotone(seeds)
    rules = [
        ("high", "star_5", [(SPEND, ">=", "300")]),
        ("middle", "star_4", [(SPEND, "in range", "80..300")]),
        ("low", "star_3", [(SPEND, "<", "80")]),
        ("unknown", "star_2", [(SPEND, "is null", "")]),
    ]
    sound = list(rules)
    del rules[3 if missing == "null_gap" else 1]
    seeds.rules(rules, hit_policy)
    (finding,) = check(seeds, missing)
    seeds.rules(sound, hit_policy)
    check(seeds)
    seeds.rules([*rules, ("others", "star_1", [])], hit_policy)
    is_mended = not [f for f in check_policies(seeds.load()) if f.severity == "error"]
    assert is_mended is (hit_policy != "unique") is ("rule without conditions" in finding.remedy)


@pytest.mark.parametrize("hit_policy", ["first", "priority"])
def test_a_masked_rule_is_moved_only_where_the_order_decides(seeds, hit_policy):
    no_monotone(seeds)
    rules = [("high", "star_5", [(SPEND, ">=", "80")]), ("masked", "star_4", [(SPEND, ">=", "300")]), ("others", "star_1", [])]
    seeds.rules(rules, hit_policy)
    (finding,) = check(seeds, "masked")
    seeds.rules([rules[1], rules[0], rules[2]], hit_policy)
    is_mended = not [f for f in check_policies(seeds.load()) if f.kind == "masked"]
    assert is_mended is ("move it above" in finding.remedy)


def test_days_begin_with_the_first_and_end_with_the_last(seeds):
    """9999-12-31 is what sources and people write for no end: a step beyond it is no day, and no subject has one."""
    no_monotone(seeds)
    seeds.add("attributes", {
        "attribute_id": "t_joined", "subject_type": "customer", "kind": "column", "type": "date", "column_name": "joined_date", "may_be_null": "true",
    })  # fmt: skip
    joined = "t_joined"
    seeds.rules(
        [("all", "star_2", [(joined, ">=", "0001-01-01"), (joined, "<=", "9999-12-31")]), ("none", "star_1", [(joined, "is null", "")])]
    )
    check(seeds)
    program = seeds.load().programs["six_star"]
    cases = [case["value"] for case in boundary_cases(program, program.versions[0]) if case["attribute"] == joined]
    assert sorted(cases) == ["(null)", "(null)", "0001-01-01", "0001-01-02", "9999-12-30", "9999-12-31"]
    seeds.rules([("beyond", "star_2", [(joined, ">", "9999-12-31")]), ("others", "star_1", [])])
    (finding,) = check(seeds, "unreachable")
    assert finding.rule_id == "beyond"


def test_an_example_is_a_subject_that_there_may_be(seeds):
    """Scores of surveys are 0 to 10, whatever a rule asks for."""
    no_monotone(seeds)
    satisfaction = "satisfaction_12m"
    for bound in ("minimum", "maximum"):
        seeds.set("attributes", seeds.row_of("attributes", attribute_id=satisfaction), bound, "")
    seeds.rules([("low", "star_1", [(satisfaction, "<=", "5")]), ("high", "star_2", [(satisfaction, ">=", "20")])], "unique")
    found = check_policies(seeds.load())
    assert {f.kind for f in found if f.severity == "error"} == {"unreachable", "gap", "null_gap"}
    (gap,) = [f for f in found if f.kind == "gap"]
    assert 5 < Decimal(str(gap.example[satisfaction])) <= 10


def test_values_that_all_lists_treat_alike_stand_side_by_side(seeds):
    """Lists of every second and every third of many values are a range and two, and not a hundred each."""
    no_monotone(seeds)
    plans = [f"plan_{n}" for n in range(1200)]
    second, third = plans[::2], plans[::3]
    conditions = {"second": second, "third": third, "both": plans[::6], "neither": [p for n, p in enumerate(plans) if n % 2 and n % 3]}
    seeds.rules([(name, "star_2", [("plan", "in", "|".join(named))]) for name, named in conditions.items()])
    policies = seeds.load()
    program = policies.programs["six_star"]
    space = Space(program.versions[0].rules, program.levels)
    codes = space.variables["plan"].codes
    assert sorted(codes[:-1]) == sorted(plans)
    place = {value: n for n, value in enumerate(codes)}
    begins = {name: sum(place[v] - 1 not in {place[w] for w in named} for v in named) for name, named in conditions.items()}
    assert begins == {"second": 1, "third": 2, "both": 1, "neither": 1}
    found = check(seeds, "gap", "null_gap", "masked")
    assert {f.rule_id for f in found} == {None, "both"}
    assert next(f for f in found if f.kind == "gap").example["plan"] == "(another value)"


def test_the_month_that_is_written_for_no_end_needs_no_successor(seeds):
    seeds.set("policy_versions", 2, "valid_to_period", "9999-11")
    check(seeds, "no_successor")
    seeds.set("policy_versions", 2, "valid_to_period", "9999-12")
    check(seeds)
