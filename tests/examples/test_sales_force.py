"""The nine-grid of the sales force, from drops to marts, against a computation that shares nothing with it but the drops."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from orchestration.deployment import load_deployment
from orchestration.errors import BadInput
from orchestration.policy import Policies, check_policies, compile_policies, load_policies
from tests.support import PROJECT_ROOT, Cli, drops_of, released_example

EXAMPLE = PROJECT_ROOT / "examples" / "sales_force"
PERIODS = ("2026-05", "2026-06")
COUNTS_AS_SPEND = {"consumables", "instruments", "repair"}


@pytest.fixture(scope="module")
def released(shared_folder: Path) -> Cli:
    return released_example(shared_folder, "sales_force", PERIODS[0], PERIODS[-1])


def read(released: Cli, name: str) -> Iterator[dict[str, str]]:
    """Rows of all files of one kind, oldest file first; an empty cell is an empty text."""
    for path in sorted(released.drops.glob(f"{name}_*")):
        lines = path.read_text(encoding="utf-8").splitlines()
        yield from (json.loads(line) for line in lines) if path.suffix == ".jsonl" else csv.DictReader(lines)


def window(period: str) -> set[str]:
    year, month = int(period[:4]), int(period[5:])
    return {f"{year}-{month - n:02d}" for n in range(3)}


def newest_potentials(released: Cli, period: str) -> dict[str, dict[str, str]]:
    return {row["clinic"]: row for row in read(released, "potentials") if row["as_of"][:7] <= period}


def expected_cells(released: Cli, period: str) -> dict[str, str | None]:
    """Cell of every clinic that is there in the period; None where it may not decide."""
    there: dict[str, dict[str, str]] = {}
    for row in read(released, "clinics"):
        there[row["clinic"]] = row
    spend: dict[str, Decimal] = defaultdict(Decimal)
    bought: dict[str, Decimal] = defaultdict(Decimal)
    for row in read(released, "invoices"):
        if row["month"] in window(period) and row["charge"] in COUNTS_AS_SPEND:
            spend[row["clinic"]] += Decimal(row["net"])
    for row in read(released, "purchases"):
        if row["month"] in window(period):
            bought[row["clinic"]] += Decimal(row["amount"])
    potentials = newest_potentials(released, period)
    cells: dict[str, str | None] = {}
    for clinic, row in there.items():
        if row["opened"][:7] > period or (row["closed"] and row["closed"][:7] < period):
            continue
        estimate = potentials.get(clinic, {"potential": "", "decides": ""})
        if estimate["decides"] == "N":
            cells[clinic] = None
            continue
        potential = Decimal(estimate["potential"]) if estimate["potential"] else None
        letter = "c" if potential is None or potential < 10000 else "b" if potential < 30000 else "a"
        ours, all_of_it = spend[clinic], bought[clinic]
        digit = "3" if all_of_it == 0 or ours * 100 < 20 * all_of_it else "2" if ours * 100 < 50 * all_of_it else "1"
        cells[clinic] = letter + digit
    return cells


def made_contacts(released: Cli, period: str) -> Counter[str]:
    visits = Counter(row["clinic"] for row in read(released, "visits") if row["visited"][:7] == period)
    calls = Counter(row["clinic"] for row in read(released, "calls") if row["called"][:7] == period and row["direction"] == "out")
    return visits + calls


def test_the_policies_are_sound() -> None:
    assert check_policies(load_policies(load_deployment(EXAMPLE))) == []


def test_drops_are_the_same_bytes_every_time(released: Cli, tmp_path: Path) -> None:
    again = drops_of("sales_force")(tmp_path)
    assert len(again) == 52
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in again}
    assert digests == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in released.drops.iterdir()}


@pytest.mark.parametrize("period", PERIODS)
def test_every_clinic_is_in_the_cell_that_plain_python_finds(released: Cli, period: str) -> None:
    found = released.warehouse(f"select subject_id, level_id, status, status_reason from marts.fct_decisions where period = '{period}'")
    # The month after a clinic has closed it has one row that says so.
    cells = {subject: level for subject, level, _, reason in found if reason != "left"}
    expected = expected_cells(released, period)
    assert cells == expected
    assert {subject for subject, _, status, reason in found if status == "out_of_scope" and reason == "no_right_to_decide"} == {
        clinic for clinic, cell in expected.items() if cell is None
    }
    assert set(expected.values()) == {None, *(letter + digit for letter in "abc" for digit in "123")}


@pytest.mark.parametrize(
    ("clinic", "period", "cell", "why"),
    [
        ("K0001", "2026-06", "a1", "both bars met exactly"),
        ("K0002", "2026-06", "b2", "both bars missed by a cent"),
        ("K0003", "2026-06", "b2", "both lower bars met exactly"),
        ("K0004", "2026-06", "c3", "both lower bars missed by a cent"),
        ("K0005", "2026-06", "c1", "potential not known"),
        ("K0006", "2026-06", "c3", "bought nothing from anyone: no share"),
        ("K0007", "2026-06", "a3", "not known whether it may decide: it stays in"),
        ("K0008", "2026-06", None, "may not decide"),
        ("K0009", "2026-06", "b3", "nobody counted what it buys"),
        ("K0010", "2026-05", "b1", "may still decide"),
        ("K0010", "2026-06", None, "may not decide from this month on"),
    ],
)
def test_edge_cases(released: Cli, clinic: str, period: str, cell: str | None, why: str) -> None:
    query = f"select level_id from marts.fct_decisions where subject_id = '{clinic}' and period = '{period}'"
    assert released.warehouse(query) == [(cell,)], why


@pytest.mark.parametrize("period", PERIODS)
def test_contacts_are_counted_against_the_plan_of_the_cell(released: Cli, period: str) -> None:
    plans = {"a": (4, 6), "b": (2, 4), "c": (0, 2)}
    made = made_contacts(released, period)
    potentials = newest_potentials(released, period)
    expected = set()
    for clinic, cell in expected_cells(released, period).items():
        if cell:
            low, high = plans[cell[0]]
            contacts = made[clinic]
            expected.add((clinic, cell, potentials[clinic]["rep"], low, high, contacts, low <= contacts <= high))
    query = f"select subject_id, level_id, owner_id, contacts_min, contacts_max, contacts, is_within_plan from marts.fct_contact_plans where period = '{period}'"
    assert set(released.warehouse(query)) == expected
    assert {row[-1] for row in expected} == {True, False}


@pytest.mark.parametrize("period", PERIODS)
def test_kpis_are_shares_of_all_contacts_and_of_priority_clinics(released: Cli, period: str) -> None:
    made = made_contacts(released, period)
    cells = {clinic: cell for clinic, cell in expected_cells(released, period).items() if cell}
    total = sum(made[clinic] for clinic in cells)
    expected = {}
    for letter, target in (("a", 60), ("b", 30), ("c", None)):
        group = [clinic for clinic, cell in cells.items() if cell[0] == letter]
        contacts = sum(made[clinic] for clinic in group)
        reached = sum(made[clinic] > 0 for clinic in group) if letter == "a" else None
        expected[letter.upper()] = (
            len(group),
            contacts,
            None if target is None else contacts * 100 >= target * total,
            reached,
            None if reached is None else reached * 100 >= 60 * len(group),
        )
    query = f"select contact_group, subjects, contacts, is_share_met, reached_subjects, is_reach_met from marts.fct_contact_kpis where period = '{period}'"
    assert {group: tuple(rest) for group, *rest in released.warehouse(query)} == expected
    shares = released.warehouse(f"select sum(share_of_contacts_pct) from marts.fct_contact_kpis where period = '{period}'")
    assert abs(shares[0][0] - 100) <= Decimal("0.0002")


@pytest.mark.parametrize("period", PERIODS)
def test_the_sniper_list_names_low_shares_first_then_by_potential(released: Cli, period: str) -> None:
    potentials = newest_potentials(released, period)
    names: dict[str, list[str]] = defaultdict(list)
    targets = [(clinic, cell) for clinic, cell in expected_cells(released, period).items() if cell in ("a3", "a2")]
    for clinic, _ in sorted(targets, key=lambda t: (-int(t[1][1]), -Decimal(potentials[t[0]]["potential"]), t[0])):
        names[potentials[clinic]["rep"]].append(clinic)
    expected = {(rep, place, clinic) for rep, clinics in names.items() for place, clinic in enumerate(clinics[:4], 1)}
    found = released.warehouse(
        f"select owner_id, place, subject_id from marts.fct_target_lists where period = '{period}' and list_id = 'sniper'"
    )
    assert set(found) == expected
    assert any(len(clinics) > 4 for clinics in names.values())


def test_movements_between_cells_add_up_to_the_clinics_of_both_months(released: Cli) -> None:
    before, now = (expected_cells(released, period) for period in PERIODS)
    expected = Counter((before[clinic], cell) for clinic, cell in now.items() if cell and before.get(clinic))
    query = "select from_level_id, to_level_id, subjects from marts.fct_cell_movements where period = '2026-06'"
    found = {(origin, to): subjects for origin, to, subjects in released.warehouse(query)}
    assert found == expected
    assert any(origin != to for origin, to in found)
    assert released.warehouse("select count(*) from marts.fct_cell_movements where period = '2026-05'") == [(0,)], "no month before"


def test_the_release_holds_the_marts_and_the_channel_its_feed(released: Cli) -> None:
    names = {path.stem for path in (released.data / "releases").rglob("*.parquet")}
    assert {"fct_contact_plans", "fct_contact_kpis", "fct_target_lists", "fct_cell_movements"} <= names
    feeds = [path for path in (released.data / "channels").rglob("*.csv") if "field_app" in str(path)]
    with feeds[0].open(encoding="utf-8-sig", newline="") as file:
        levels = {row["customer_id"]: row["level_id"] for row in csv.DictReader(file)}
    assert levels == {clinic: cell for clinic, cell in expected_cells(released, "2026-06").items() if cell}


def ordered_by(attribute: str, tmp_path: Path) -> Policies:
    """The example's policies with another order of its list."""
    folder = tmp_path / "copy"
    shutil.copytree(EXAMPLE, folder)
    lists = folder / "policies" / "target_lists.csv"
    lists.write_text(lists.read_text(encoding="utf-8").replace("potential_amount", attribute), encoding="utf-8")
    return load_policies(load_deployment(folder))


def test_a_list_may_be_ordered_by_a_ratio_which_is_null_where_nothing_was_bought(tmp_path: Path) -> None:
    text = (
        compile_policies(ordered_by("share_pct", tmp_path))["order_values"]
        .replace("__METRICS__", "metrics")
        .replace("__EXTRAS__", "extras")
    )
    with duckdb.connect() as con:
        con.execute("create table metrics (customer_id varchar, period varchar, spend_3m_amount decimal(18, 4))")
        con.execute("create table extras (customer_id varchar, period varchar, purchases_3m_amount decimal(18, 4))")
        con.execute("insert into metrics values ('THIRD', '2026-06', 1000), ('ZERO', '2026-06', 1000), ('NONE', '2026-06', 1000)")
        con.execute("insert into extras values ('THIRD', '2026-06', 3000), ('ZERO', '2026-06', 0), ('THIRD', '2026-05', 1)")
        found = con.execute(f"select subject_id, order_value from ({text}) where attribute_id = 'share_pct'").fetchall()
    assert dict(found) == {"THIRD": Decimal("33.333333"), "ZERO": None, "NONE": None}


def test_a_number_whose_entity_is_not_delivered_orders_nothing() -> None:
    policies = load_policies(load_deployment(EXAMPLE))
    with duckdb.connect() as con:
        assert con.execute(compile_policies(policies, missing_entities={"customer_potentials"})["order_values"]).fetchall() == []


@pytest.mark.parametrize("attribute", ["share_band", "has_right_to_decide"])
def test_a_list_cannot_be_ordered_by_what_is_no_number(tmp_path: Path, attribute: str) -> None:
    with pytest.raises(BadInput) as caught:
        ordered_by(attribute, tmp_path)
    assert caught.value.what.startswith(f"'{attribute}' is a ")
    assert "target_lists.csv" in caught.value.where and "order_attribute" in caught.value.where
