"""``tierhouse ledger verify`` reads the landing files: whoever moves money from one customer to another there changes no total."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from orchestration.errors import Mismatch
from orchestration.release import check_recorded


def verified(company: Any) -> tuple[int, str]:
    said = CliRunner().invoke(main, ["ledger", "verify", "-d", str(company.folder)])
    return said.exit_code, said.output


@pytest.fixture
def landed(company: Any, bills_feed: dict[str, Any]) -> Any:
    """Two files, the second of which corrects a row of the first."""
    company.map(bills_feed)
    company.bills("bills_1.csv", "L1,D1,C1,2025-01,voice,10.00,CNY", "L2,D2,C2,2025-01,voice,20.00,CNY")
    company.bills("bills_2.csv", "L2,D2,C2,2025-01,voice,21.00,CNY")
    company.ingest()
    return company


def test_money_that_was_moved_in_the_landing_is_found(landed: Any) -> None:
    assert verified(landed)[0] == 0
    part = sorted((landed.deployment.landing / "bill_lines").rglob("*.parquet"))[0]
    part.chmod(0o644)
    con = duckdb.connect()
    con.execute(
        f"create table t as select * replace (case customer_id when 'C1' then 'C2' else 'C1' end as customer_id) from read_parquet('{part}')"
    )
    con.execute(f"copy t to '{part}' (format parquet)")
    code, said = verified(landed)
    assert code == 4 and "gone or changed after it landed" in said and part.parent.parent.name in said


@pytest.mark.parametrize("folder", ["bill_lines", "_superseded"])
def test_a_landing_file_that_is_gone_is_found(landed: Any, folder: str) -> None:
    sorted((landed.deployment.landing / folder).rglob("*.parquet"))[0].unlink()
    assert verified(landed)[0] == 4


def test_a_delivered_file_may_be_taken_away_and_not_be_changed(landed: Any) -> None:
    deployment, ledger = landed.deployment, landed.ledger
    feed = deployment.data / "channels" / "hotline_1.csv"
    feed.parent.mkdir()
    feed.write_text("customer_id\nC1\n")
    sha256 = "0c6a1b1d0b5b1e0a" * 4
    ledger.append("delivery", {"channel": "hotline", "path": "channels/hotline_1.csv", "sha256": sha256})
    with pytest.raises(Mismatch, match=r"after it was delivered: channels/hotline_1\.csv"):
        check_recorded(deployment, ledger)
    feed.unlink()
    check_recorded(deployment, ledger)
