"""Each cause planted once, and random histories against a second reckoning."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.policy import compile_policies
from tests.movement.conftest import USUAL
from tests.movement.world import DECIDE, FIRST, STEPS, Customer, Rules, World, add, add_program, lifetime, policies_with
from tests.policy.conftest import SeedFolder

MAY, JUNE, JULY, AUGUST = FIRST + 4, FIRST + 5, FIRST + 6, FIRST + 7
LONG_AGO = FIRST - 600
LASTING = replace(USUAL, validity=3)


def steady(amount: str, until: int = JUNE, **more: object) -> Customer:
    """A customer with the same bill in every month from January on, in service since long before."""
    customer = Customer({month: Decimal(amount) for month in range(FIRST, until + 1)}, set(range(FIRST - 30, FIRST + 30)))
    for name, value in more.items():
        setattr(customer, name, value)
    return customer


def causes(world: World, program: str, month: int = JULY) -> dict[str, str]:
    """Customer → the cause in a program of each that moved, by the SQL and by the second reckoning."""
    found = world.run(month)
    assert found == world.reckon(month)
    return {name: cause for (of, name), (cause, _) in found.items() if of == program}


def moved(world: World, change: Callable[[Customer], None], month: int = JULY) -> str:
    """The cause of what ``change`` does to customer A in the month after the last one that was run."""
    world.run(month - 1)
    change(world.customers["A"])
    return causes(world, "six_star", month)["A"]


def world_of(versions: list[tuple[Rules, int]], *, further: bool = False) -> World:
    """Of seeds that only the test needs."""
    with tempfile.TemporaryDirectory() as folder:
        return World(policies_with(SeedFolder(Path(folder) / "seeds"), versions, further=further), versions)


def bill(month: int, amount: str) -> Callable[[Customer], None]:
    return lambda customer: customer.bills.update({month: Decimal(amount)})


PLANTED: list[tuple[str, Customer, Callable[[Customer], None]]] = [
    ("attributes", steady("50"), lambda c: (setattr(c, "brand", "gotone"), c.bills.update({JULY: Decimal(50)}))[0]),
    ("bill_corrections", steady("50"), lambda c: c.bills.update({MAY: Decimal(300), JULY: Decimal(50)})),
    ("new_spend", steady("50"), bill(JULY, "400")),
    # 7 months with July are 50 a month; without January's 300 they are 8.33.
    ("window_roll_off", steady("0", bills={FIRST: Decimal(300), JULY: Decimal(50)}), lambda c: None),
    ("points", steady("50", brand="gotone", points=0), lambda c: (setattr(c, "points", 20000), c.bills.update({JULY: Decimal(50)}))[0]),
    ("nomination", steady("50"), lambda c: (setattr(c, "nominated", "star_6"), c.bills.update({JULY: Decimal(50)}))[0]),
    ("nomination", steady("50"), lambda c: (setattr(c, "at_least", 4), c.bills.update({JULY: Decimal(50)}))[0]),
    ("nomination", steady("500"), lambda c: (setattr(c, "set_level", 1), c.bills.update({JULY: Decimal(500)}))[0]),
    ("cap", steady("500"), lambda c: (setattr(c, "credit_class", "bad"), c.bills.update({JULY: Decimal(500)}))[0]),
]


@pytest.mark.parametrize(("cause", "customer", "change"), PLANTED, ids=[f"{p[0]}-{n}" for n, p in enumerate(PLANTED)])
def test_a_planted_cause_is_found(make_world, cause, customer, change):
    world = make_world()
    world.customers["A"] = Customer(dict(customer.bills), set(customer.service), customer.brand, points=customer.points)
    assert moved(world, change) == cause


def test_points_change_in_january(make_world):
    world = make_world()
    january = FIRST + 12
    world.customers["A"] = steady("50", brand="gotone")
    world.customers["A"].bills.update({january - n: Decimal(50) for n in range(7)})
    assert moved(world, lambda c: setattr(c, "points", 15000), january) == "points"


def test_a_new_policy_version(make_world):
    world = make_world((USUAL, LONG_AGO), (replace(USUAL, version="v2", bars=(300, 120, 45, 40)), JULY))
    world.customers["A"] = steady("50")
    assert moved(world, bill(JULY, "50")) == "policy"


def test_a_version_that_brings_validity_ends_none(make_world):
    """Nothing was held for a time: whom its rules lower, the policy moved."""
    world = make_world((USUAL, LONG_AGO), (replace(LASTING, version="v2", bars=(300, 120, 80, 60)), JULY))
    world.customers["A"] = steady("50")
    assert moved(world, bill(JULY, "50")) == "policy"


def test_the_end_of_validity_and_of_grace(make_world):
    for number, (rules, falls) in enumerate([(LASTING, 3), (replace(LASTING, grace=2), 5)]):
        world = world_of([(rules, LONG_AGO)])
        world.customers["A"] = steady("500")
        world.run(JUNE)
        world.customers["A"].bills.clear()
        causes = [world.run(month) for month in range(JULY, JULY + 6)]
        assert [n + 1 for n, found in enumerate(causes) if found] == [falls], number
        assert causes[falls - 1]["six_star", "A"][0] == "validity"


def test_a_population_that_moved_without_the_subject(make_world):
    world = make_world(further=True)
    world.customers = {name: steady(amount, JULY) for name, amount in (("A", "90"), ("B", "80"), ("C", "70"), ("D", "60"))}
    world.run(JUNE)
    world.customers["C"].bills[JULY] = Decimal(500)
    # C passed A and B by its own bill; A and B did nothing.
    assert causes(world, "top_share") == {"C": "new_spend", "A": "population", "B": "population"}


def test_a_place_is_lost_by_a_bill_below_zero_and_not_by_the_window(make_world):
    world = make_world(further=True)
    world.customers = {name: steady(amount, JULY) for name, amount in (("A", "90"), ("B", "80"), ("C", "70"), ("D", "60"))}
    world.run(JUNE)
    # January's 90 rolls off as well, but 540 - 300 is below all others already.
    world.customers["A"].bills[JULY] = Decimal(-300)
    assert causes(world, "top_share")["A"] == "new_spend"


def test_a_portion_that_others_raise_is_not_raised_by_a_month_that_is_like_the_one_that_left(make_world):
    """Of seven months a portion of the sum of six would be above the bar, whatever the others did."""
    world = make_world(further=True)
    world.customers = {"A": steady("28", JULY), "B": steady("72", JULY)}
    world.run(JUNE)
    world.customers["B"].bills[JULY] = Decimal(0)
    assert causes(world, "portion")["A"] == "population"


def test_each_amount_is_placed_among_those_of_the_month_before(make_world):
    """A program of two places: the second amount, which no column of a decision keeps, as the first. Who was out of scope has no place."""
    world = make_world(further=True)
    world.customers = {name: steady("50", JULY, points=points) for name, points in (("A", 400), ("B", 300), ("C", 200), ("D", 100))}
    world.run(JUNE)
    world.con.execute("""insert into held select held.* replace ('out' || n as subject_id, 'out_of_scope' as status, replace(evidence, '300', '900') as evidence)
        from held cross join range(2) as twice (n) where program_id = 'two_places' and subject_id = 'B'""")
    world.customers["D"].points = 500
    # D passed three by its own points; B did nothing.
    assert causes(world, "two_places") == {"D": "points", "B": "population"}


GAPS: list[tuple[str, str, str, Customer, Callable[[Customer], None]]] = [
    ("six_star", "new_spend", "spent in the gap", steady("50"), bill(JULY, "700")),
    ("six_star", "window_roll_off", "the window", steady("0", bills={FIRST: Decimal(300)}), lambda c: c.bills.update({JULY: Decimal(50), AUGUST: Decimal(50)})),
    ("six_star", "nomination", "what covered then", steady("50", at_least=4), lambda c: (setattr(c, "at_least", None), c.bills.update({JULY: Decimal(50), AUGUST: Decimal(50)}))[0]),
    ("lifetime", "new_spend", "a total", steady("50"), bill(JULY, "300")),
    ("activity", "new_spend", "months without spend", steady("50"), lambda c: None),
]  # fmt: skip


@pytest.mark.parametrize(("program", "cause", "what", "customer", "change"), GAPS, ids=[gap[2] for gap in GAPS])
def test_after_a_month_that_was_not_evaluated_the_start_is_the_month_that_was(make_world, program, cause, what, customer, change):
    world = make_world(further=True)
    world.customers["A"] = Customer(dict(customer.bills), set(customer.service), at_least=customer.at_least)
    world.run(JUNE)
    world.customers["A"].at_least = None
    world.run(JULY)
    world.lose_july()
    change(world.customers["A"])
    assert world.run(AUGUST)[program, "A"][0] == cause


def test_a_gap_over_a_new_version_has_one_cause_in_a_range_and_in_a_month_of_its_own(make_world):
    world = make_world((USUAL, LONG_AGO), (replace(USUAL, version="v2"), JULY))
    world.customers["A"] = steady("50")
    world.run(JUNE)
    world.run(JULY)
    world.lose_july()
    bill(JULY, "700")(world.customers["A"])
    assert world.run(AUGUST)["six_star", "A"][0] == "new_spend"
    rows = []
    for periods in (["2026-08"], ["2026-06", "2026-07", "2026-08"]):
        world.compiled = compile_policies(world.policies, periods)
        rows.append(world.sql("movement_causes", "*"))
    assert rows[0] == rows[1] != []


RESTATED = {
    "shows another level": """update held set level_id = 'star_4', level_rank = 4, held_level_id = 'star_4', held_level_rank = 4,
        qualified_level_rank = 4, evidence = json_merge_patch(evidence, '{"spend_6m_amount": "900"}') where period = '2026-06'""",
    "is out of scope": """update held set status = 'out_of_scope', level_id = null, level_rank = null, held_level_id = null,
        held_level_rank = null, qualified_level_rank = null where period = '2026-06'""",
    "is not there": "delete from held where period = '2026-06'",
}


@pytest.mark.parametrize("restated", RESTATED)
@pytest.mark.parametrize(("amount", "cause"), [("700", "policy"), ("0", "validity")])
def test_what_a_month_shows_that_was_run_again_since_is_not_what_a_level_after_a_gap_rose_from(make_world, restated, amount, cause):
    world = make_world((LASTING if cause == "validity" else USUAL, LONG_AGO))
    world.customers["A"] = steady("50")
    world.run(JUNE)
    world.run(JULY)
    world.lose_july()
    bill(JULY, amount)(world.customers["A"])
    world.con.execute(RESTATED[restated])
    world._write(AUGUST)
    world._decide(AUGUST)
    if cause == "validity":
        world.con.execute("update held set level_id = 'star_1', level_rank = 1 where period = '2026-08'")
    found = world.sql(
        "movement_causes", "movement_cause, previous_level_id, previous_level_rank, level_id, start_level_rank, evidence_before"
    )
    assert found == [(cause, "star_2", 2, "star_4" if cause == "policy" else "star_1", None, None)]


def test_a_total_changes_by_corrections_and_by_new_spend(make_world):
    world = make_world(further=True)
    world.customers = {name: steady("50") for name in ("corrected", "spent", "both")}
    world.run(JUNE)
    world.customers["corrected"].bills.update({MAY: Decimal(350), JULY: Decimal(50)})
    world.customers["spent"].bills[JULY] = Decimal(300)
    # Neither alone is enough.
    world.customers["both"].bills.update({MAY: Decimal(150), JULY: Decimal(120)})
    assert causes(world, "lifetime") == {"corrected": "bill_corrections", "spent": "new_spend", "both": "new_spend"}


def add_version_from_july(seeds: SeedFolder, of: dict[str, str]) -> None:
    """Version v2 of a program, with the rules of v1 and without their conditions; v1 ends in June."""
    for name in ("policy_versions", "decision_rules"):
        head, *rows = seeds.rows(name)
        add(seeds, name, [dict(zip(head, row, strict=True)) | {"version": "v2"} for row in rows if row[0] == of["program_id"]])
    seeds.set("policy_versions", seeds.row_of("policy_versions", **of, version="v1"), "valid_to_period", "2026-06")
    seeds.set("policy_versions", seeds.row_of("policy_versions", **of, version="v2"), "valid_from_period", "2026-07")


def test_a_total_that_the_new_rules_no_longer_ask_for(tmp_path, monkeypatch):
    """It is what it was, and new spend added: this month's evidence does not have it."""
    seeds = SeedFolder(tmp_path / "seeds")
    policies_with(seeds, [(USUAL, LONG_AGO)], further=True)
    of = {"program_id": "lifetime"}
    add_version_from_july(seeds, of)
    for rule, bar in (("r_1", "5000"), ("r_2", "1000")):
        add(
            seeds,
            "decision_conditions",
            [of | {"version": "v2", "rule_id": rule, "attribute": "points_last_year", "operator": ">=", "value": bar}],
        )
    world = World(seeds.load(), [(USUAL, LONG_AGO)])
    world.versions["lifetime"] = [(USUAL, LONG_AGO), (replace(USUAL, version="v2"), JULY)]
    by_points = {True: 3, False: 1}
    monkeypatch.setitem(
        DECIDE, "lifetime", lambda rules, i: lifetime(rules, i) if rules.version == "v1" else by_points[i["points"] >= 5000]
    )
    # 600 until June: the second level. With July 800 and 1,100.
    world.customers = {"ruled": steady("100", points=9000), "spent": steady("100", points=9000)}
    world.run(JUNE)
    for name, amount in (("ruled", 200), ("spent", 500)):
        world.customers[name].bills[JULY] = Decimal(amount)
    assert causes(world, "lifetime") == {"ruled": "policy", "spent": "new_spend"}


@pytest.mark.parametrize(("spent", "cause"), [(260, "new_spend"), (140, "policy")])
def test_a_portion_of_a_total_that_the_new_rules_no_longer_ask_for(tmp_path, monkeypatch, spent, cause):
    """All new spend counts where the total is placed, nothing rolls off it, and what all have is not known without it."""
    seeds = SeedFolder(tmp_path / "seeds")
    policies_with(seeds, [(USUAL, LONG_AGO)], further=True)
    of_total = {"attribute_id": "portion_of_total", "kind": "portion", "type": "decimal", "of_attributes": "spend_total"}
    add(seeds, "attributes", [of_total | {"subject_type": "customer", "may_be_null": "true", "name_en": "x", "name_zh": "x"}])
    add_program(seeds, "weight", "decision_table", [[("portion_of_total", ">=", "30")], [("portion_of_total", ">=", "20")], []])
    of = {"program_id": "weight"}
    add_version_from_july(seeds, of)
    asked = {"version": "v2", "attribute": "portion_of_spend", "operator": ">="}
    add(seeds, "decision_conditions", [of | asked | {"rule_id": rule, "value": bar} for rule, bar in (("r_1", "30"), ("r_2", "15"))])
    world = World(seeds.load(), [(USUAL, LONG_AGO)])
    world.versions["weight"] = [(replace(USUAL, version="v1"), LONG_AGO), (replace(USUAL, version="v2"), JULY)]
    monkeypatch.setitem(
        DECIDE,
        "weight",
        lambda rules, i: max(DECIDE["portion"](rules, i), 1 + (rules.version == "v2" and 100 * i["own"] >= 15 * i["positive"])),
    )
    world.customers = {"rich": steady("0"), "late": steady("0")}
    world.customers["rich"].bills = {JUNE: Decimal(1000)}
    world.customers["late"].bills = {JUNE: Decimal(100)}
    world.run(JUNE)
    # 360 of 1,360 are a fifth by either version, and 240 of 1,240 are not.
    world.customers["late"].bills[JULY] = Decimal(spent)
    assert world.run(JULY)["weight", "late"][0] == cause


def test_activity_changes_by_bills(make_world):
    world = make_world(further=True)
    world.customers = {name: steady("50") for name in ("silent", "corrected", "both", "back", "undone")}
    for name in ("corrected", "both"):
        world.customers[name].bills |= {FIRST + 3: Decimal(0), MAY: Decimal(0), JUNE: Decimal(0)}
    world.customers["back"].bills = {}
    world.customers["undone"].bills = {JUNE: Decimal(50)}
    world.run(JUNE)
    world.customers["corrected"].bills[JUNE] = Decimal(50)
    # A late bill of June counts before July's own.
    world.customers["both"].bills |= {JUNE: Decimal(50), JULY: Decimal(50)}
    world.customers["back"].bills[JULY] = Decimal(50)
    world.customers["undone"].bills[JUNE] = Decimal(0)
    assert causes(world, "activity") == {
        "silent": "new_spend", "corrected": "bill_corrections", "both": "bill_corrections", "back": "new_spend", "undone": "bill_corrections",
    }  # fmt: skip


def test_a_portion_of_who_had_less_than_nothing(make_world):
    """An amount below zero was no part of the positive sum: 260 of 1,260, and not of 1,360, is a fifth."""
    world = make_world(further=True)
    world.customers = {"rich": steady("0"), "late": steady("0")}
    world.customers["rich"].bills = {JUNE: Decimal(1000)}
    world.customers["late"].bills = {JUNE: Decimal(-100)}
    world.run(JUNE)
    world.customers["late"].bills[JULY] = Decimal(360)
    assert causes(world, "portion") == {"late": "new_spend"}


def test_activity_of_longer_ago_than_is_looked_up(tmp_path, monkeypatch):
    """The last spend is two years old: what it was before is told by what was known, or by this month."""
    seeds = SeedFolder(tmp_path / "seeds")
    policies_with(seeds, [(USUAL, LONG_AGO)])
    idle = "months_since_active"
    add_program(seeds, "known", "decision_table", [[(idle, "<", "1")], [(idle, "is not null", "")], []])
    world = World(seeds.load(), [(USUAL, LONG_AGO)])
    world.versions["known"] = [(replace(USUAL, version="v1"), LONG_AGO)]
    monkeypatch.setitem(DECIDE, "known", lambda rules, i: 1 if i["idle"] is None else 3 if i["idle"] < 1 else 2)
    world.customers = {name: steady("0") for name in ("spent", "taken_back")}
    for customer in world.customers.values():
        customer.bills = {FIRST - 20: Decimal(50)}
    world.run(JUNE)
    world.customers["spent"].bills[JULY] = Decimal(50)
    world.customers["taken_back"].bills[FIRST - 20] = Decimal(0)
    assert causes(world, "known") == {"spent": "new_spend", "taken_back": "bill_corrections"}


def test_a_version_that_was_changed_after_its_release_moves_by_policy(make_world):
    world = make_world()
    world.customers["A"] = steady("50")
    world.run(JUNE)
    world.con.execute("update held set policy_hash = 'that of another table'")
    world.customers["A"].bills[JULY] = Decimal(400)
    cause, ranks = world.run(JULY)["six_star", "A"]
    assert cause == "policy"
    assert [ranks[step] for step in STEPS[:7]] == [2] * 6 + [3]


def test_a_level_put_between_others_moves_nobody_and_hides_no_cause(make_world):
    """The month before was decided when five stars had rank 4: what it was is told by its level, whatever covered it."""
    world = make_world()
    world.customers["FELL"] = steady("310", credit_class="good")
    world.customers["CAPPED"] = steady("310", credit_class="bad")
    world.run(JUNE)
    world.con.execute(
        """update held set level_rank = level_rank - 1, held_level_rank = held_level_rank - 1, cap_level_rank = cap_level_rank - 1,
        qualified_level_rank = qualified_level_rank - 1"""
    )
    world.customers["FELL"].bills[JULY] = Decimal(0)
    world.customers["CAPPED"].bills[JULY] = Decimal(0)
    world.customers["CAPPED"].credit_class = "good"
    found = world.run(JULY)
    cause, ranks = found["six_star", "FELL"]
    assert (cause, ranks["before"], ranks["validity"]) == ("new_spend", 5, 4)
    cause, ranks = found["six_star", "CAPPED"]
    assert (cause, ranks["before"], ranks["nomination"], ranks["cap"]) == ("cap", 3, 3, 4)
    world.con.execute("update held set level_id = 'gone', level_rank = 9 where period = '2026-06' and subject_id = 'FELL'")
    world.con.execute(
        "update held set previous_level_id = 'gone', previous_level_rank = 9 where period = '2026-07' and subject_id = 'FELL'"
    )
    assert ("FELL", 9) in world.sql("movement_causes", "subject_id, previous_level_rank"), "a level that is gone has the rank that it had"


def test_an_operand_that_only_one_version_knows(make_world, tmp_path):
    """Evidence of the month before that lacks what the new rules ask: this month's value counts from the step policy on."""
    world = make_world((USUAL, LONG_AGO), (replace(USUAL, version="v2"), JULY))
    world.customers["A"] = steady("50", brand="gotone", points=20000)
    world.run(JUNE)
    world.con.execute("""update held set level_id = 'star_4', level_rank = 4, held_level_rank = 4, qualified_level_rank = 4,
        evidence = json_merge_patch(evidence, '{"points_last_year": 0}')""")
    world.con.execute("update held set evidence = replace(evidence, '\"nominated_level\":null,', '')")
    world.customers["A"].bills[JULY] = Decimal(50)
    world.customers["A"].nominated = "star_6"
    world.customers["A"].points = 0
    world._write(JULY)
    world._decide(JULY)
    world.con.execute("update held set previous_level_id = 'star_4', previous_level_rank = 4 where period = '2026-07'")
    ((cause,),) = world.sql("movement_causes", "movement_cause")
    assert cause == "policy"


def test_programs_without_movement_compile_to_no_rows(seeds_of_events):
    text = compile_policies(seeds_of_events)["movement_causes"]
    assert "where false" in text and "__DECISIONS__" not in text


@pytest.fixture
def seeds_of_events(tmp_path):
    seeds = SeedFolder(tmp_path / "disabled")
    for line in range(2, len(seeds.rows("programs")) + 1):
        seeds.set("programs", line, "enabled", "false")
    return seeds.load()


def random_world(dice: random.Random, world: World, months: int) -> Counter[str]:
    """Run random months; compare each with the reckoning; count causes."""
    for n in range(7):
        bills = {FIRST + m: Decimal(dice.choice([-30, 0, 20, 50, 90, 100, 130, 350])) for m in range(-6, months) if dice.random() < 0.8}
        world.customers[f"c{n}"] = Customer(bills, set(range(FIRST - dice.randint(0, 9), FIRST + months + 1)))
    counts: Counter[str] = Counter()
    for month in range(FIRST, FIRST + months):
        for c in world.customers.values():
            known = [m for m in c.bills if m < month]
            if known and dice.random() < 0.2:
                c.bills[dice.choice(known)] = Decimal(dice.choice([0, 40, 400]))
            if dice.random() < 0.1:
                c.brand = dice.choice([None, "gotone", "easyown"])
            if dice.random() < 0.1:
                c.credit_class = dice.choice(["good", "bad", None])
            if dice.random() < 0.1:
                c.points = dice.choice([0, 15000])
            if dice.random() < 0.1:
                c.nominated = dice.choice([None, "star_6", "star_5"])
            if dice.random() < 0.1:
                c.at_least, c.set_level = dice.choice([(None, None), (4, None), (None, 2)])
            if dice.random() < 0.1:
                c.service.discard(month - dice.randint(1, 8))
        found = world.run(month)
        assert found == world.reckon(month)
        before, now = world.released.get(month - 1, {}), world.released[month]
        assert found.keys() == {key for key in before.keys() & now.keys() if before[key].level != now[key].level}
        counts.update(cause for cause, _ in found.values())
    return counts


def versions_of(dice: random.Random) -> list[tuple[Rules, int]]:
    first = replace(USUAL, validity=dice.choice([0, 0, 2, 3]), one_level=dice.random() < 0.5)
    first = replace(first, grace=dice.choice([0, 1]) if first.validity else 0, one_level=first.one_level and first.validity > 0)
    second = Rules("v2", dice.choice([(250, 130, 70, 30), (300, 120, 80, 40)]), dice.choice([0, first.validity]))
    return [(first, LONG_AGO), (second, FIRST + dice.randint(2, 5))]


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6))
def test_random_histories_agree_with_the_reckoning(seed):
    dice = random.Random(seed)
    random_world(dice, world_of(versions_of(dice), further=True), 8)


def test_random_histories_know_every_cause():
    """The law above is not empty: a few histories show all causes."""
    counts: Counter[str] = Counter()
    for seed in range(3):
        dice = random.Random(seed)
        counts += random_world(dice, world_of(versions_of(dice), further=True), 8)
    assert set(counts) == set(STEPS)
