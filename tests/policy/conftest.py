"""Policies from copies of the default seeds with some cells or files changed, and a tiny metrics table to run them on."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT
from orchestration.policy import Policies, compile_policies, load_policy_files

METRICS_DDL = """
create or replace table metrics (
    customer_id varchar, period varchar, period_index integer, brand varchar, segment varchar, is_real_name boolean, joined_date date,
    is_in_scope boolean default true, scope_reason varchar, spend_6m_amount decimal(18, 4), service_6m_months bigint,
    base_points_last_year bigint, active_12m_months bigint, spend_12m_amount decimal(18, 4), tenure_months bigint
)
"""


class SeedFolder:
    """A complete folder of seeds that a test may spoil."""

    def __init__(self, folder: Path, *programs: str) -> None:
        self.folder = folder
        shutil.copytree(PROJECT_ROOT / "seeds", folder, ignore=shutil.ignore_patterns("*.yaml", "*.md"))
        self.only(*(programs or ("six_star",)))

    def only(self, *programs: str) -> None:
        """Keep the rows of these programs and of no other."""
        for path in self.folder.glob("*.csv"):
            rows = self.rows(path.stem)
            if "program_id" in rows[0]:
                place = rows[0].index("program_id")
                self.write(path.stem, [rows[0], *(row for row in rows[1:] if row[place] in programs)])

    def path(self, seed: str) -> Path:
        return self.folder / f"{seed}.csv"

    def rows(self, seed: str) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.path(seed).read_text(encoding="utf-8"))))

    def write(self, seed: str, rows: Iterable[Sequence[str]]) -> None:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(rows)
        self.path(seed).write_text(out.getvalue(), encoding="utf-8")

    def set(self, seed: str, row: int, column: str, value: str) -> None:
        """Change one cell; ``row`` is the line of the file (header = 1)."""
        rows = self.rows(seed)
        rows[row - 1][rows[0].index(column)] = value
        self.write(seed, rows)

    def text(self, seed: str, change: Callable[[str], str]) -> None:
        self.path(seed).write_text(change(self.path(seed).read_text(encoding="utf-8")), encoding="utf-8", newline="")

    def rules(self, rules: Sequence[tuple[str, str, Sequence[tuple[str, str, str]]]], hit_policy: str = "first") -> None:
        """Replace the rules of six_star v1 by (rule, level, conditions), in this order."""
        self.set("programs", 2, "hit_policy", hit_policy)
        head = self.rows("decision_rules")[0]
        self.write("decision_rules", [head, *(["six_star", "v1", r, str(10 * n), level, r, r] for n, (r, level, _) in enumerate(rules, 1))])
        head = self.rows("decision_conditions")[0]
        self.write("decision_conditions", [head, *(["six_star", "v1", r, *c] for r, _, conditions in rules for c in conditions)])

    def load(self) -> Policies:
        return load_policy_files(self.folder)


@pytest.fixture
def seeds(tmp_path: Path) -> SeedFolder:
    return SeedFolder(tmp_path / "seeds")


@pytest.fixture
def con() -> Iterable[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(METRICS_DDL)
        connection.execute("create table extras (customer_id varchar, period varchar, arrears_suspensions_12m bigint)")
        connection.execute(
            "create table nominations (program_id varchar, subject_id varchar, period varchar, level_id varchar, level_rank integer)"
        )
        yield connection


@pytest.fixture
def decide(con: duckdb.DuckDBPyConnection) -> Callable[..., list[dict[str, Any]]]:
    """Decisions on rows of metrics given as dicts (a row has period 2026-06, is in scope, and an id by its place)."""

    def run(
        policies: Policies, *rows: dict[str, Any], nominations: Sequence[tuple[str, str, str, str, int]] = (), **options: Any
    ) -> list[dict[str, Any]]:
        con.execute("delete from metrics")
        con.execute("delete from nominations")
        for number, row in enumerate(rows):
            full = {"customer_id": f"c{number}", "period": "2026-06", "is_in_scope": True, **row}
            con.execute(f"insert into metrics ({', '.join(full)}) values ({', '.join('?' * len(full))})", list(full.values()))
        for nomination in nominations:
            con.execute("insert into nominations values (?, ?, ?, ?, ?)", nomination)
        text = (
            compile_policies(policies, **options)["decisions"]
            .replace("__METRICS__", "metrics")
            .replace("__NOMINATIONS__", "nominations")
            .replace("__EXTRAS__", "extras")
        )
        result = con.execute(f"select * from ({text}) order by program_id, subject_id, period")
        names = [column[0] for column in result.description]
        return [dict(zip(names, values, strict=True)) for values in result.fetchall()]

    return run
