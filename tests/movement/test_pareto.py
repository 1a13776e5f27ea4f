"""The Pareto curve against plain counting: ties, zeros and negatives, in any order of rows."""

from __future__ import annotations

from decimal import Decimal

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.movement.rendered import rendered

MODEL = rendered("fct_pareto_curve")
COLUMNS = "point_kind, subjects_pct, level_id, subjects, bar_amount, cumulative_amount, subjects_share, contribution_share, net_contribution_share"


def curve(amounts: list[tuple[int, str, int]]) -> set[tuple[object, ...]]:
    """Points of the curve; ``amounts``: (amount, level, rank) in the order in which rows stand."""
    with duckdb.connect() as con:
        con.execute("create table target_periods as select unnest(['2026-06', '2026-07']) as period")
        con.execute(
            "create table programs as select unnest(['p', 'other', 'q']) as program_id, unnest(['percentile', 'percentile', 'decision_table']) as method"
        )
        con.execute(
            "create table int_held_decisions (program_id varchar, period varchar, level_id varchar, level_rank integer, rank_value decimal(24, 4))"
        )
        for amount, level, rank in amounts:
            con.execute("insert into int_held_decisions values ('p', '2026-06', ?, ?, ?)", [level, rank, amount])
        con.execute(
            "insert into int_held_decisions values ('p', '2026-05', 'a', 1, 7), ('q', '2026-06', 'a', 1, 7), ('p', '2026-06', 'a', 1, null), "
            "('p', '2026-07', 'high', 2, 7), ('other', '2026-06', 'high', 2, 7)"
        )
        curves = con.execute(f"select distinct program_id, period from ({MODEL}) order by all").fetchall()
        assert curves == [("other", "2026-06"), ("p", "2026-06"), ("p", "2026-07")]
        return set(con.execute(f"select {COLUMNS} from ({MODEL}) where program_id = 'p' and period = '2026-06'").fetchall())


def share(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / whole).quantize(Decimal("0.000001")) if whole > 0 else None


def counted(amounts: list[tuple[int, str, int]]) -> set[tuple[object, ...]]:
    """The same points, counted one by one."""
    values = [amount for amount, _, _ in amounts]
    positive = sum(v for v in values if v > 0)

    def point(kind: str, pct: int | None, level: str | None, bar: int, inside: list[int]) -> tuple[object, ...]:
        return (
            kind, pct, level, len(inside), Decimal(bar), Decimal(sum(inside)), share(len(inside), len(values)),
            share(sum(v for v in inside if v > 0), positive), share(sum(inside), sum(values)),
        )  # fmt: skip

    points = set()
    for pct in range(1, 101):
        bar = next(b for b in sorted(values, reverse=True) if sum(v >= b for v in values) * 100 >= pct * len(values))
        points.add(point("per_cent", pct, None, bar, [v for v in values if v >= bar]))
    for level in {level for _, level, _ in amounts}:
        bar = max(amount for amount, of, _ in amounts if of == level)
        points.add(point("level_begins", None, level, bar, [v for v in values if v > bar]))
    return points


def test_equal_amounts_stay_together():
    found = curve([(10, "high", 2), (10, "high", 2), (5, "low", 1), (0, "low", 1), (-5, "low", 1)])
    assert found == counted([(10, "high", 2), (10, "high", 2), (5, "low", 1), (0, "low", 1), (-5, "low", 1)])
    at = {pct: (subjects, net) for kind, pct, _, subjects, _, _, _, _, net in found if kind == "per_cent"}
    assert at[1] == at[40] == (2, Decimal(1))
    assert at[41] == at[60] == (3, Decimal("1.25"))
    assert at[100] == (5, Decimal(1))


def test_without_any_positive_amount_there_are_no_shares():
    assert {(row[-2], row[-1]) for row in curve([(0, "low", 1), (-5, "low", 1)])} == {(None, None)}


def test_where_sums_all_but_cancel_a_net_share_that_is_too_large_to_write_is_null():
    rows = curve([(10**12, "high", 2), (1, "high", 2), (-(10**12), "low", 1)])
    assert {(row[3], row[-2], row[-1]) for row in rows if row[1] == 1 or row[1] == 100} == {
        (1, Decimal(1), None),
        (3, Decimal(1), Decimal(1)),
    }


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 12), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_any_order_of_rows_gives_the_counted_curve(values, dice):
    rows = [(v, "high" if v > 5 else "low", 2 if v > 5 else 1) for v in values]
    shuffled = list(rows)
    dice.shuffle(shuffled)
    assert curve(rows) == curve(shuffled)
    # Half digits of a share may be rounded either way by two arithmetics; everything else is equal.
    for ours, theirs in zip(sorted(curve(rows), key=str), sorted(counted(rows), key=str), strict=True):
        assert ours[:6] == theirs[:6]
        for a, b in zip(ours[6:], theirs[6:], strict=True):
            assert a == b or (a is not None and b is not None and abs(a - b) <= Decimal("0.000001"))
