"""SQL in any cell of any seed is data: refused with its place, or carried as a typed literal; it never runs."""

from __future__ import annotations

import duckdb
import pytest

from orchestration.errors import BadInput
from orchestration.policy import compile_policies, store_policies
from orchestration.policy.reader import load_schema
from orchestration.policy.sql import literal

PAYLOADS = [
    "x'); drop table metrics; --",
    "' or 1=1 --",
    "1; drop table metrics",
    "*/ drop table metrics; /*",
    "gotone' union all select * from metrics --",
    "(select max(sql) from ctl.compiled_sql)",
    "{{ run_query('drop table metrics') }}",
    "__METRICS__",
    "x__NOMINATIONS__'y",
    "read_csv('/etc/passwd')",
    "\\'; drop table metrics; --",
    "a\n; drop table metrics; --",
    'gotone"; drop table metrics; --',
    "$$drop table metrics$$",
    "=cmd|'/C calc'!A0",
]

ran: set[str] = set()


@pytest.mark.parametrize(("seed", "column"), [(seed, column) for seed, schema in load_schema().items() for column in schema.columns])
def test_sql_in_a_cell_never_runs(seeds, con, seed, column):
    sound = (seeds.path(seed)).read_bytes()
    stored = False
    statements = len(compile_policies(seeds.load()))
    for payload in PAYLOADS:
        seeds.path(seed).write_bytes(sound)
        seeds.set(seed, 2, column, payload)
        try:
            policies = seeds.load()
        except BadInput as err:
            assert f"{seed}.csv, row 2" in err.where or ".csv, row" in err.where, err
            assert err.remedy
            continue
        compiled = compile_policies(policies)
        assert len(compiled) == statements
        text = compiled["decisions"].replace("__METRICS__", "metrics").replace("__NOMINATIONS__", "nominations")
        if text not in ran:
            assert len(duckdb.extract_statements(f"select * from ({text})")) == 1
            con.execute(f"select * from ({text})").fetchall()
            assert con.execute("select count(*) from metrics").fetchone() == (0,)
            ran.add(text)
        if stored:
            continue
        stored = True
        store_policies(con, policies, compiled)
        assert con.execute(f'select "{column}" from policy.{seed} limit 1').fetchone() is not None
        assert con.execute("select count(*) from metrics").fetchone() == (0,)


@pytest.mark.parametrize("payload", [p for p in PAYLOADS if "\n" not in p])
def test_a_category_value_that_holds_sql_matches_only_itself(seeds, decide, payload):
    rows = seeds.rows("attributes")
    seeds.write(
        "attributes", [[("" if rows[0][n] == "allowed_values" and r[0] == "brand" else cell) for n, cell in enumerate(r)] for r in rows]
    )
    seeds.rules([("asks", "star_2", [("brand", "=", payload)]), ("other", "star_1", [])])
    decisions = decide(seeds.load(), {"brand": payload}, {"brand": "gotone"}, {"brand": None})
    assert [d["matched_rule_id"] for d in decisions] == ["asks", "other", "other"]


@pytest.mark.parametrize("value", [*PAYLOADS, "'", "''", "\\", "__METRICS__' || '__METRICS__", "六星"])
def test_a_literal_evaluates_to_its_value_and_holds_no_placeholder(value):
    text = literal(value)
    assert "__METRICS__" not in text and "__NOMINATIONS__" not in text
    assert duckdb.execute(f"select {text}").fetchall() == [(value,)]
