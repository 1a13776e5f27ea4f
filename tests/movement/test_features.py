"""Effect sizes against plain counting, and the sample that they are taken from."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.policy import compile_policies
from orchestration.policy.features import EFFECT_COLUMNS, effects, effects_table
from tests.movement.world import add
from tests.policy.conftest import SeedFolder

NUMBERS = st.lists(st.integers(-20, 20), min_size=2, max_size=25)


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS)
def test_effect_sizes_are_those_counted_pair_by_pair(top, others):
    found = effects(np.array(top, dtype=float), np.array(others, dtype=float))
    pairs = list(itertools.product(top, others))
    delta = (sum(a > b for a, b in pairs) - sum(a < b for a, b in pairs)) / len(pairs)
    assert found["cliffs_delta"] == pytest.approx(delta)
    assert (found["top_mean"], found["other_median"]) == (pytest.approx(statistics.fmean(top)), pytest.approx(statistics.median(others)))
    spread = [(v - statistics.fmean(side)) ** 2 for side in (top, others) for v in side]
    pooled = (sum(spread) / (len(top) + len(others) - 2)) ** 0.5
    if pooled:
        assert found["cohens_d"] == pytest.approx((statistics.fmean(top) - statistics.fmean(others)) / pooled)
    else:
        assert found["cohens_d"] is None


def test_equal_numbers_do_not_vary_though_their_mean_is_rounded():
    """As of a company with two flat fees: the mean of seven times 99.9 is not 99.9, and divided by the rest no number would hold the effect."""
    found = effects(np.array([99.9] * 7), np.array([39.9] * 11))
    assert (found["cohens_d"], found["cliffs_delta"]) == (None, 1.0)
    # The smallest spread of large amounts is one.
    spread = effects(np.array([1e9, 1e9 + 0.0625]), np.array([1.0, 1.0]))
    assert 0 < spread["cohens_d"] < 10**12


def test_the_p_value_is_that_of_a_published_example():
    # Mann and Whitney's test on the example of scipy's documentation: times to diagnosis of men and women.
    found = effects(np.array([19, 22, 16, 29, 24], dtype=float), np.array([20, 11, 17, 12], dtype=float))
    assert found["p_value"] == pytest.approx(0.111111, abs=1e-5)
    assert found["cliffs_delta"] == pytest.approx(2 * 17 / 20 - 1)


def test_sides_without_subjects_have_no_effect():
    found = effects(np.array([]), np.array([1.0]))
    assert found == {"top_subjects": 0, "other_subjects": 1, "other_mean": 1.0, "other_median": 1.0}


def test_the_table_leaves_unknown_numbers_out_and_is_typed_when_empty():
    names = ["program_id", "period", "top_level_id", "attribute_id", "is_top", "value"]
    rows = [("p", "2026-06", "gold", "x", True, 2.0), ("p", "2026-06", "gold", "x", False, None), ("p", "2026-06", "gold", "x", False, 1.0)]
    table = effects_table(pa.table({name: [row[n] for row in rows] for n, name in enumerate(names)}))
    (row,) = table.to_pylist()
    assert (row["top_subjects"], row["other_subjects"], row["cliffs_delta"]) == (1, 1, 1.0)
    empty = effects_table(pa.table({name: pa.array([], pa.string()) for name in names}))
    assert empty.num_rows == 0 and empty.column_names == list(EFFECT_COLUMNS)


def test_without_features_scipy_is_not_loaded():
    code = """
import sys, pyarrow as pa
from orchestration.policy.features import effects_table
effects_table(pa.table({n: pa.array([], pa.string()) for n in ("program_id", "period", "top_level_id", "attribute_id", "is_top", "value")}))
print("scipy" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_values_of_the_top_and_of_the_others(tmp_path):
    seeds = SeedFolder(tmp_path / "seeds")
    for name in ("behaviour_features", "programs"):
        rows = seeds.rows(name)
        seeds.write(
            name,
            rows[:1]
            if name == "behaviour_features"
            else [[*r[:-2], "true" if r[0] == "six_star" else "false", r[-1]] if r[0] != "program_id" else r for r in rows],
        )
    add(
        seeds,
        "behaviour_features",
        [{"program_id": "six_star", "top_level_id": "star_5", "attribute": a} for a in ("spend_avg_6m", "tenure_months")],
    )
    text = (
        compile_policies(seeds.load())["feature_values"]
        .replace("__METRICS__", "metrics")
        .replace("__DECISIONS__", "held")
        .replace("ctl.target_periods", "targets")
    )
    with duckdb.connect() as con:
        con.execute("create table targets as select '2026-06' as period")
        con.execute(
            """create table metrics as select * from (values ('A', 600, 6, 10), ('B', 60, 2, 20), ('C', 0, 0, null)) as t
            (customer_id, spend_6m_amount, service_6m_months, tenure_months)"""
        )
        con.execute(
            "alter table metrics add period varchar default '2026-06'; alter table metrics add is_in_scope boolean default true; alter table metrics add scope_reason varchar"
        )
        con.execute(
            """create table held as select 'six_star' as program_id, unnest(['A', 'B', 'C', 'D']) as subject_id, '2026-06' as period,
            unnest([6, 1, 4, null]) as level_rank"""
        )
        found = con.execute(f"select attribute_id, is_top, value from ({text}) order by all").fetchall()
    assert found == [
        ("spend_avg_6m", False, 30.0), ("spend_avg_6m", False, None), ("spend_avg_6m", True, 100.0),
        ("tenure_months", False, 20.0), ("tenure_months", False, None), ("tenure_months", True, 10.0),
    ]  # fmt: skip
