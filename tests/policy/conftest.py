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
from orchestration.policy.reader import load_schema

METRICS_DDL = """
create or replace table metrics (
    customer_id varchar, period varchar, period_index integer, brand varchar, segment varchar, is_real_name boolean, joined_date date,
    is_in_scope boolean default true, scope_reason varchar, spend_6m_amount decimal(18, 4), service_6m_months bigint,
    base_points_last_year bigint, active_12m_months bigint, spend_12m_amount decimal(18, 4), tenure_months bigint
)
"""


# A program that uses every seed and every kind of attribute that a customer's metrics row allows.
ATTRIBUTES: list[dict[str, str]] = [
    {"attribute_id": "t_spend", "kind": "metric", "type": "decimal", "metric_id": "spend_12m_amount", "may_be_null": "false"},
    {"attribute_id": "t_active", "kind": "metric", "type": "integer", "metric_id": "active_12m_months", "may_be_null": "false"},
    {
        "attribute_id": "t_known",
        "kind": "first_known",
        "type": "integer",
        "of_attributes": "tenure_months|t_active",
        "may_be_null": "false",
    },
    {"attribute_id": "t_since", "kind": "months_since", "type": "integer", "column_name": "joined_date"},
    {
        "attribute_id": "t_ratio",
        "kind": "ratio",
        "type": "decimal",
        "metric_id": "spend_6m_amount",
        "divisor_metric_id": "spend_12m_amount",
    },
    {"attribute_id": "t_position", "kind": "position", "type": "decimal", "of_attributes": "t_spend"},
    {"attribute_id": "t_share", "kind": "share", "type": "decimal", "of_attributes": "t_spend"},
    {"attribute_id": "t_portion", "kind": "portion", "type": "decimal", "of_attributes": "t_spend"},
    {"attribute_id": "t_score", "kind": "score", "type": "decimal", "may_be_null": "false"},
    {"attribute_id": "t_spend_band", "kind": "band", "type": "category", "of_attributes": "spend_avg_6m"},
    {"attribute_id": "t_score_band", "kind": "band", "type": "category", "of_attributes": "t_score", "may_be_null": "false"},
    {"attribute_id": "t_position_band", "kind": "band", "type": "category", "of_attributes": "t_position"},
]
OWN_LEVELS = ("bronze", "silver", "gold")
OWN_BANDS = {
    "t_spend_band": [("small", "80"), ("middle", "300"), ("big", "")],
    "t_score_band": [("low", "50"), ("high", "")],
    "t_position_band": [("first", "20"), ("rest", "100")],
}
OWN_RULES = [
    ("best", "gold", [("t_score_band", "=", "high"), ("t_spend_band", "=", "big"), ("t_position_band", "=", "first")]),
    ("nominated", "gold", [("nominated_level", ">=", "silver")]),
    ("share", "silver", [("t_share", "<", "80"), ("t_spend_band", "!=", "small"), ("t_ratio", ">=", "10"), ("t_known", ">=", "6")]),
    ("portion", "silver", [("t_portion", ">=", "1.5"), ("brand", "not in", "mzone")]),
    ("others", "bronze", []),
]
Rules = Sequence[tuple[str, str, Sequence[tuple[str, str, str]]]]


class SeedFolder:
    """A complete folder of seeds with the six-star program alone, which a test may spoil."""

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

    def add(self, seed: str, *rows: dict[str, str]) -> None:
        """Append rows; a column that is not named and must be filled gets a plain value."""
        columns = load_schema()[seed].columns
        whole = []
        for row in rows:
            plain = {name: "x" for name, column in columns.items() if column.type == "text" and column.required}
            assert not row.keys() - columns.keys()
            whole.append([{**plain, **row}.get(name, "") for name in columns])
        present = self.rows(seed)
        # A seed may leave out columns that are not required.
        self.write(
            seed, [list(columns), *([dict(zip(present[0], r, strict=True)).get(c, "") for c in columns] for r in present[1:]), *whole]
        )

    def own_program(self, rules: Rules = OWN_RULES, bands: dict[str, list[tuple[str, str]]] = OWN_BANDS, hit_policy: str = "first") -> None:
        """Add program ``own``, which uses every seed."""
        of = {"program_id": "own", "version": "v1"}
        for attribute in ATTRIBUTES:
            self.add("attributes", {"subject_type": "customer", "may_be_null": "true", **attribute})
        self.add("programs", {
            "program_id": "own", "name_en": "Own", "name_zh": "自有", "subject_type": "customer", "method": "decision_table",
            "hit_policy": hit_policy, "clock": "month", "enabled": "true",
        })  # fmt: skip
        self.add("levels", *({"program_id": "own", "level_id": level, "rank": f"{n}"} for n, level in enumerate(OWN_LEVELS, 1)))
        self.add("policy_versions", {
            **of, "valid_from_period": "2020-01", "validity_months": "12", "grace_months": "2", "fall": "one_level", "author": "policy.owner",
            "approver": "head.of.customer.value", "approved_on": "2019-12-16",
        })  # fmt: skip
        for n, (rule, level, conditions) in enumerate(rules, 1):
            self.add("decision_rules", {**of, "rule_id": rule, "rule_order": f"{n}", "level_id": level})
            self.add("decision_conditions", *({**of, "rule_id": rule, "attribute": a, "operator": o, "value": v} for a, o, v in conditions))
        for attribute_id, rows in bands.items():
            self.add("bands", *(
                {**of, "attribute_id": attribute_id, "band_id": band, "band_order": f"{n}", "below": below} for n, (band, below) in enumerate(rows, 1)
            ))  # fmt: skip
        dimension = {**of, "attribute_id": "t_score", "dimension_group": "value"}
        self.add(
            "score_dimensions",
            {
                **dimension,
                "dimension_id": "amount",
                "of_attribute": "t_spend",
                "scaling": "percentile_rank",
                "weight": "40",
                "missing": "zero",
            },
            {
                **dimension,
                "dimension_id": "months",
                "of_attribute": "t_active",
                "scaling": "min_max",
                "weight": "35.5",
                "low": "0",
                "high": "12",
                "missing": "middle",
            },
            {
                **dimension,
                "dimension_id": "tenure",
                "of_attribute": "tenure_months",
                "scaling": "bands",
                "weight": "24.5",
                "missing": "leave_out",
            },
        )
        self.add("score_bands", *(
            {**of, "attribute_id": "t_score", "dimension_id": "tenure", "band_order": f"{n}", "below": below, "score": score}
            for n, (below, score) in enumerate([("12", "20"), ("36", "60"), ("", "100")], 1)
        ))  # fmt: skip
        self.add("scope_rules", {**of, "rule_id": "internal", "attribute": "segment", "operator": "in", "value": "internal|test"})
        self.add("caps", {**of, "cap_id": "new", "level_id": "silver", "attribute": "t_since", "operator": "<", "value": "3"})
        for level in OWN_LEVELS:
            self.add("contact_plans", {**of, "level_id": level, "contacts_min": "0", "contacts_max": "2", "is_priority": "false"})
            self.add("checklists", {**of, "level_id": level, "item_id": "call", "item_order": "1", "lead_minutes": "15"})
        self.add(
            "target_lists",
            {**of, "list_id": "sniper", "level_id": "gold", "list_order": "1", "order_attribute": "t_spend", "per_owner": "5"},
        )
        self.add("behaviour_features", {"program_id": "own", "top_level_id": "gold", "attribute": "t_active"})
        self.add(
            "restatements",
            {**of, "policy_hash": "0" * 64, "author": "policy.owner", "approver": "head.of.customer.value", "declared_on": "2026-01-02"},
        )

    def row_of(self, seed: str, **cells: str) -> int:
        """The line of the first row with these cells."""
        head, *rows = self.rows(seed)
        return next(n for n, row in enumerate(rows, 2) if all(row[head.index(column)] == cell for column, cell in cells.items()))

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
        if column not in rows[0]:
            rows = [[*r, column if n == 0 else ""] for n, r in enumerate(rows)]
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
def own(seeds: SeedFolder) -> SeedFolder:
    """The six-star program and one that uses every seed."""
    seeds.own_program()
    return seeds


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
