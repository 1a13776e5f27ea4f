"""Periods: calendar months written ``2026-06``. Arithmetic is on ``year * 12 + month - 1``, as in the SQL macros."""

from __future__ import annotations

import re
from datetime import date, timedelta

from orchestration.errors import BadInput

_PERIOD = re.compile(r"^([0-9]{4})-(0[1-9]|1[0-2])\Z")


def parse_period(text: str, where: str = "--period") -> str:
    """Return ``text`` if it is a period, else raise BadInput naming ``where``."""
    if not _PERIOD.match(text):
        raise BadInput(f"{text!r} is not a period", where, "write a calendar month as YYYY-MM, for example 2026-06")
    return text


def parse_period_range(text: str) -> list[str]:
    """``2026-01..2026-06`` or ``2026-06`` to the list of its periods, in order."""
    first, sep, last = text.partition("..")
    start = parse_period(first.strip(), "--periods")
    end = parse_period(last.strip(), "--periods") if sep else start
    if end < start:
        raise BadInput(f"the range {text!r} ends before it starts", "--periods", f"write {end}..{start}")
    return periods_between(start, end)


def period_index(period: str) -> int:
    """Months since year 0: ``2026-06`` → 24317."""
    return int(period[:4]) * 12 + int(period[5:7]) - 1


def period_from_index(index: int) -> str:
    """Inverse of :func:`period_index`."""
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def add_months(period: str, months: int) -> str:
    """The period ``months`` later (negative: earlier)."""
    return period_from_index(period_index(period) + months)


def periods_between(first: str, last: str) -> list[str]:
    """All periods from ``first`` to ``last``, both included."""
    return [period_from_index(i) for i in range(period_index(first), period_index(last) + 1)]


def ranges(periods: list[str]) -> list[str]:
    """Periods as the ranges that a run takes: ``2026-02..2026-04``, one for each stretch without a hole."""
    stretches: list[list[str]] = []
    for period in sorted(periods):
        if stretches and period == add_months(stretches[-1][-1], 1):
            stretches[-1].append(period)
        else:
            stretches.append([period])
    return [found[0] if len(found) == 1 else f"{found[0]}..{found[-1]}" for found in stretches]


def first_day(period: str) -> date:
    """First day of the period."""
    return date(int(period[:4]), int(period[5:7]), 1)


def last_day(period: str) -> date:
    """Last day of the period."""
    return first_day(add_months(period, 1)) - timedelta(days=1)
