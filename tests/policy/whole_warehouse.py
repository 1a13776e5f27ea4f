"""Every relation that compiled policies read, empty, so that all of their SQL runs: measures, windows, subjects, decisions."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import yaml

from orchestration.deployment import PROJECT_ROOT
from orchestration.ingest.contracts import load_contracts
from orchestration.policy import Policies
from orchestration.policy.reader import load_schema
from orchestration.policy.sql import rows_of
from orchestration.policy.subjects import CUSTOMER_COLUMNS
from orchestration.warehouse.landed import LINEAGE

_TYPES = {"decimal": "decimal(18, 4)", "integer": "bigint", "boolean": "boolean"}
MONTHS = {
    "customer_id": "varchar", "period": "varchar", "period_index": "integer", "is_after_base": "boolean", "bill_line_count": "bigint",
    "is_active": "boolean", "is_in_service": "boolean",
}  # fmt: skip
STATES = {
    "program_id": "varchar",
    "subject_id": "varchar",
    "period": "varchar",
    "state": "varchar",
    "event_date": "date",
    "is_event": "boolean",
}
NOMINATIONS = {"program_id": "varchar", "subject_id": "varchar", "period": "varchar", "level_id": "varchar", "level_rank": "integer"}


def _create(con: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> None:
    con.execute(f"create or replace table {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})")


def build_relations(con: duckdb.DuckDBPyConnection, policies: Policies) -> None:
    """Staging, the control tables and the relations that placeholders stand for."""
    con.execute("create schema if not exists staging; create schema if not exists ctl")
    for entity, contract in load_contracts().items():
        _create(con, rows_of(entity), {**{name: c.sql_type for name, c in contract.columns.items()}, **LINEAGE})
    _create(con, "ctl.target_periods", {"period": "varchar", "period_index": "integer", "first_day": "date", "last_day": "date"})
    con.execute("insert into ctl.target_periods values ('2026-06', 24317, date '2026-06-01', date '2026-06-30')")
    _create(con, "ctl.run", {"timezone": "varchar"})
    measures = {m.measure_id: _TYPES[m.type] for m in policies.measures.values() if m.aggregation != "flag"}
    totals = {f"total_{name}": kind for name, kind in measures.items()}
    paces = {f"{name}__recent": kind for name, kind in measures.items()}
    metrics = {m.metric_id: "bigint" if m.aggregation == "months" else _TYPES[m.measure.type] for m in policies.metrics.values()}
    _create(con, "months", {**MONTHS, **measures, **totals})
    contract = load_contracts()["customers"].columns
    known = {c: contract[c].sql_type if c in contract else "bigint" for c in CUSTOMER_COLUMNS}
    service = {"is_in_scope": "boolean", "scope_reason": "varchar", "service_mask": "bigint"}
    _create(
        con,
        "metrics",
        {"customer_id": "varchar", "period": "varchar", "period_index": "integer", **service, **known, **metrics, **totals, **paces},
    )
    held = yaml.safe_load((PROJECT_ROOT / "models/intermediate/decisions/int_held_decisions.yml").read_text(encoding="utf-8"))
    _create(con, "held", {column["name"]: column["data_type"] for column in held["models"][0]["columns"]})
    con.execute("create schema if not exists policy")
    _create(con, "policy.policy_versions", {name: column.sql_type for name, column in load_schema()["policy_versions"].columns.items()})
    _create(con, "nominations", NOMINATIONS)
    _create(con, "states", STATES)
    _create(con, "sums", dict.fromkeys(("measure_id", "metric_id", "months_metric_id"), "varchar"))


def statements(compiled: Mapping[str, str]) -> list[str]:
    """What models make of the fragments: each as part of one query over those relations."""
    relations = {"__METRICS__": "metrics", "__NOMINATIONS__": "nominations", "__APPLICATIONS__": "states", "__DECISIONS__": "held"}
    relations |= {"__MONTHS__": "months", "__POINTS_MONTHS__": "months", "__EXTRAS__": f"({compiled['customer_extras']})"}
    relations |= {
        f"__{kind.upper()}_SUBJECTS__": f"({compiled[f'{kind}_subjects']})" for kind in ("group", "prospect", "staff", "reception")
    }

    def replaced(text: str) -> str:
        # Subjects hold placeholders of months themselves.
        for _ in range(2):
            for placeholder, relation in relations.items():
                text = text.replace(placeholder, relation)
        return text

    sources = {
        "bill_line_measures": f"{rows_of('bill_lines')} as l",
        "points_measures": f"{rows_of('points')} as p",
        "carried_totals": "months as m",
        "points_carried_totals": "months as m",
        "window_metrics": "months as m cross join ctl.target_periods as t",
        "points_window_metrics": "months as m cross join ctl.target_periods as t",
        "window_columns": "metrics as b cross join metrics as p",
        "metric_columns": "metrics as s",
        "service_metrics": "metrics as s",
        "present_paces": "metrics as served cross join sums",
    }
    found = [f"select {compiled[name]} from {source}" for name, source in sources.items() if compiled.get(name, "").strip()]
    if compiled.get("points_rows"):
        found.append(f"select 1 from {rows_of('points')} as p where {compiled['points_rows']}")
    whole = [name for name in compiled if name not in {*sources, "points_rows"}]
    return [*found, *(f"select * from ({replaced(compiled[name])}) as whole" for name in whole)]
