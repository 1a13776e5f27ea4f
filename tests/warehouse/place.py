"""A deployment of its own for a test, with rows put straight into its landing (what ingest does is tested elsewhere)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import DEFAULT_DEPLOYMENT, PROJECT_ROOT, Deployment, load_deployment
from orchestration.ingest import load_contracts
from orchestration.ledger.store import Ledger
from orchestration.policy import load_policies
from orchestration.warehouse import DBT_PROJECT, RunPlan, begin, dbt_args, dbt_env, dbt_target, finish, prepare
from orchestration.warehouse.landed import LINEAGE

# What does not depend on the run that made it.
MARTS = {
    "fct_decisions": "program_id, subject_id, period",
    "fct_customer_spend": "customer_id, period",
    "fct_customer_tags": "customer_id, period, tag_id",
    "fct_conservation": "period",
    "dim_customers": "customer_id, period",
    "fct_level_counts": "program_id, period, level_id",
}


PARSED = "partial_parse.msgpack"


def call_dbt(deployment: Deployment, args: list[str]) -> str:
    """What dbt prints, called as Dagster calls it and without Dagster; it must succeed."""
    target = dbt_target(deployment)
    folders = dict.fromkeys(("DBT_TARGET_PATH", "DBT_LOG_PATH"), str(target))
    if (parsed := DBT_PROJECT / "target" / PARSED).exists() and not (target / PARSED).exists():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(parsed, target)
    command = [str(Path(sys.executable).parent / "tierhouse-dbt"), "--no-use-colors", *args]
    env = {**os.environ, **dbt_env(deployment), **folders}
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=env, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(deployment: Deployment, ledger: Ledger, plan: RunPlan) -> None:
    """dbt's part of a run, without Dagster."""
    begin(ledger, plan)
    call_dbt(deployment, dbt_args(plan))
    finish(deployment, ledger, plan, ok=True, say=lambda line: None)


class Place:
    """Landing, ledger and warehouse in ``folder``, with the sample company's mappings and policies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        usual = load_deployment(DEFAULT_DEPLOYMENT)
        self.deployment = Deployment(usual.folder, usual.config.model_copy(update={"data": str(folder)}))
        self.deployment.data = folder
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.deployment.ledger = self.ledger.path
        for name in ("landing", "warehouse.duckdb"):
            setattr(self.deployment, name.split(".")[0], folder / name)
        self.said: list[str] = []

    def land(
        self, entity: str, rows: list[dict[str, Any]], *, source: str = "made", replaces: list[tuple[str, str, str]] | None = None
    ) -> str:
        """Land rows as one drop; ``replaces``: (file id, key, period) of older rows. Returns the drop's file id. A row's key is its `_key`."""
        contract = load_contracts()[entity]
        file_id = hashlib.sha256(json.dumps([entity, rows, self.ledger.head()[0]], default=str).encode()).hexdigest()[:16]
        types = {name: contract.columns[name].sql_type for name in contract.landed} | LINEAGE
        con = duckdb.connect()
        con.execute("create table drop_rows (" + ", ".join(f'"{name}" {sql_type}' for name, sql_type in types.items()) + ")")
        for number, row in enumerate(rows, 2):
            full = {"_source": source, "_file_id": file_id, "_row": number, "_key": row.get("bill_line_id") or str(number)} | row
            con.execute(f"insert into drop_rows values ({', '.join('?' * len(types))})", [full.get(name) for name in types])
        clock = contract.period_from if contract.by_period else None
        if clock and contract.columns[clock].type != "period":
            clock = f"strftime({clock}, '%Y-%m')"
        periods = [row[0] for row in con.execute(f"select distinct {clock} from drop_rows order by 1").fetchall()] if clock else [None]
        parts = []
        for period in periods:
            path = self.folder / "landing" / entity / source / file_id / (f"period={period}" if period else "all") / "part.parquet"
            path.parent.mkdir(parents=True)
            con.execute(
                f"copy (select * from drop_rows where {f'''{clock} = '{period}' ''' if period else 'true'}) to '{path}' (format parquet)"
            )
            parts.append(
                {"path": str(path.relative_to(self.folder)), "period": period, "rows": 1, "sha256": "", "min_key": None, "max_key": None}
            )
        lists = None
        if replaces:
            path = self.folder / "landing" / "_superseded" / entity / f"{file_id}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            con.execute("create table replaced (file_id varchar, row bigint, key varchar, period varchar)")
            con.executemany("insert into replaced values (?, null, ?, ?)", [list(item) for item in replaces])
            con.execute(f"copy replaced to '{path}' (format parquet)")
            lists = str(path.relative_to(self.folder))
        con.close()
        self.ledger.append(
            "drop_landed",
            {
                "source": source,
                "entity": entity,
                "file": file_id,
                "file_id": file_id,
                "sha256": file_id,
                "parts": parts,
                "supersedes": {"path": lists, "rows": 0, "by_file": {}},
            },
        )
        return file_id

    def bill(self, key: str, customer: str | None, period: str, amount: str, **more: Any) -> dict[str, Any]:
        """A bill line of monthly fee."""
        line = {"bill_line_id": key, "document_id": f"D{key}", "customer_id": customer, "bill_period": period, "charge_type": "monthly_fee"}
        return line | {"net_amount": amount, "currency": "CNY"} | more

    def prepare(self, *periods: str) -> RunPlan:
        return prepare(self.deployment, self.ledger, list(periods), load_policies(self.deployment), say=self.said.append)

    def run(self, *periods: str) -> RunPlan:
        plan = self.prepare(*periods)
        build(self.deployment, self.ledger, plan)
        self.release(plan)
        return plan

    def release(self, plan: RunPlan) -> None:
        """Record the months of the plan as released: what was never released is nothing that a later month goes on from."""
        for period in plan.periods:
            self.ledger.append("release", {"run_id": plan.run_id, "period": period, "release": f"{period}.r1", "rows": {}})

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.deployment.warehouse), read_only=True) as con:
            return con.execute(sql).fetchall()

    def marts(self, *periods: str) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of the marts for ``periods``, in order of their keys."""
        wanted = ", ".join(f"'{period}'" for period in periods)
        return {name: self.query(f"select * from marts.{name} where period in ({wanted}) order by {key}") for name, key in MARTS.items()}
