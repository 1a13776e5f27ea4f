"""The example bank through the command line, against a computation of its own from the drops."""

from __future__ import annotations

import csv
import filecmp
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.policy import check_policies, load_policies
from tests.support import Cli, drops_of, released_example

BANK = PROJECT_ROOT / "examples" / "bank"
PERIODS = ["2026-03", "2026-04"]
LAST_DAY = {"2026-03": "2026-03-31", "2026-04": "2026-04-30"}


@pytest.fixture(scope="module")
def bank(shared_folder: Path) -> Cli:
    """March and April released, with one command."""
    return released_example(shared_folder, "bank", PERIODS[0], PERIODS[-1])


class Drops:
    """The drops as plain values, and what the rules say about them: no SQL, nothing of the product."""

    def __init__(self, folder: Path) -> None:
        def lines(pattern: str) -> list[dict[str, str]]:
            return [row for path in sorted(folder.glob(pattern)) for row in csv.DictReader(path.open(encoding="utf-8"))]

        self.customers = lines("core/customers_*.csv")
        self.grades = lines("risk/grades_*.csv")
        self.steps = [json.loads(line) for path in sorted(folder.glob("workflow/*.jsonl")) for line in path.read_text().splitlines()]
        with duckdb.connect() as con:
            found = con.execute(f"select * from read_parquet('{folder}/core/positions_*.parquet')")
            names = [column[0] for column in found.description]
            self.positions = [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def meets_criteria(self, customer: str, day: str) -> bool:
        """Grade and record, and one of the three, as known at the end of ``day``."""
        grade = max((g["AS_OF"], g["GRADE"]) for g in [*self.grades_of(customer, day), {"AS_OF": "", "GRADE": ""}])[1]
        known = [p for p in self.positions if p["customer_no"] == customer and p["as_of"] <= day]
        if not known:
            return False
        position = max(known, key=lambda p: p["as_of"])
        enough = (
            (position["assets"] or Decimal(0)) >= Decimal("500000")
            or (position["card_spend_12m"] or Decimal(0)) >= Decimal("50000")
            or position["occupation"] in ("01", "02", "03", "04")
        )
        return grade in ("AAA", "AA", "A") and position["overdue"] == "N" and enough

    def grades_of(self, customer: str, day: str) -> list[dict[str, str]]:
        return [g for g in self.grades if g["CUST_NO"] == customer and g["AS_OF"] <= day]

    def in_scope(self, period: str) -> set[str]:
        return {c["CUST_NO"] for c in self.customers if c["OPENED"][:7] <= period and (not c["CLOSED"] or c["CLOSED"][:7] >= period)}

    def levels(self, period: str) -> dict[str, str]:
        """Level of every customer whose newest application, or the approved one in its place, moved in the period, or of whom any was decided."""
        found = {}
        for customer in self.in_scope(period):
            known: dict[str, list[dict[str, Any]]] = {}
            for step in self.steps:
                if step["customer_no"] == customer and step["on"] <= LAST_DAY[period]:
                    known.setdefault(step["application_no"], []).append(step)
            if not known:
                continue
            begun = sorted(known, key=lambda a: (min(step["on"] for step in known[a]), a))
            outcomes = {a: next((step["outcome"] for step in known[a] if step["step"] == "decision"), None) for a in begun}
            decided = [a for a in begun if outcomes[a] in ("approved", "refused")]
            counts = decided[-1] if decided and outcomes[decided[-1]] == "approved" else begun[-1]
            moved = [step for a in (counts, begun[-1]) for step in known[a]]
            moved += [step for a in begun for step in known[a] if step["step"] == "decision" and step["outcome"]]
            if not any(step["on"][:7] == period for step in moved):
                continue
            outcome = outcomes[counts]
            met = self.meets_criteria(customer, LAST_DAY[period])
            if outcome == "refused":
                found[customer] = "not_eligible"
            elif outcome == "approved":
                found[customer] = "accredited" if met else "in_doubt"
            else:
                found[customer] = "eligible" if met else "not_eligible"
        return found


@pytest.fixture(scope="module")
def drops(bank: Cli) -> Drops:
    return Drops(bank.drops)


@pytest.mark.parametrize("period", PERIODS)
def test_every_applicant_has_the_level_of_a_computation_from_the_drops(bank: Cli, drops: Drops, period: str) -> None:
    query = "select subject_id, level_id from mart where program_id = 'quality_customer' and status = 'decided'"
    decided = dict(bank.released(period, "fct_decisions", query))
    expected = drops.levels(period)
    assert decided == expected
    assert set(expected.values()) == {"accredited", "eligible", "in_doubt", "not_eligible"}, "the drops hold every level"


@pytest.mark.parametrize("period", PERIODS)
def test_the_watch_decides_every_customer_by_the_same_criteria(bank: Cli, drops: Drops, period: str) -> None:
    decided = dict(
        bank.released(
            period,
            "fct_decisions",
            "select subject_id, level_id = 'met' from mart where program_id = 'criteria_watch' and status = 'decided'",
        )
    )
    assert decided == {customer: drops.meets_criteria(customer, LAST_DAY[period]) for customer in drops.in_scope(period)}


def test_customers_on_the_edges(bank: Cli) -> None:
    query = "select subject_id, level_id, matched_rule_id from mart where program_id = 'quality_customer' and subject_id like 'C9%'"
    march = {row[0]: row[1:] for row in bank.released("2026-03", "fct_decisions", query)}
    assert march == {
        "C9001": ("accredited", "accredited_assets"),
        "C9002": ("in_doubt", "approved_in_doubt"),
        "C9003": ("accredited", "accredited_card"),
        "C9004": ("in_doubt", "approved_in_doubt"),
        "C9005": ("in_doubt", "approved_in_doubt"),
        "C9006": ("in_doubt", "approved_in_doubt"),
        "C9007": ("accredited", "accredited_assets"),
        "C9008": ("accredited", "accredited_assets"),
        "C9009": ("eligible", "eligible_assets"),
        "C9010": ("eligible", "eligible_assets"),
        "C9011": ("accredited", "accredited_occupation"),
        "C9012": ("eligible", "eligible_assets"),
        "C9013": ("eligible", "eligible_assets"),
        "C9014": ("not_eligible", "refused"),
        "C9015": ("in_doubt", "approved_in_doubt"),
        "C9016": ("in_doubt", "approved_in_doubt"),
        "C9017": ("accredited", "accredited_assets"),
        "C9018": ("accredited", "accredited_assets"),
    }
    april = {row[0]: row[1:] for row in bank.released("2026-04", "fct_decisions", query + " and status = 'decided'")}
    assert april == {"C9009": ("accredited", "accredited_assets")}, "in April only that application moved"


def test_the_workflow_is_dated_and_what_is_out_of_order_is_found(bank: Cli, drops: Drops) -> None:
    names = "application_id, state, is_open, total_days, level_id, findings"
    rows = {row[0]: row[1:] for row in bank.released("2026-03", "fct_applications", f"select {names} from mart")}
    assert set(rows) == {step["application_no"] for step in drops.steps if step["on"] <= "2026-03-31"}
    assert rows["E9001"] == ("approved", False, 10, "accredited", None)
    assert rows["E9009"] == ("reviewed", True, 29, "eligible", None)
    assert rows["E9010"] == ("refused", True, 29, None, None), "followed by another application in the same month"
    assert rows["E9010-2"] == ("applied", True, 11, "eligible", None)
    found = {name: row[4] for name, row in rows.items() if row[4]}
    assert found == {
        "E9011": "decision: decision before review",
        "E9012": "notification: notification without decision",
        "E9017": "review: no application; decision: no application",
    }
    steps = bank.released(
        "2026-03", "fct_application_steps", "select application_id, step, cast(step_date as varchar), decided_by, outcome from mart"
    )
    known = [(s["application_no"], s["step"], s["on"], s["by"], s["outcome"]) for s in drops.steps if s["on"] <= "2026-03-31"]
    assert sorted(steps, key=str) == sorted(known, key=str)


def test_the_desk_gets_the_applicants_that_moved(bank: Cli, drops: Drops) -> None:
    files = sorted((bank.data / "channels").rglob("*.csv"))
    assert len(files) == 1
    with files[0].open(encoding="utf-8-sig", newline="") as handle:
        rows = {row["customer_id"]: row["level_id"] for row in csv.DictReader(handle)}
    assert rows == {customer: level for customer, level in drops.levels("2026-04").items() if level != "not_eligible"}


@pytest.mark.parametrize("command", ["movements", "paths"])
def test_without_a_program_the_first_of_the_release_is_taken(bank: Cli, command: str) -> None:
    assert bank.json(command, "--period", "2026-04")["program"] == "quality_customer"


def test_the_policies_are_proven(tmp_path: Path) -> None:
    assert check_policies(load_policies(load_deployment(BANK))) == []


def test_the_drops_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (drops_of("bank")(tmp_path / folder) for folder in "ab")
    assert len(first) == 1 + 4 * 9
    assert all(filecmp.cmp(a, b, shallow=False) for a, b in zip(first, second, strict=True))


def test_tags_that_rest_on_what_no_source_delivers_say_what_they_need(bank: Cli) -> None:
    reasons = "select distinct status, status_reason from mart order by 2"
    expected = [("not_evaluated", "needs complaints"), ("not_evaluated", "needs subscriptions")]
    assert bank.released(PERIODS[-1], "dim_tags", reasons) == expected
    asked = ("run", "--periods", f"{PERIODS[0]}..{PERIODS[-1]}")
    told = bank.json(*asked)
    assert {tag["reason"] for tag in told["tags_not_evaluated"]} == {reason for _, reason in expected}
    shown = bank(*asked).stdout
    for reason in ("needs complaints", "needs subscriptions"):
        (line,) = [line for line in shown.splitlines() if line.endswith(reason)]
        assert line.startswith("Tags not evaluated: ") and all(
            tag["tag_id"] in line for tag in told["tags_not_evaluated"] if tag["reason"] == reason
        )
