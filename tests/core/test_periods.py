"""Periods: laws of month arithmetic, and the messages for what is no period."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.errors import BadInput
from orchestration.periods import add_months, parse_period, parse_period_range, period_from_index, period_index, periods_between, ranges

indexes = st.integers(min_value=12 * 1900, max_value=12 * 2200)


@given(indexes)
def test_index_and_period_are_inverse(index: int) -> None:
    assert period_index(period_from_index(index)) == index


@given(indexes, st.integers(-500, 500))
def test_adding_and_taking_away_months_cancels(index: int, months: int) -> None:
    period = period_from_index(index)
    assert add_months(add_months(period, months), -months) == period


@given(indexes, st.integers(0, 60))
def test_a_range_has_each_month_once_in_order(index: int, length: int) -> None:
    months = periods_between(period_from_index(index), period_from_index(index + length))
    assert len(months) == length + 1 and months == sorted(set(months))


@pytest.mark.parametrize("text", ["2026-13", "2026-6", "202606", "June", "", "2026-00", "2026-06-01", "2026-06\n", "２０２６-06"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not a period"):
        parse_period(text)


def test_a_reversed_range_says_how_to_write_it() -> None:
    with pytest.raises(BadInput) as caught:
        parse_period_range("2026-06..2026-01")
    assert "2026-01..2026-06" in caught.value.remedy


def test_ranges() -> None:
    assert ranges([]) == []
    assert ranges(["2026-01", "2025-11", "2025-12", "2026-03"]) == ["2025-11..2026-01", "2026-03"]
