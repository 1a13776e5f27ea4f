"""A small deployment with one released period, made without the warehouse: real ingest, a decision written by hand.

Customer A's bills name only a number; the number was B's until 2026-02-14 and is A's from 2026-02-15.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment, load_deployment
from orchestration.ingest import ingest
from orchestration.ingest.files import sha256_file
from orchestration.ledger import Ledger
from orchestration.policy import load_policies
from tests.support import write_policy_files

PERIOD = "2026-06"
RELEASE = "2026-06.r1"

_CONFIG = """\
name: small
title: Small operator
currency: CNY
timezone: Asia/Shanghai
first_period: "2025-01"
data: data
drops: drops
"""
_CRM = """\
source: crm
title: CRM
feeds:
  - entity: customers
    files: "customers_*.csv"
    format: csv
    columns: {customer_id: id, valid_from_date: since, brand: brand, joined_date: since}
  - entity: lines
    files: "lines_*.csv"
    format: csv
    columns: {line_id: number, customer_id: id, start_date: first_day, end_date: last_day}
  - entity: nominations
    files: "nominations_*.csv"
    format: csv
    columns:
      nomination_id: nr
      program_id: "'six_star'"
      subject_id: id
      kind: "'nominate'"
      level_id: level
      reason: why
      requester_id: asked_by
      approver_id: approved_by
      approved_date: first_day
      start_date: first_day
      end_date: last_day
  - entity: points
    files: "points_*.csv"
    format: csv
    columns: {customer_id: id, period: month, points_type: kind, points: points}
"""
_BILLING = """\
source: billing
title: Billing
feeds:
  - entity: bill_lines
    files: "bills_*.csv"
    format: csv
    timezone: Asia/Shanghai
    columns:
      bill_line_id: key
      document_id: bill
      line_id: number
      bill_period: month
      billed_at: day
      charge_type: charge
      net_amount: amount
      currency: "'CNY'"
      is_credit_note: "kind = 'credit'"
      refers_to_period: refers
"""
_DROPS = {
    "customers_1.csv": "id,since,brand\nA,2026-02-15,easyown\nB,2020-01-01,gotone\nC,2020-01-01,easyown\n",
    "lines_1.csv": "number,id,first_day,last_day\nn1,B,2020-01-01,2026-02-14\nn1,A,2026-02-15,\nn2,C,2020-01-01,\n",
    "nominations_1.csv": "nr,id,level,why,asked_by,approved_by,first_day,last_day\nN1,A,star_6,influence,s1,s1,2026-01-01,2026-12-31\n",
    "points_1.csv": "id,month,kind,points\nA,2025-03,base,1200\nA,2025-04,base,800\nA,2025-04,bonus,99\nC,2025-03,base,1\n",
    "bills_1.csv": (
        "key,bill,number,month,day,charge,amount,kind,refers\n"
        "k1,b1,n1,2026-02,2026-02-03 08:00:00,voice,900.00,,\n"  # still B's: before the hand-over
        "k2,b2,n1,2026-02,2026-02-20 08:00:00,voice,50.00,,\n"
        "k3,b3,n1,2026-03,2026-03-20 08:00:00,data,100.00,,\n"
        "k4,b3,n1,2026-03,2026-03-20 08:00:00,device_instalment,500.00,,\n"
        "k5,b4,n1,2026-05,2026-05-20 08:00:00,voice,70.00,,\n"
        "k6,b5,n1,2026-06,2026-06-20 08:00:00,credit_me,1.00,,\n"
        "k7,b6,n1,2026-06,2026-06-21 08:00:00,data,-20.00,credit,2026-05\n"
        "k8,b7,n2,2026-06,2026-06-21 08:00:00,data,310.00,,\n"
    ),
    # A correction: k5 was 70.00 and is 90.0050.
    "bills_2.csv": "key,bill,number,month,day,charge,amount,kind,refers\nk5,b4,n1,2026-05,2026-05-20 08:00:00,voice,90.0050,,\n",
}
# What A's bills give: 50 + 100 + 90.0050 - 20, five months in service.
SPEND = "220.0050"


@dataclass
class SmallRelease:
    """The deployment, its ledger, and ways to write the released decisions again and to send feeds."""

    deployment: Deployment
    ledger: Ledger

    def write_decisions(self, *rows: dict[str, Any]) -> None:
        """Replace the released decisions; unnamed columns take those of :func:`decision`."""
        folder = self.deployment.releases / RELEASE
        (folder / "rows.json").write_text("\n".join(json.dumps(decision(**row)) for row in rows))
        columns = "{" + ", ".join(f"{name}: '{'INTEGER' if name.endswith('rank') else 'VARCHAR'}'" for name in decision()) + "}"
        duckdb.sql(f"copy (from read_json('{folder}/rows.json', columns = {columns})) to '{folder}/fct_decisions.parquet'")
        (folder / "rows.json").unlink()

    def deliver(self, feed: str, release: str = RELEASE) -> Path:
        """Send ``feed`` to the channel hotline as that of catalog 1, and record it; the file."""
        path = self.deployment.channels / "hotline" / "hotline_1.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(feed, encoding="utf-8", newline="")
        sent = {"channel": "hotline", "catalog": 1, "as_of_period": PERIOD, "release": release, "sha256": sha256_file(path)}
        self.ledger.append("delivery", {**sent, "path": str(path.relative_to(self.deployment.data))})
        return path


def decision(**changes: Any) -> dict[str, Any]:
    """Customer A's decision, as the warehouse makes it."""
    evidence = {
        "segment": None,
        "is_real_name": None,
        "arrears_suspensions": 0,
        "brand": "easyown",
        "points_last_year": 2000,
        "nominated_level": None,
        "spend_6m_amount": SPEND,
        "service_6m_months": 5,
    }
    row = {
        "program_id": "six_star",
        "subject_type": "customer",
        "subject_id": "A",
        "period": PERIOD,
        "level_id": "star_2",
        "level_rank": 2,
        "qualified_level_id": "star_2",
        "qualified_level_rank": 2,
        "steps": '[{"step":"scope","from":null,"to":null,"why":"in scope"},{"step":"qualified","from":null,"to":"star_2","why":"star_2_spend"}]',
        "status": "decided",
        "status_reason": None,
        "matched_rule_id": "star_2_spend",
        "policy_version": "v1",
        "policy_hash": "p",
        "previous_level_id": "star_1",
        "previous_level_rank": 1,
        "movement": "rose",
        "held_since_period": PERIOD,
        "valid_until_period": None,
        "next_level_id": "star_3",
        "missing_attribute": "spend_avg_6m",
        "missing_amount": "179.9950",
        "evidence": evidence,
    } | changes
    return row | {"evidence": json.dumps(row["evidence"])}


def make(folder: Path) -> SmallRelease:
    """Ingest the drops and write release, ledger entries and pointer as a run would."""
    (folder / "sources").mkdir(parents=True)
    (folder / "drops").mkdir()
    (folder / "tierhouse.yaml").write_text(_CONFIG)
    (folder / "sources" / "crm.yaml").write_text(_CRM)
    (folder / "sources" / "billing.yaml").write_text(_BILLING)
    for name, text in _DROPS.items():
        (folder / "drops" / name).write_text(text)
    deployment = load_deployment(folder)
    ledger = Ledger(deployment.ledger)
    ingest(deployment, ledger, say=lambda _: None)
    cutoff, _ = ledger.head()
    release = deployment.releases / RELEASE
    release.mkdir(parents=True)
    policies = load_policies(deployment)
    write_policy_files(policies, release / "policy")
    manifest = {
        "release": RELEASE,
        "period": PERIOD,
        "cutoff_seq": cutoff,
        "policy_hash": policies.hash,
        "code_version": "c1",
        "run_id": "r-1",
    }
    (release / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    small = SmallRelease(deployment, ledger)
    small.write_decisions({})
    ledger.append("release", {**manifest, "manifest_hash": "m"})
    catalog = {"catalog": 1, "periods": {PERIOD: RELEASE}}
    ledger.append("catalog", catalog)
    deployment.catalogs.mkdir()
    (deployment.catalogs / "current.json").write_text(json.dumps(catalog))
    return small
