"""Movement through the whole build: two months run one after the other, a correction between them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.warehouse.place import Place

MONTHS = [f"2025-{n:02d}" for n in range(1, 7)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(Path(tmp_path_factory.mktemp("movement")))
    joined = {"valid_from_date": "2024-01-01", "brand": "easyown", "segment": "consumer", "joined_date": "2024-01-01"}
    customers = [{"customer_id": c, **joined} for c in ("CORRECTED", "SPENT", "SAME", "NEARLY")]
    gone = {"customer_id": "GONE", **joined}
    place.land("customers", [*customers, gone, gone | {"valid_from_date": "2025-06-20", "left_date": "2025-06-20"}])
    lines = [place.bill(f"{c}{month}", c, month, "50") for month in MONTHS for c in ("CORRECTED", "SPENT", "SAME", "GONE")]
    lines += [place.bill(f"NEARLY{month}", "NEARLY", month, "350") for month in MONTHS]
    june = place.land("bill_lines", lines)
    place.run("2025-06")
    place.land("customers", [{"customer_id": "NEW", **joined, "valid_from_date": "2025-07-02", "joined_date": "2025-07-02"}])
    july = [
        place.bill(f"{c}2025-07", c, "2025-07", amount)
        for c, amount in (("CORRECTED", "50"), ("SPENT", "400"), ("SAME", "50"), ("NEW", "10"), ("NEARLY", "900"))
    ]
    place.land("bill_lines", july)
    place.land(
        "bill_lines", [place.bill("CORRECTED2025-05", "CORRECTED", "2025-05", "300")], replaces=[(june, "CORRECTED2025-05", "2025-05")]
    )
    place.run("2025-07")
    return place


def test_each_movement_has_its_cause(place: Place) -> None:
    found = place.query(
        "select subject_id, from_level_id, to_level_id, direction, movement_cause from marts.fct_tier_movements "
        "where program_id = 'six_star' order by subject_id"
    )
    assert found == [
        ("CORRECTED", "star_2", "star_3", "rose", "bill_corrections"),
        ("GONE", "star_2", None, "left", "left"),
        ("NEW", None, "star_1", "joined", "joined"),
        ("SPENT", "star_2", "star_3", "rose", "new_spend"),
    ]


def test_decisions_show_the_cause(place: Place) -> None:
    shown = (
        "select subject_id, period, movement_cause from marts.fct_decisions where program_id = 'six_star' and movement_cause is not null"
    )
    assert {row[0]: row[2] for row in place.query(shown) if row[1] == "2025-07"} == {
        "CORRECTED": "bill_corrections", "GONE": "left", "NEW": "joined", "SPENT": "new_spend",
    }  # fmt: skip
    assert {row[1] for row in place.query(shown)} == {"2025-07"}


def test_counts_by_cause_add_up_in_every_program(place: Place) -> None:
    changes = (
        "select program_id, count(*) from marts.fct_decisions where movement in ('rose', 'fell', 'joined', 'left') group by all order by 1"
    )
    assert (
        place.query(changes) == place.query("select program_id, sum(subjects) from marts.fct_movement_counts group by all order by 1") != []
    )


def test_who_is_near_the_bar_of_a_sum_is_likely_to_rise(place: Place) -> None:
    """3,000 of 3,600 in 12 months at 533.33 a month, of which an average month of 250 leaves."""
    found = place.query(
        "select subject_id, missing_amount, pace_amount, months_to_next_level from marts.fct_upgrade_paths where program_id = 'vip_threshold' and period = '2025-07'"
    )
    assert found == [("NEARLY", 600, Decimal("533.3333"), 3)]


def test_a_month_that_is_run_again_has_the_same_rows(place: Place) -> None:
    names = (
        "fct_tier_movements",
        "fct_movement_counts",
        "fct_upgrade_paths",
        "fct_level_flapping",
        "fct_pareto_curve",
        "fct_level_features",
    )

    def rows() -> dict[str, list[tuple[object, ...]]]:
        return {name: place.query(f"select * from marts.{name} where period = '2025-07' order by all") for name in names}

    before = rows()
    place.run("2025-07")
    assert rows() == before
    assert [name for name, some in before.items() if not some] == []


@pytest.mark.slow
def test_who_is_not_evaluated_for_a_while_has_not_left(tmp_path: Path) -> None:
    """Staff are not evaluated without a satisfaction in three months: in April and May, after January's and before June's."""
    place = Place(tmp_path)
    place.land("customers", [{"customer_id": "C", "valid_from_date": "2024-01-01", "brand": "easyown", "joined_date": "2024-01-01"}])
    place.land("bill_lines", [place.bill(month, "C", month, "50") for month in MONTHS])
    joined = {"valid_from_date": "2020-01-01", "role": "hotline", "joined_date": "2020-01-01"}
    staff = [{"staff_id": name, **joined} for name in ("SAME", "HIGHER", "LEAVES", "LATE")]
    place.land("staff", [*staff, staff[2] | {"valid_from_date": "2025-05-20", "left_date": "2025-05-20"}])
    measured = [("2025-01", name, 75) for name in ("SAME", "HIGHER", "LEAVES")]
    measured += [("2025-06", "SAME", 75), ("2025-06", "HIGHER", 100), ("2025-06", "LATE", 75)]
    measures = ("satisfaction", "service_quality", "problem_solving", "initiative")
    place.land(
        "staff_measures",
        [{"staff_id": name, "period": month, "measure": m, "score": score} for month, name, score in measured for m in measures],
    )
    place.run("2025-01", "2025-02", "2025-03", "2025-04", "2025-05")
    place.run("2025-06")
    shown: dict[str, list[tuple[str | None, ...]]] = {}
    for name, *row in place.query(
        "select subject_id, coalesce(level_id, status), previous_level_id, movement, movement_cause from marts.fct_decisions "
        "where program_id = 'staff_grade' and period >= '2025-03' order by subject_id, period"
    ):
        shown.setdefault(name, []).append(tuple(row))
    unsure = [("not_evaluated", "senior", None, None)] * 2
    assert shown == {
        "SAME": [("senior", "senior", "same", None), *unsure, ("senior", "senior", "same", None)],
        "HIGHER": [("senior", "senior", "same", None), *unsure, ("expert", "senior", "rose", "attributes")],
        "LEAVES": [("senior", "senior", "same", None), *unsure, ("out_of_scope", "senior", "left", "left")],
        "LATE": [("not_evaluated", None, None, None)] * 3 + [("senior", None, "joined", "joined")],
    }
    # What was known of who left is of the month that showed the level, as of who is another level.
    was = "select d.evidence from marts.fct_decisions as d where program_id = 'staff_grade' and period = '2025-03' and subject_id = m.subject_id"
    known = f"select subject_id, values_before is not distinct from ({was}) from marts.fct_tier_movements as m where program_id = 'staff_grade' and subject_id in ('LEAVES', 'HIGHER') order by 1"
    assert place.query(known) == [("HIGHER", True), ("LEAVES", True)]
    counted = "select movement_cause, sum(subjects) from marts.fct_movement_counts where program_id = 'staff_grade' group by all order by 1"
    assert place.query(counted) == [("attributes", 1), ("joined", 1), ("left", 1)]
