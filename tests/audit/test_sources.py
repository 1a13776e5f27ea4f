"""Which landed row speaks for a customer's joining and leaving, and an applicant's state: the cases of the models' unit tests."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from orchestration.audit.landed import ApplicationStep, EntityRow
from orchestration.audit.sources import application_state, rows_of_spell, trace_columns

DECEMBER, JANUARY, APRIL = date(2025, 12, 5), date(2026, 1, 5), date(2026, 4, 5)
BACK = [
    (date(2025, 12, 1), DECEMBER, None),
    (date(2026, 2, 10), DECEMBER, date(2026, 3, 1)),
    (date(2026, 2, 11), DECEMBER, date(2026, 2, 10)),
    (date(2026, 4, 5), APRIL, None),
]
MOVED = [(date(2025, 12, 1), DECEMBER, None), (date(2026, 2, 1), JANUARY, None)]
ON_ONE_DAY = [BACK[0], (date(2026, 2, 10), DECEMBER, date(2026, 2, 10)), (date(2026, 2, 11), date(2026, 2, 10), None)]
STAYED = [(date(2025, 12, 1), DECEMBER, date(2026, 5, 31)), (date(2026, 2, 1), DECEMBER, None)]


@pytest.mark.parametrize(
    ("told", "until", "expected"),
    [
        (BACK, date(2025, 11, 30), 2),
        (BACK, date(2026, 1, 31), 2),
        (BACK, date(2026, 3, 31), 2),
        (BACK, date(2026, 4, 30), 3),
        (MOVED, date(2026, 1, 31), 1),
        (MOVED, date(2026, 4, 30), 1),
        (ON_ONE_DAY, date(2026, 1, 31), 1),
        (ON_ONE_DAY, date(2026, 4, 30), 2),
        (STAYED, date(2026, 1, 31), 1),
    ],
)
def test_the_newest_row_of_the_relationship_that_had_begun(told: list[tuple[date, date, date | None]], until: date, expected: int) -> None:
    rows = [
        EntityRow("crm", "file", number, {"valid_from_date": since, "joined_date": joined, "left_date": left})
        for number, (since, joined, left) in enumerate(told)
    ]
    assert rows_of_spell(list(reversed(rows)), until)[-1].row == expected


MENDED = [(DECEMBER, DECEMBER, date(2026, 9, 30)), (date(2026, 7, 1), DECEMBER, date(2026, 5, 31))]


@pytest.mark.parametrize(
    ("told", "period", "left"),
    [
        (STAYED, "2026-01", date(2026, 5, 31)),
        (STAYED, "2026-04", None),
        (MENDED, "2026-04", date(2026, 9, 30)),
        (MENDED, "2026-05", date(2026, 5, 31)),
        (BACK, "2026-01", None),
    ],
)
def test_a_leaving_day_is_told_once_it_has_passed_or_by_the_row_that_holds(
    told: list[tuple[date, date, date | None]], period: str, left: date | None
) -> None:
    """As the unit tests of int_customer_attributes have it."""
    rows = [
        EntityRow("crm", "file", number, {"valid_from_date": since, "joined_date": joined, "left_date": day})
        for number, (since, joined, day) in enumerate(told)
    ]
    landing: Any = SimpleNamespace(entity_rows=lambda *_: rows)
    attribute = SimpleNamespace(attribute_id="a", kind="column", entity=None, column_name="left_date", type="date")
    reading: Any = SimpleNamespace(attribute=attribute, value=left, undelivered=[])
    program: Any = SimpleNamespace(subject_type="customer")
    (trace,) = trace_columns(landing, program, "C1", period, [reading])
    assert trace.again == left and trace.agrees


def test_without_rows_there_is_none() -> None:
    assert rows_of_spell([], APRIL) == []


@pytest.mark.parametrize(
    ("review", "period", "state"),
    [
        (date(2026, 5, 20), "2026-05", "returned"),
        (date(2026, 5, 20), "2026-06", "applied"),
        (date(2026, 6, 11), "2026-06", "reviewed"),
    ],
)
def test_what_was_returned_and_handed_in_again_is_in_hand(review: date, period: str, state: str) -> None:
    days = {"application": date(2026, 6, 10), "review": review, "decision": date(2026, 5, 25)}
    steps = [
        ApplicationStep("workflow", "file", number, "A1", step, day, None, "returned" if step == "decision" else None)
        for number, (step, day) in enumerate(days.items())
    ]
    assert application_state(steps, period) == ("A1", state)


@pytest.mark.parametrize(("type_", "evidence"), [("boolean", True), ("category", "true")])
def test_a_landed_true_is_the_word_that_a_category_holds(type_: str, evidence: Any) -> None:
    row = EntityRow("crm", "file", 2, {"valid_from_date": DECEMBER, "is_real_name": True})
    landing: Any = SimpleNamespace(entity_rows=lambda *_: [row])
    attribute = SimpleNamespace(attribute_id="a", kind="column", entity=None, column_name="is_real_name", type=type_)
    reading: Any = SimpleNamespace(attribute=attribute, value=evidence, undelivered=[])
    program: Any = SimpleNamespace(subject_type="customer")
    (trace,) = trace_columns(landing, program, "C1", "2026-01", [reading])
    assert trace.agrees
