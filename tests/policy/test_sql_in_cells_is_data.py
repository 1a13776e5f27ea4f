"""SQL in any cell of any seed is data: refused with its place, or carried as a typed literal; it never runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pytest

from orchestration.errors import BadInput
from orchestration.policy import compile_policies, store_policies
from orchestration.policy.reader import load_schema
from orchestration.policy.sql import PLACEHOLDERS, literal
from tests.policy.conftest import SeedFolder
from tests.policy.whole_warehouse import build_relations, statements

PAYLOADS = [
    "x'); drop table metrics; --",
    "' or 1=1 --",
    "1; drop table metrics",
    "*/ drop table metrics; /*",
    "gotone' union all select * from metrics --",
    "(select max(sql) from ctl.compiled_sql)",
    "{{ run_query('drop table metrics') }}",
    "__METRICS__",
    "x__NOMINATIONS__'y__GROUP_SUBJECTS__",
    "read_csv('/etc/passwd')",
    "\\'; drop table metrics; --",
    "a\n; drop table metrics; --",
    'gotone"; drop table metrics; --',
    "$$drop table metrics$$",
    "=cmd|'/C calc'!A0",
]

# Programs of customers, groups and staff, and one that uses every seed: all kinds of compiled relations are written.
PROGRAMS = ("six_star", "group_value", "staff_grade")
ran: set[str] = set()


@dataclass
class Place:
    """Seeds of all those programs, and a database in which their SQL runs."""

    seeds: SeedFolder
    con: duckdb.DuckDBPyConnection
    fragments: list[str]
    tables: list[tuple[str, str]]


def tables(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return con.execute("select schema_name, table_name from duckdb_tables() where schema_name <> 'policy' order by all").fetchall()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    seeds = SeedFolder(tmp_path_factory.mktemp("injection") / "seeds", *PROGRAMS)
    seeds.own_program()
    policies = seeds.load()
    compiled = compile_policies(policies)
    with duckdb.connect() as con:
        build_relations(con, policies)
        store_policies(con, policies, compiled)
        yield Place(seeds, con, list(compiled), tables(con))


def row_to_spoil(seeds: SeedFolder, seed: str) -> int:
    """The last row, of the program that uses every seed; of other seeds the first."""
    return len(seeds.rows(seed)) if {"program_id", "subject_type"} & set(seeds.rows(seed)[0]) else 2


@pytest.mark.parametrize(("seed", "column"), [(seed, column) for seed, schema in load_schema().items() for column in schema.columns])
def test_sql_in_a_cell_never_runs(place, seed, column):
    sound = place.seeds.path(seed).read_bytes()
    stored = False
    for payload in PAYLOADS:
        place.seeds.set(seed, row_to_spoil(place.seeds, seed), column, payload)
        try:
            policies = place.seeds.load()
        except BadInput as err:
            assert ".csv, row" in err.where and err.remedy, err
            continue
        finally:
            place.seeds.path(seed).write_bytes(sound)
        compiled = compile_policies(policies)
        assert list(compiled) == place.fragments
        for text in statements(compiled):
            if text in ran:
                continue
            ran.add(text)
            assert len(duckdb.extract_statements(text)) == 1
            place.con.execute(text).fetchall()
        if not stored:
            stored = True
            store_policies(place.con, policies, compiled)
            assert place.con.execute(f'select "{column}" from policy.{seed} limit 1').fetchone() is not None
    assert tables(place.con) == place.tables


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
    assert not any(placeholder in text for placeholder in PLACEHOLDERS)
    assert duckdb.execute(f"select {text}").fetchall() == [(value,)]
