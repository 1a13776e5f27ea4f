"""The bare ingest: every CSV read as text, TRY_CAST to the contract's types, one Parquet each. Nothing is checked.

Usage: python -m bench.bare CSV_GLOB OUT_FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import duckdb


def main(pattern: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    con = duckdb.connect()
    con.execute("set threads = 2")
    started = time.monotonic()
    folder, _, name = pattern.rpartition("/")
    for file in sorted(Path(folder).glob(name)):
        con.execute(
            f"""
            copy (
                select line_key, bill_no, customer_no, billing_month, try_cast(billed_at as timestamp) as billed_at, charge_type, product,
                    try_cast(quantity as decimal(18, 3)) as quantity, try_cast(amount_net as decimal(18, 4)) as amount_net,
                    try_cast(direct_cost as decimal(18, 4)) as direct_cost, currency, doc_type, ref_bill_no, ref_month
                from read_csv('{file}', all_varchar = true, header = true)
            ) to '{out}/{file.stem}.parquet' (format parquet)
            """
        )
    print(f"total {time.monotonic() - started:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
