"""Rows that are gone from the warehouse: its months agree with one another, and not with what the ledger recorded of the landing."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import duckdb
import pytest

from orchestration.ledger import Ledger
from tests.support import Cli


@pytest.mark.slow
def test_rows_that_are_gone_from_the_warehouse_hold_the_release(make_cli: Callable[..., Cli], released_sample: Cli) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    with duckdb.connect(str(cli.data / "warehouse.duckdb")) as con:
        con.execute(
            """create temp table gone as select customer_id, period_index, net_amount, bill_line_count from intermediate.int_customer_months
            where period_index = 2026 * 12 + 5 and net_amount > 0 and customer_id is not null order by customer_id limit 1"""
        )
        con.execute(
            "delete from intermediate.int_customer_months where (customer_id, period_index) in (select customer_id, period_index from gone)"
        )
        con.execute(
            """update intermediate.int_landed_charges set landed_amount = landed_amount - (select net_amount from gone),
                landed_line_count = landed_line_count - (select bill_line_count from gone)
            where period = '2026-06' and charge_type = (select min(charge_type) from intermediate.int_landed_charges where period = '2026-06')"""
        )
    # Something new that is no bill: the month is computed again, and its bills are not read again.
    head = "NOMINATION_ID,PROGRAM,SUBJECT_ID,KIND,LEVEL,REASON,REQUESTED_BY,APPROVED_BY,APPROVED_ON,START_DATE,END_DATE\n"
    row = "N9,six_star,nobody,SET,star_6,a promise,a,b,2026-06-01,2026-06-01,2026-06-30\n"
    (cli.drops / "crm" / "nominations_extra.csv.gz").write_bytes(gzip.compress((head + row).encode()))
    cli("run", "--periods", "2026-06", expect=3)
    gate = Ledger(cli.data / "ledger.sqlite").last("gate")
    assert gate is not None
    assert [check["check"] for check in gate.payload["checks"] if not check["passed"]] == ["money__is_conserved"]
