"""Relationship grades of prospects: a deployment without customers and bills, against a computation from the drops alone."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from orchestration.deployment import load_deployment
from orchestration.policy import check_policies, load_policies
from tests.support import PROJECT_ROOT, Cli, drops_of, released_example

EXAMPLE = PROJECT_ROOT / "examples" / "prospects"
PERIODS = ("2026-03", "2026-04", "2026-05")


@pytest.fixture(scope="module")
def released(shared_folder: Path) -> Cli:
    return released_example(shared_folder, "prospects", PERIODS[0], PERIODS[-1])


def pipeline(released: Cli, period: str) -> dict[str, dict[str, str]]:
    """Newest row of each prospect that is there in the period."""
    newest: dict[str, dict[str, str]] = {}
    for path in sorted(released.drops.glob("prospects_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["as_of"][:7] <= period:
                    newest[row["lead"]] = row
    return {lead: row for lead, row in newest.items() if not row["closed"] or row["closed"][:7] >= period}


def grade(row: dict[str, str]) -> str:
    if row["stage"] in ("DECIDING", "COMPARING"):
        return "a" if row["competitor"] == "N" else "b"
    return "c" if row["competitor"] == "N" else "d"


def test_the_policies_are_sound() -> None:
    assert check_policies(load_policies(load_deployment(EXAMPLE))) == []


@pytest.mark.parametrize("period", PERIODS)
def test_every_prospect_has_the_grade_that_plain_python_finds(released: Cli, period: str) -> None:
    found = released.warehouse(f"select subject_id, level_id from marts.fct_decisions where period = '{period}' and status = 'decided'")
    expected = {lead: grade(row) for lead, row in pipeline(released, period).items()}
    assert dict(found) == expected
    assert set(expected.values()) == {"a", "b", "c", "d"}


def test_who_is_closed_leaves_in_the_month_after(released: Cli) -> None:
    gone = set(pipeline(released, "2026-03")) - set(pipeline(released, "2026-04"))
    found = released.warehouse("select subject_id from marts.fct_decisions where period = '2026-04' and movement = 'left'")
    assert gone
    assert {subject for (subject,) in found} == gone


@pytest.mark.parametrize(
    ("lead", "grades", "why"),
    [
        ("L0001", "aaa", "deciding, no competing system"),
        ("L0002", "bbb", "deciding, a competing system in use"),
        ("L0003", "ccc", "unaware, no competing system"),
        ("L0004", "ddd", "unaware, a competing system in use"),
        ("L0005", "bbb", "comparing, competing system not known"),
        ("L0006", "ddd", "interested, competing system not known"),
        ("L0007", "ccc", "stage not known"),
        ("L0008", "ddd", "nothing known"),
        ("L0009", "cca", "has got rid of the competing system, then compares"),
        ("L0010", "abb", "a competitor has come in"),
    ],
)
def test_edge_cases(released: Cli, lead: str, grades: str, why: str) -> None:
    found = released.warehouse(f"select level_id from marts.fct_decisions where subject_id = '{lead}' order by period")
    assert "".join(level for (level,) in found) == grades, why


def test_contacts_of_prospects_are_not_known_rather_than_zero(released: Cli) -> None:
    plan = {"a": (4, 8), "b": (2, 4), "c": (1, 2), "d": (0, 1)}
    query = "select subject_id, owner_id, contacts_min, contacts_max, contacts, is_within_plan from marts.fct_contact_plans where period = '2026-05'"
    expected = {(lead, row["owner"], *plan[grade(row)], None, None) for lead, row in pipeline(released, "2026-05").items()}
    assert set(released.warehouse(query)) == expected
    assert released.warehouse("select count(*) from marts.fct_contact_kpis") == [(0,)], "no level has a contact group"
    assert released.warehouse("select count(*) from marts.fct_cell_movements") == [(0,)], "the program is no grid"


def test_the_closing_list_is_ordered_by_an_amount_that_no_rule_uses(released: Cli) -> None:
    leads = [(lead, row) for lead, row in pipeline(released, "2026-05").items() if grade(row) in ("a", "b")]
    leads.sort(key=lambda item: (grade(item[1]), -Decimal(item[1]["expected"]), item[0]))
    places: Counter[str] = Counter()
    expected = set()
    for lead, row in leads:
        places[row["owner"]] += 1
        if places[row["owner"]] <= 5:
            expected.add((row["owner"], places[row["owner"]], lead, Decimal(row["expected"])))
    query = "select owner_id, place, subject_id, order_value from marts.fct_target_lists where period = '2026-05'"
    assert set(released.warehouse(query)) == expected


def test_a_period_before_the_first_prospect_is_refused(tmp_path: Path) -> None:
    early = tmp_path / "early"
    shutil.copytree(EXAMPLE, early)
    config = early / "tierhouse.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace('"2026-01"', '"2025-01"'), encoding="utf-8")
    cli = Cli(tmp_path, early)
    drops_of("prospects")(cli.drops)
    refused = cli("run", "--periods", "2025-12", expect=2)
    assert "rows of prospects have landed for 2026-01 to 20" in refused.stdout + refused.stderr


def test_nothing_landed_is_refused(tmp_path: Path) -> None:
    empty = Cli(tmp_path, EXAMPLE)
    empty.drops.mkdir()
    refused = empty("run", "--periods", "2026-01", expect=2)
    assert "no rows of prospects have landed" in refused.stdout + refused.stderr
