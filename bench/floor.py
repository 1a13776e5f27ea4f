"""The floor: DuckDB alone over the landed bill lines: customer-months, windows, one CASE, Parquet out.

No orchestration, no history, no checks, no evidence: what the machine needs for the arithmetic itself.
Usage: python -m bench.floor LANDING_GLOB CUSTOMERS_GLOB LAST_PERIOD OUT
"""

from __future__ import annotations

import sys
import time

import duckdb


def main(lines: str, customers: str, last_period: str, out: str) -> None:
    con = duckdb.connect()
    con.execute("set threads = 2")
    started = time.monotonic()
    con.execute(
        f"""
        create table customer_months as
        select customer_id, bill_period, year(strptime(bill_period, '%Y-%m')) * 12 + month(strptime(bill_period, '%Y-%m')) - 1 as period_index,
            sum(net_amount) filter (
                where charge_type in ('monthly_fee', 'voice', 'data', 'sms', 'roaming', 'value_added')
            ) as spend_amount,
            count(*) as bill_line_count
        from read_parquet('{lines}') group by customer_id, bill_period
        """
    )
    months = time.monotonic()
    year, month = (int(part) for part in last_period.split("-"))
    last = year * 12 + month - 1
    con.execute(
        f"""
        create table windows as
        select customer_id,
            sum(spend_amount) filter (where period_index > {last} - 3) as spend_3m_amount,
            sum(spend_amount) filter (where period_index > {last} - 6) as spend_6m_amount,
            count(*) filter (where period_index > {last} - 6) as months_6m,
            sum(spend_amount) filter (where period_index > {last} - 12) as spend_12m_amount
        from customer_months where period_index <= {last} group by customer_id
        """
    )
    con.execute(
        f"""
        copy (
            select w.*, case
                when spend_6m_amount >= 300 * months_6m then 5
                when c.brand = 'gotone' then 4
                when spend_6m_amount >= 120 * months_6m then 4
                when spend_6m_amount >= 80 * months_6m then 3
                when spend_6m_amount >= 40 * months_6m then 2
                else 1 end as star
            from windows as w
            left join (select customer_id, max_by(brand, valid_from_date) as brand from read_parquet('{customers}') group by customer_id) as c
                using (customer_id)
        ) to '{out}' (format parquet)
        """
    )
    ended = time.monotonic()
    print(f"customer-months {months - started:.2f} s, windows to Parquet {ended - months:.2f} s, total {ended - started:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
