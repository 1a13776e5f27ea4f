"""Customers who land after their bills: the months end as if everything had come in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.test_kill_points import decisions, feeds, june_arrives, make_may
from tests.support import Cli, prepared


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bills_of_customers_who_land_later_count_as_if_they_had_come_in_order(shared_folder: Path, make_cli: Callable[..., Cli]) -> None:
    may = prepared(shared_folder, "may_released", make_may)
    in_order = make_cli("in_order", copy_of=may.folder)
    june_arrives(in_order)
    in_order("run", "--periods", "2026-06")

    late = make_cli("late", copy_of=may.folder)
    june_arrives(late)
    customers = late.drops / "crm" / "customers_2026-06.csv.gz"
    shutil.move(customers, late.folder / customers.name)
    late("ingest")
    assert any("unknown_reference" in row["reasons"] and "2026-06" in row["file"] for row in late.json("balance")), "nothing waits"
    shutil.move(late.folder / customers.name, customers)
    outcome = late("run", "--periods", "2026-06")
    assert "admitted from quarantine" in outcome.stderr
    assert decisions(late) == decisions(in_order)
    assert feeds(late) == feeds(in_order)
    assert _accounts(late) == _accounts(in_order)


def _accounts(cli: Cli) -> list[tuple[str, str, int, int]]:
    """Where the rows of every file are, whatever the order in which files landed."""
    return sorted((row["entity"], row["file"], row["landed"] + row["superseded"], row["quarantined"]) for row in cli.json("balance"))
