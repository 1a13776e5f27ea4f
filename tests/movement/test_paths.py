"""Upgrade paths: months to the next level agree with waiting month by month at the present pace; who falls, and when."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.policy import compile_policies
from tests.movement.rendered import rendered
from tests.policy.conftest import SeedFolder

JUNE = 2026 * 12 + 5
PACES = """case sums.measure_id when 'spend' then served.recent end as recent_amount,
    case sums.metric_id when 's6' then served.s6 when 'y' then served.y when 's1' then served.s1 end as window_amount,
    case sums.months_metric_id when 'm6' then served.m6 when 'my' then served.my end as divided_months"""
MODEL = rendered("fct_upgrade_paths", compiled={"present_paces": PACES})
BASE: dict[str, Any] = {
    "program_id": "p", "subject_type": "customer", "subject_id": "A", "period": "2026-06", "period_index": JUNE, "status": "decided",
    "level_id": "low", "level_rank": 1, "held_level_id": "low", "held_level_rank": 1, "qualified_level_id": "low", "qualified_level_rank": 1,
    "next_level_id": None, "missing_attribute": None, "missing_amount": None, "is_amount_enough": True, "cap_level_rank": None, "at_least_level_rank": None, "set_level_rank": None, "policy_version": "v", "valid_until_period": None,
}  # fmt: skip
TYPES = {
    "period_index": "integer",
    "level_rank": "integer",
    "held_level_rank": "integer",
    "qualified_level_rank": "integer",
    "missing_amount": "decimal(18, 4)",
    "is_amount_enough": "boolean",
    "cap_level_rank": "integer",
    "at_least_level_rank": "integer",
    "set_level_rank": "integer",
}


def path_of(
    *,
    pace: str = "0",
    recent_months: int = 3,
    fall: str | None = None,
    grace: int = 0,
    only_of_others: str = "",
    sums: dict[str, int] | None = None,
    **decision: Any,
) -> dict[str, Any] | None:
    """The row of one subject, or None. ``pace``: what it spent in the last three months; ``only_of_others``: a level that the version's
    rules do not give; ``sums``: its metrics, s6, m6, y, my and s1."""
    row = BASE | decision
    with duckdb.connect() as con:
        columns = [f"{name} {TYPES.get(name, 'varchar')}" for name in row]
        con.execute(f"create table int_held_decisions ({', '.join(columns)})")
        con.execute(f"insert into int_held_decisions values ({', '.join('?' * len(row))})", list(row.values()))
        con.execute("create table target_periods as select unnest(['2026-05', '2026-06']) as period")
        # What other months, customers, measures, programs and versions have beside it is nothing to this row, nor a metric of a name of ours.
        con.execute(
            "create table int_customer_metrics (customer_id varchar, period varchar, service_mask bigint, recent_months bigint, "
            "recent decimal(18, 4), s6 decimal(18, 4), m6 bigint, y decimal(18, 4), my bigint, s1 decimal(18, 4))"
        )
        con.execute(
            "insert into int_customer_metrics values ('A', '2026-05', 1, 7, 7, 7, 7, 7, 7, 7), ('B', '2026-06', 1, 7, 7, 7, 7, 7, 7, 7)"
        )
        con.execute(
            "insert into int_customer_metrics values ('A', '2026-06', ?, 9, ?, ?, ?, ?, ?, ?)",
            [2**recent_months - 1, pace, *((sums or {}).get(name) for name in ("s6", "m6", "y", "my", "s1"))],
        )
        con.execute(
            "create table dim_levels as select 'p' as program_id, unnest(['low', 'mid', 'high']) as level_id, unnest([1, 2, 3]) as level_rank "
            "union all select 'q', unnest(['low', 'mid', 'high']), unnest([1, 3, 2])"
        )
        con.execute("create table levels as select program_id, level_id, level_rank as rank from dim_levels")
        given = [level for level in ("low", "mid", "high") if level != only_of_others]
        con.execute(
            "create table decision_rules as select 'p' as program_id, 'v' as version, unnest(?) as level_id "
            "union all select unnest(['p', 'q']), unnest(['w', 'v']), unnest(['mid', 'mid'])",
            [given],
        )
        con.execute(
            "create table policy_versions as select * from (values ('p', 'v', cast(? as integer), cast(? as varchar)), ('p', 'w', 9, 'one_level'), "
            "('q', 'v', 9, 'one_level')) as t (program_id, version, grace_months, fall)",
            [grace, fall],
        )
        con.execute(
            """create table attributes as select * from (values ('avg', 'average', 'customer', 's6', 'm6'), ('ytd', 'metric', 'customer', 'y', null), ('sum', 'metric', 'customer', 's6', null),
                ('ytd_avg', 'average', 'customer', 'y', 'my'), ('last', 'metric', 'customer', 's1', null))
            as t (attribute_id, kind, subject_type, metric_id, months_metric_id)"""
        )
        con.execute(
            """create table metrics as select * from (values ('s6', 'spend', '6m'), ('y', 'spend', 'ytd'), ('s1', 'spend', '1m')) as t (metric_id, measure_id, "window")"""
        )
        found = con.execute(f"select * from ({MODEL})")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
    assert len(rows) <= 1
    return rows[0] if rows else None


def waited(bar: int, months: list[int], pace: Fraction) -> int | None:
    """Months until the average of the last six is at the bar, each further month at the pace, each month of the window like another."""
    window = [Fraction(sum(months), len(months))] * len(months)
    for n in range(1, 7):
        window = [*window, pace][-6:]
        if sum(window) >= bar * len(window):
            return n
    return None


@pytest.mark.parametrize("months", [[90] * 6, [60, 80, 100, 110, 100, 118], [100, 110], [20] * 6, [119, 119, 119, 119, 119, 119]])
@pytest.mark.parametrize("pace", [0, 100, 119, 121, 130, 150, 200, 400])
def test_months_agree_with_waiting(months, pace):
    missing = 120 * len(months) - sum(months)
    sums = {"s6": sum(months), "m6": len(months)}
    row = path_of(pace=str(3 * pace), next_level_id="mid", missing_attribute="avg", missing_amount=Decimal(missing), sums=sums)
    expected = waited(120, months, Fraction(pace))
    if expected is None or expected > 3:
        assert row is None
    else:
        assert row is not None
        assert (row["months_to_next_level"], row["is_likely_to_rise"], row["is_about_to_fall"]) == (expected, True, False)
        assert row["pace_amount"] == pace


@pytest.mark.parametrize("months", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("pace", [0, 100, 130])
@pytest.mark.parametrize("bar", [601, 780])
def test_nothing_leaves_a_sum_before_its_window_is_full(months: int, pace: int, bar: int):
    window = [0] * (6 - months) + [100] * months  # no more than 600
    expected = next((n for n in range(1, 4) if sum([*window, *[pace] * n][-6:]) >= bar), None)
    row = path_of(
        pace=str(pace * min(months, 3)),
        recent_months=months,
        next_level_id="mid",
        missing_attribute="sum",
        missing_amount=Decimal(bar - sum(window)),
        sums={"s6": sum(window)},
    )
    assert (row and row["months_to_next_level"]) == expected


@pytest.mark.parametrize("pace", range(0, 300, 7))
def test_months_below_zero_that_leave_bring_a_bar_nearer(pace: int):
    """A sum of six months in which 600 were given back, and a bar of 100, of nothing, or of 100 below it."""
    for bar in (-100, 0, 100):
        expected = next((n for n in range(1, 4) if -600 + n * (pace + 100) >= bar), None)
        row = path_of(
            pace=str(3 * pace),
            recent_months=6,
            next_level_id="mid",
            missing_attribute="sum",
            missing_amount=Decimal(bar + 600),
            sums={"s6": -600},
        )
        assert (row and row["months_to_next_level"]) == expected


@pytest.mark.parametrize("months", [[90] * 6, [60, 80], [110]])
@pytest.mark.parametrize("pace", [0, 100, 120, 130, 150, 300])
def test_an_average_over_the_calendar_year_asks_for_the_bar_of_each_further_month(months: list[int], pace: int):
    expected = next((n for n in range(1, 4) if sum(months) + n * pace >= 120 * (len(months) + n)), None)
    row = path_of(
        pace=str(3 * pace),
        next_level_id="mid",
        missing_attribute="ytd_avg",
        missing_amount=Decimal(120 * len(months) - sum(months)),
        sums={"y": sum(months), "my": len(months)},
    )
    assert (row and row["months_to_next_level"]) == expected


def test_amounts_may_be_of_any_size():
    """In a currency of small units: 30 thousand million a month, 50 missing."""
    row = path_of(
        pace="90000000000",
        recent_months=6,
        next_level_id="mid",
        missing_attribute="sum",
        missing_amount=Decimal(50 * 10**9),
        sums={"s6": 60000000000},
    )
    assert row is not None and (row["pace_amount"], row["months_to_next_level"]) == (30 * 10**9, 3)


def test_a_calendar_year_ends_in_december():
    asked = {"next_level_id": "mid", "missing_attribute": "ytd", "missing_amount": Decimal(300), "sums": {"y": 10}}
    row = path_of(pace="300", **asked)
    assert row is not None and row["months_to_next_level"] == 3
    assert path_of(pace="300", **asked | {"period_index": JUNE + 4}) is None


@pytest.mark.parametrize(("pace", "months"), [(149, None), (150, 1)])
def test_a_window_is_all_of_the_present_pace_after_its_own_months(pace: int, months: int | None):
    asked = {"next_level_id": "mid", "missing_attribute": "last", "missing_amount": Decimal(100), "sums": {"s1": 50}}
    row = path_of(pace=str(3 * pace), **asked)
    assert (row and row["months_to_next_level"]) == months


def test_a_new_customer_is_reckoned_by_months_in_service():
    row = path_of(pace="100", recent_months=1, next_level_id="mid", missing_attribute="ytd", missing_amount=Decimal(300), sums={"y": 10})
    assert row is not None and (row["pace_amount"], row["months_to_next_level"]) == (100, 3)


def test_who_lacks_more_than_one_amount_is_not_likely_to_rise():
    asked = {"pace": "900", "next_level_id": "mid", "missing_attribute": "ytd", "missing_amount": Decimal(1), "sums": {"y": 10}}
    assert path_of(**asked) is not None
    assert path_of(**asked, is_amount_enough=False) is None


@pytest.mark.parametrize(
    ("covered", "is_seen"),
    [
        ({"cap_level_rank": 1}, False),
        ({"cap_level_rank": 2}, True),
        ({"cap_level_rank": 1, "at_least_level_rank": 2, "level_id": "mid", "level_rank": 2}, False),
        ({"at_least_level_rank": 1}, True),
        ({"set_level_rank": 1}, False),
        ({"set_level_rank": 3, "level_id": "high", "level_rank": 3}, False),
    ],
)
def test_a_rise_that_a_cap_or_an_override_hides_is_none(covered: dict[str, Any], is_seen: bool):
    row = path_of(pace="900", next_level_id="mid", missing_attribute="ytd", missing_amount=Decimal(1), sums={"y": 10}, **covered)
    assert (row is not None) is is_seen


def test_a_next_level_that_is_held_already_is_no_rise():
    held = {"held_level_id": "mid", "held_level_rank": 2, "level_id": "mid", "level_rank": 2}
    assert path_of(pace="900", next_level_id="mid", missing_attribute="ytd", missing_amount=Decimal(1), sums={"y": 10}, **held) is None


@pytest.mark.parametrize(
    ("until", "grace", "fall", "expected"),
    [
        ("2026-06", 0, None, ("2026-07", "low", 1)),
        ("2026-08", 0, "to_qualified", ("2026-09", "low", 3)),
        ("2026-09", 0, None, None),
        ("2026-06", 2, "one_level", ("2026-09", "mid", 1)),
        ("2026-05", 2, "one_level", ("2026-08", "mid", 0)),
    ],
)
def test_who_no_longer_qualifies_falls_after_validity_and_grace(until, grace, fall, expected):
    row = path_of(held_level_id="high", held_level_rank=3, level_id="high", level_rank=3, valid_until_period=until, grace=grace, fall=fall)
    assert (row and (row["falls_in_period"], row["falls_to_level_id"], row["months_to_review"])) == expected
    assert row is None or (row["is_about_to_fall"] and not row["is_likely_to_rise"] and row["next_level_id"] is None)


def test_a_level_that_only_another_version_gives_is_no_step_of_a_fall():
    held = {"held_level_id": "high", "held_level_rank": 3, "level_id": "high", "level_rank": 3, "valid_until_period": "2026-06"}
    row = path_of(fall="one_level", only_of_others="mid", **held)
    assert row is not None and row["falls_to_level_id"] == "low"


def test_sums_and_paces_are_those_that_rules_ask_of(tmp_path: Path) -> None:
    text = compile_policies(SeedFolder(tmp_path / "seeds").load())
    assert "as spend_amount__recent" in text["window_metrics"]
    with duckdb.connect() as con:
        con.execute(
            "create table sums as select 'spend_amount' as measure_id, 'spend_6m_amount' as metric_id, 'service_6m_months' as months_metric_id"
        )
        con.execute(
            "create table served as select 12.5 as spend_amount__recent, 480.25 as spend_6m_amount, cast(5 as bigint) as service_6m_months"
        )
        query = f"select {text['present_paces']} from sums, served"
        assert con.execute(query).fetchall() == [(Decimal("12.5"), Decimal("480.25"), 5)]
        con.execute("update sums set measure_id = 'base_points', metric_id = 'base_points_last_year', months_metric_id = null")
        assert con.execute(query).fetchall() == [(None, None, None)]


def test_where_no_rule_asks_for_a_sum_there_is_no_pace(tmp_path: Path) -> None:
    seeds = SeedFolder(tmp_path / "seeds")
    seeds.set("programs", seeds.row_of("programs", program_id="six_star"), "enabled", "false")
    text = compile_policies(seeds.load())
    assert "__recent" not in text["window_metrics"] + text["window_columns"] + text["metric_columns"]
    assert duckdb.sql(f"select {text['present_paces']}").fetchall() == [(None, None, None)]
