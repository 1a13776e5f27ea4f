"""A small deployment to ingest into: files are written by the test, mappings as YAML text."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from orchestration.deployment import Deployment, load_deployment
from orchestration.ingest import IngestReport, ingest, landed_money, landed_parts, standing_drops, superseded_files
from orchestration.ledger.store import Ledger

BILLS: dict[str, Any] = {
    "entity": "bill_lines",
    "files": "bills_*.csv",
    "format": "csv",
    "timezone": "UTC",
    "columns": {
        "bill_line_id": "id",
        "document_id": "doc",
        "customer_id": "cust",
        "bill_period": "month",
        "charge_type": "kind",
        "net_amount": "amount",
        "currency": "currency",
    },
}
BILL_HEADER = "id,doc,cust,month,kind,amount,currency"
CUSTOMERS: dict[str, Any] = {
    "entity": "customers",
    "files": "customers_*.csv",
    "format": "csv",
    "columns": {"customer_id": "id", "valid_from_date": "since", "name": "name", "brand": "brand"},
}


class Company:
    """A deployment under ``folder`` whose only source is ``shop``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drops = folder / "drops"
        self.drops.mkdir()
        (folder / "sources").mkdir()
        self.config: dict[str, Any] = {
            "name": "shop",
            "title": "A shop",
            "currency": "CNY",
            "timezone": "Asia/Shanghai",
            "first_period": "2025-01",
            "data": "data",
            "drops": "drops",
            "customers_from": "bill_lines",
        }

    def map(self, *feeds: dict[str, Any], source: str = "shop") -> None:
        """Write the mapping of ``source``."""
        text = yaml.safe_dump({"source": source, "title": source, "feeds": list(feeds)}, allow_unicode=True, sort_keys=False)
        (self.folder / "sources" / f"{source}.yaml").write_text(text, encoding="utf-8")

    def drop(self, name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
        """Write a drop; a name that ends in .gz is packed."""
        path = self.drops / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = textwrap.dedent(content).encode(encoding) if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
        return path

    def bills(self, name: str, *rows: str) -> Path:
        """Write a CSV of bill lines."""
        return self.drop(name, "".join(f"{line}\n" for line in (BILL_HEADER, *rows)))

    @property
    def deployment(self) -> Deployment:
        """The deployment as it stands."""
        (self.folder / "tierhouse.yaml").write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return load_deployment(self.folder)

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return Ledger(self.deployment.ledger)

    def ingest(self, *, again: bool = False) -> IngestReport:
        """Ingest all that is there. The money that the ledger records is that of the rows in force, whatever has happened to them."""
        report = ingest(self.deployment, self.ledger, again=again, say=lambda text: None)
        in_force = self.in_force("bill_lines", "bill_period, net_amount")
        for period in {str(part.period) for part in landed_parts(self.deployment, self.ledger, "bill_lines")}:
            amounts = [amount for month, amount in in_force if month == period]
            assert landed_money(self.ledger, "bill_lines", period) == (len(amounts), sum(amounts))
        return report

    def standing(self) -> list[dict[str, Any]]:
        """Every drop as it stands."""
        return [drop.payload for drop in standing_drops(self.ledger)]

    def vault(self, entity: str, columns: str) -> list[tuple[Any, ...]]:
        """What the vault holds of an entity."""
        with duckdb.connect(str(self.deployment.vault), read_only=True) as con:
            return con.execute(f"select {columns} from {entity} order by all").fetchall()

    def in_force(self, entity: str, columns: str = "*", order: str = "_file_id, _row") -> list[tuple[Any, ...]]:
        """Landed rows of an entity that no newer row has replaced."""
        parts = [str(part.path) for part in landed_parts(self.deployment, self.ledger, entity)]
        if not parts:
            return []
        gone = [str(path) for path in superseded_files(self.deployment, self.ledger, entity)]
        anti = "anti join read_parquet($gone) g on l._file_id = g.file_id and l._key = g.key" if gone else ""
        params = {"parts": parts, **({"gone": gone} if gone else {})}
        with duckdb.connect() as con:
            return con.execute(
                f"select {columns} from read_parquet($parts, hive_partitioning = false) l {anti} order by {order}", params
            ).fetchall()

    def quarantine(self, columns: str = "line, reasons, text") -> list[tuple[Any, ...]]:
        """Quarantined rows by file and line."""
        files = sorted(str(path) for path in self.deployment.quarantine.rglob("*.parquet"))
        if not files:
            return []
        with duckdb.connect() as con:
            return con.execute(f"select {columns} from read_parquet($files) order by line, key", {"files": files}).fetchall()

    def kinds(self) -> list[str]:
        """Kinds of the ledger's entries, in order."""
        return [entry.kind for entry in self.ledger.entries()]


def in_a_process(company: Company, *, again: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """An ingest in a process of its own, which a failpoint may kill."""
    script = (
        "from orchestration.deployment import load_deployment\nfrom orchestration.ingest import ingest\nfrom orchestration.ledger.store import Ledger\n"
        f"d = load_deployment({str(company.folder)!r})\ningest(d, Ledger(d.ledger), again={again}, say=print)\n"
    )
    assert company.deployment
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """An empty company."""
    for name in ("TIERHOUSE_DATA", "TIERHOUSE_DROPS"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "shop"
    folder.mkdir()
    return Company(folder)


@pytest.fixture
def bills_feed() -> dict[str, Any]:
    """A fresh copy of the feed of bill lines."""
    return {**BILLS, "columns": dict(BILLS["columns"])}


@pytest.fixture
def customers_feed() -> dict[str, Any]:
    """A fresh copy of the feed of customers."""
    return {**CUSTOMERS, "columns": dict(CUSTOMERS["columns"])}
