"""Whose bill it is when a number changed hands, and which periods a window holds."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from orchestration.audit.landed import Holding, holder_of_bill
from orchestration.audit.windows import window_periods

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOLDINGS = [Holding("B", date(2020, 1, 1), date(2026, 2, 14)), Holding("A", date(2026, 2, 15), date(9999, 12, 31))]


@pytest.mark.parametrize(
    ("period", "billed_at", "holder"),
    [
        ("2026-01", None, "B"),
        ("2026-03", None, "A"),
        ("2026-02", datetime(2026, 2, 14, 15, 59), "B"),
        ("2026-02", datetime(2026, 2, 14, 16, 0), "A"),  # midnight in Shanghai
        ("2026-02", None, None),
        ("2026-02", datetime(2026, 3, 1, 12, 0), None),
        ("2019-12", None, None),
    ],
)
def test_a_bill_goes_to_the_holder_in_its_period(period: str, billed_at: datetime | None, holder: str | None) -> None:
    assert holder_of_bill(HOLDINGS, period, billed_at, SHANGHAI) == holder


@pytest.mark.parametrize(
    ("window", "first", "last", "months"),
    [
        ("3m", "2026-04", "2026-06", 3),
        ("previous_3m", "2026-01", "2026-03", 3),
        ("ytd", "2026-01", "2026-06", 6),
        ("last_year", "2025-01", "2025-12", 12),
        ("total", "2025-05", "2026-06", 14),
    ],
)
def test_window_periods(window: str, first: str, last: str, months: int) -> None:
    found = window_periods(window, "2026-06", "2025-05")
    assert (found[0], found[-1], len(found)) == (first, last, months)
