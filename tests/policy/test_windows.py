"""A window is one thing, however it is asked: as months, as SQL, as bits of service, and as the audit reads it for itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import duckdb
import pytest

from orchestration.audit.windows import window_periods
from orchestration.deployment import PROJECT_ROOT
from orchestration.periods import period_index
from orchestration.policy import load_policy_files
from orchestration.policy.both_windows import window_relation
from orchestration.policy.window import Window

PERIODS = ("2026-01", "2026-06", "2026-12")
WINDOWS = ("1m", "3m", "12m", "60m", "previous_1m", "previous_3m", "previous_30m", "ytd", "last_year")


@pytest.mark.parametrize(
    ("window", "period", "first", "last"),
    [
        ("1m", "2026-06", "2026-06", "2026-06"),
        ("6m", "2026-03", "2025-10", "2026-03"),
        ("previous_3m", "2026-03", "2025-10", "2025-12"),
        ("ytd", "2026-01", "2026-01", "2026-01"),
        ("ytd", "2026-12", "2026-01", "2026-12"),
        ("last_year", "2026-01", "2025-01", "2025-12"),
        ("last_year", "2026-12", "2025-01", "2025-12"),
    ],
)
def test_first_and_last_month(window, period, first, last):
    assert Window.of(window).months(period_index(period)) == (period_index(first), period_index(last))


@pytest.mark.parametrize(("window", "period"), list(product(WINDOWS, PERIODS)))
def test_sql_and_the_audit_read_the_same_months(window, period):
    index, span = period_index(period), Window.of(window)
    first, last = span.months(index)
    expressions = [*span.sql_range("(i - 1)"), *span.sql_range("(i - 1)", "i")]
    before = span.months(index - 1)
    assert duckdb.sql(f"select {', '.join(expressions)} from (select {index} as i)").fetchall() == [(*before, before[0], last)]
    audited = [period_index(p) for p in window_periods(window, period, None)]
    assert audited == list(range(first, last + 1))
    assert span.length is not None and len(audited) <= span.length


@pytest.mark.parametrize(
    ("window", "reach", "length", "is_trailing"),
    [("1m", 1, 1, True), ("12m", 12, 12, True), ("previous_3m", 6, 3, False), ("ytd", 12, 12, False), ("last_year", 24, 12, False), ("total", 1, None, False)],
)  # fmt: skip
def test_how_far_a_window_looks_back(window, reach, length, is_trailing):
    span = Window.of(window)
    assert (span.reach, span.length, span.is_trailing) == (reach, length, is_trailing)
    if span.first is not None:
        assert max(index - span.months(index)[0] + 1 for index in range(24300, 24324)) == reach


def test_what_is_no_window_is_refused_here_too():
    with pytest.raises(ValueError, match="'next_year' is no window"):
        Window.of("next_year")
    for ask in (Window.of("total").months, Window.of("total").sql_range):
        with pytest.raises(ValueError, match="total has no first month"):
            ask(24300)


def test_months_of_service_in_a_long_window_and_a_gap_behind_it_are_as_many_as_are_kept():
    """Of who was not evaluated for three months: both windows are more months than a number of 64 bits has places for."""
    metric = replace(load_policy_files(PROJECT_ROOT / "seeds").metrics["service_12m_months"], window="60m")
    relation = window_relation("customer", [metric], asks_idle=False).replace("__METRICS__", "metrics")
    with duckdb.connect() as con:
        con.execute(
            "create table pairs as select 'customer' as subject_type, 'A' as subject_id, 24314 as before_index, 24317 as period_index"
        )
        con.execute(
            "create table metrics as select 'A' as customer_id, 24317 as period_index, (cast(1 as bigint) << 60) - 1 as service_mask"
        )
        found = con.execute(relation).fetchone()
    assert found == ("A", 24314, 24317, 57, 60)
