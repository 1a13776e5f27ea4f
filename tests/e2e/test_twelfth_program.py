"""A further program of every method is rows of seeds: no SQL, no Python. One run of the sample company grades them beside the others."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support import PROJECT_ROOT, Cli, prepared

pytestmark = pytest.mark.slow

PERIOD = "2026-06"
VERSION = {"version": "v1", "valid_from_period": "2020-01", "author": "an.author", "approver": "another", "approved_on": "2020-01-01"}


class Seeds:
    """Default seeds in a deployment's folder of policies, to which rows are added by column name."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(PROJECT_ROOT / "seeds", folder, ignore=shutil.ignore_patterns("*.yaml", "*.md", "boundaries"))
        self.folder = folder

    def add(self, seed: str, *rows: dict[str, Any]) -> None:
        path = self.folder / f"{seed}.csv"
        header = next(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
            writer.writerows(rows)

    def program(
        self, name: str, method: str, levels: list[str], rules: list[tuple[str, str, list[tuple[str, str, str]]]], **more: Any
    ) -> None:
        """``levels`` from the lowest up; rules as (rule, level, conditions) from the top."""
        usual = {"subject_type": "customer", "hit_policy": "first", "clock": "month", "enabled": "true"}
        self.add("programs", {"program_id": name, "name_en": name, "name_zh": name, "method": method, **usual, **more})
        self.add(
            "levels",
            *(
                {"program_id": name, "level_id": level, "rank": rank, "name_en": level, "name_zh": level}
                for rank, level in enumerate(levels, 1)
            ),
        )
        self.add("policy_versions", {"program_id": name, **VERSION})
        self.add(
            "decision_rules",
            *(
                {
                    "program_id": name,
                    "version": "v1",
                    "rule_id": rule,
                    "rule_order": order,
                    "level_id": level,
                    "description_en": rule,
                    "description_zh": rule,
                }
                for order, (rule, level, _) in enumerate(rules, 1)
            ),
        )
        self.add(
            "decision_conditions",
            *(
                {"program_id": name, "version": "v1", "rule_id": rule, "attribute": a, "operator": o, "value": v}
                for rule, _, conditions in rules
                for a, o, v in conditions
            ),
        )

    def attribute(self, name: str, kind: str, **more: Any) -> None:
        self.add(
            "attributes",
            {
                "attribute_id": name,
                "subject_type": "customer",
                "kind": kind,
                "may_be_null": "true",
                "name_en": name,
                "name_zh": name,
                **more,
            },
        )


def write_programs(seeds: Seeds) -> None:
    """One of each method, on attributes of their own."""
    seeds.attribute("points_position", "position", type="decimal", unit="%", of_attributes="points_last_year")
    seeds.attribute("points_half", "band", type="category", of_attributes="points_position")
    for order, (band, below) in enumerate([("upper", "50"), ("lower", "100")], 1):
        seeds.add(
            "bands",
            {
                "program_id": "points_halves",
                "version": "v1",
                "attribute_id": "points_half",
                "band_id": band,
                "band_order": order,
                "below": below,
                "name_en": band,
                "name_zh": band,
            },
        )
    seeds.program(
        "points_halves", "percentile", ["lower", "upper"], [("upper_half", "upper", [("points_half", "=", "upper")]), ("rest", "lower", [])]
    )

    seeds.attribute("habit", "score", type="decimal", unit="points")
    for dimension, of, high in (("months", "active_months_12m", "12"), ("tenure", "tenure_months", "24")):
        seeds.add(
            "score_dimensions",
            {"program_id": "habit_score", "version": "v1", "attribute_id": "habit", "dimension_id": dimension, "dimension_group": "habit", "of_attribute": of, "scaling": "min_max",
             "weight": "50", "low": "0", "high": high, "missing": "zero", "name_en": dimension, "name_zh": dimension},
        )  # fmt: skip
    seeds.program(
        "habit_score", "weighted_score", ["loose", "settled"], [("enough", "settled", [("habit", ">=", "75")]), ("rest", "loose", [])]
    )

    for name, of, bar in (("size_half", "spend_12m", "1000"), ("tenure_half", "tenure_months", "24")):
        seeds.attribute(name, "band", type="category", of_attributes=of, may_be_null="true" if of == "tenure_months" else "false")
        for order, (band, below) in enumerate([("low", bar), ("high", "")], 1):
            seeds.add(
                "bands",
                {
                    "program_id": "quarters",
                    "version": "v1",
                    "attribute_id": name,
                    "band_id": band,
                    "band_order": order,
                    "below": below,
                    "name_en": band,
                    "name_zh": band,
                },
            )
    cells = [(size, tenure) for size in ("low", "high") for tenure in ("low", "high")]
    seeds.program(
        "quarters",
        "grid",
        [f"{size}_{tenure}" for size, tenure in cells],
        [*((f"is_{size}_{tenure}", f"{size}_{tenure}", [("size_half", "=", size), ("tenure_half", "=", tenure)]) for size, tenure in cells),
         ("tenure_unknown", "low_low", [("tenure_half", "is null", "")])],
        hit_policy="unique",
    )  # fmt: skip

    seeds.attribute("application_state", "application", type="category", entity="applications")
    seeds.program(
        "quality_customer", "eligibility", ["not_yet", "accredited"],
        [("approved", "accredited", [("application_state", "=", "approved"), ("spend_12m", ">", "0")]), ("rest", "not_yet", [])],
        clock="event", event_entity="applications",
    )  # fmt: skip
    seeds.program(
        "named",
        "nomination",
        ["not_named", "named"],
        [("by_name", "named", [("nominated_level", "=", "named")]), ("rest", "not_named", [])],
    )
    seeds.program(
        "big_spender",
        "decision_table",
        ["small", "big"],
        [("big", "big", [("spend_3m", ">=", "500")]), ("rest", "small", [])],
        hit_policy="priority",
    )
    seeds.attribute("spend_portion", "portion", type="decimal", unit="%", of_attributes="spend_6m")
    seeds.program("pillars", "decision_table", ["many", "few"], [("few", "few", [("spend_portion", ">=", "0.5")]), ("rest", "many", [])])


@pytest.fixture(scope="module")
def company(shared_folder: Path) -> Cli:
    deployment = shared_folder / "twelfth_deployment"

    def make(cli: Cli) -> None:
        shutil.rmtree(deployment, ignore_errors=True)
        shutil.copytree(PROJECT_ROOT / "examples" / "telecom", deployment)
        write_programs(Seeds(deployment / "policies"))
        cli("sample", "--customers", "300", "--months", "18", "--seed", "3", "--out", str(cli.drops))
        cli("run", "--periods", f"2026-05..{PERIOD}", timeout=600)

    return prepared(shared_folder, "twelfth", make, deployment)


@pytest.fixture(scope="module")
def rows(company: Cli) -> Callable[[str], list[tuple[Any, ...]]]:
    def query(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(company.data / "warehouse.duckdb"), read_only=True) as con:
            return con.execute(sql).fetchall()

    return query


def levels(rows: Callable[[str], list[tuple[Any, ...]]], program: str) -> dict[str, str]:
    return dict(
        rows(
            f"select subject_id, level_id from marts.fct_decisions where program_id = '{program}' and period = '{PERIOD}' and status = 'decided'"
        )
    )


def metrics(rows: Callable[[str], list[tuple[Any, ...]]], *columns: str) -> dict[str, tuple[Any, ...]]:
    return {
        row[0]: row[1:]
        for row in rows(f"select customer_id, {', '.join(columns)} from intermediate.int_customer_metrics where period = '{PERIOD}'")
    }


def test_a_percentile(rows):
    found, points = levels(rows, "points_halves"), metrics(rows, "base_points_last_year")
    values = [value for (value,) in points.values()]
    for subject, (value,) in points.items():
        above = sum(other > value for other in values) if value > 0 else len(values)
        assert found[subject] == ("upper" if Fraction(above, len(values)) < Fraction(1, 2) else "lower")
    assert set(found.values()) == {"upper", "lower"}


def test_a_weighted_score(rows):
    found = levels(rows, "habit_score")
    for subject, (active, tenure) in metrics(rows, "active_12m_months", "tenure_months").items():
        parts = [Fraction(min(value or 0, high), high) * 100 for value, high in ((active, 12), (tenure, 24))]
        assert found[subject] == ("settled" if sum(parts) / 2 >= 75 - Fraction(1, 10**5) else "loose"), subject
    assert set(found.values()) == {"loose", "settled"}


def test_a_grid(rows):
    found = levels(rows, "quarters")
    for subject, (spend, tenure) in metrics(rows, "spend_12m_amount", "tenure_months").items():
        expected = f"{'high' if spend >= 1000 else 'low'}_{'high' if tenure >= 24 else 'low'}" if tenure is not None else "low_low"
        assert found[subject] == expected
    assert len(set(found.values())) == 4


def test_an_eligibility_with_applications_at_events(rows):
    found = levels(rows, "quality_customer")
    states = dict(
        rows(
            f"select subject_id, state from intermediate.int_application_states where period = '{PERIOD}' and is_event and program_id = 'quality_customer'"
        )
    )
    assert found and set(found) <= set(states)
    assert all((level == "accredited") <= (states[subject] == "approved") for subject, level in found.items())
    (events,) = rows(
        f"select count(*), count(event_date) from marts.fct_decisions where program_id = 'quality_customer' and period = '{PERIOD}'"
    )
    assert events[0] == events[1] == len(found)


def test_a_nomination_without_any_nominee_and_a_priority_table(rows):
    assert set(levels(rows, "named").values()) == {"not_named"}
    found = levels(rows, "big_spender")
    assert Counter(found.values()) == Counter(
        "big" if spend >= Decimal(500) else "small" for (spend,) in metrics(rows, "spend_3m_amount").values()
    )


def test_a_portion_of_the_sum(rows):
    spend = {subject: value for subject, (value,) in metrics(rows, "spend_6m_amount").items()}
    total = sum(value for value in spend.values() if value > 0)
    found = levels(rows, "pillars")
    assert found == {
        subject: "few" if value > 0 and 100 * Fraction(value) / Fraction(total) >= Fraction(1, 2) else "many"
        for subject, value in spend.items()
    }
    assert set(found.values()) == {"many", "few"}


def test_they_are_released_and_explained_like_all_others(company, rows):
    subject = next(iter(levels(rows, "quarters")))
    told = company.json("explain", subject, "--program", "quarters", "--period", PERIOD)
    assert told["level"]["level_id"] == levels(rows, "quarters")[subject]
