"""Make the drops of the example bank: 600 customers and 200 applications for accreditation, January to September 2026.

python examples/bank/make_drops.py [--out FOLDER]

The same call gives the same bytes. Customers C9001 and up are made by hand: each stands on an edge of the rules.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CUSTOMERS, APPLICATIONS = 600, 200
MONTHS = [f"2026-{month:02d}" for month in range(1, 10)]
FIRST, LAST = date(2026, 1, 1), date(2026, 9, 30)
GRADES = ("AAA", "AA", "A", "B", "C", "D")
# Codes of the bank's form: the mapping turns them into occupation classes.
OCCUPATIONS = ("01", "02", "03", "04", "05", "06", "07", "08", "09")
BRANCHES = ("north", "south", "east", "harbour")
REVIEWERS, DECIDERS, CLERKS = ("R01", "R02", "R03"), ("D01", "D02"), ("K01", "K02")
SURNAMES, GIVEN = ("Wang", "Li", "Zhang", "Chen", "Liu", "Zhao"), ("Min", "Hua", "Jun", "Lan", "Bo", "Yan", "Ping")

Row = dict[str, Any]


def make(folder: Path, seed: int = 8) -> list[Path]:
    """Write all drops into ``folder`` (made if need be); the paths written."""
    rng = np.random.default_rng(seed)
    customers, grades, positions, steps = _drawn(rng)
    for rows, more in zip((customers, grades, positions, steps), _by_hand(), strict=True):
        rows += more
    written = [_csv(folder / "core" / "customers_2026-01.csv", customers)]
    for month in MONTHS:
        written.append(
            _csv(
                folder / "core" / f"fees_{month}.csv",
                [_fee(row, month) for row in customers if not row["CLOSED"] or row["CLOSED"][:7] >= month],
            )
        )
        written.append(_csv(folder / "risk" / f"grades_{month}.csv", _of(grades, "AS_OF", month, first=MONTHS[0])))
        written.append(_parquet(folder / "core" / f"positions_{month}.parquet", _of(positions, "as_of", month)))
        written.append(_lines(folder / "workflow" / f"applications_{month}.jsonl", _of(steps, "on", month)))
    return written


def _of(rows: Iterable[Row], column: str, month: str, first: str = "") -> list[Row]:
    """The rows of a month; the file of ``first`` also holds all that was before."""
    return [row for row in rows if row[column][:7] == month or (month == first and row[column][:7] < month)]


def _drawn(rng: np.random.Generator) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    customers: list[Row] = []
    grades: list[Row] = []
    positions: list[Row] = []
    fits: dict[str, bool] = {}
    for number in range(1, CUSTOMERS + 1):
        name = f"C{number:04d}"
        opened = date(2015, 1, 1) + timedelta(days=int(rng.integers(0, 3_900)))
        closed = date(2026, 4, 10) if number % 97 == 0 else None
        customers.append(_customer(name, number, opened, closed))
        grade = int(rng.choice(6, p=[0.08, 0.17, 0.35, 0.2, 0.13, 0.07]))
        if number % 41:  # of every forty-first the risk department knows nothing
            grades.append({"CUST_NO": name, "AS_OF": "2025-12-31", "GRADE": GRADES[grade]})
        for month in MONTHS:
            if number % 41 and rng.random() < 0.04:
                grade = int(np.clip(grade + rng.choice([-1, 1]), 0, 5))
                grades.append({"CUST_NO": name, "AS_OF": f"{month}-{int(rng.integers(1, 29)):02d}", "GRADE": GRADES[grade]})
        assets = float(rng.lognormal(12.4, 1.1))
        spend = float(rng.lognormal(10.2, 0.8))
        occupation = None if number % 29 == 0 else str(rng.choice(OCCUPATIONS))
        overdue = "Y" if rng.random() < 0.08 else None if number % 37 == 0 else "N"
        for month in MONTHS:
            if overdue != "Y" and rng.random() < 0.01:
                overdue = "Y"
            assets *= float(rng.normal(1.01, 0.06))
            spend *= float(rng.normal(1.0, 0.03))
            positions.append(_position(name, _month_end(month), max(assets, 0.0), max(spend, 0.0), overdue, occupation))
        good = number % 41 > 0 and grade <= GRADES.index("A") and overdue == "N"
        fits[name] = good and (assets >= 500_000 or spend >= 50_000 or occupation in OCCUPATIONS[:4])
    who = rng.permutation(np.arange(1, CUSTOMERS + 1))[:APPLICATIONS]
    steps: list[Row] = []
    for number, customer in enumerate(who, 1):
        steps += _application(rng, f"Q{number:04d}", f"C{customer:04d}", fits[f"C{customer:04d}"])
    return customers, grades, positions, steps


def _application(rng: np.random.Generator, name: str, customer: str, fits: bool) -> list[Row]:
    """Application, review, decision and notification, as far as the data reach; every ninth is returned and handed in again."""
    day = FIRST + timedelta(days=int(rng.integers(0, 265)))
    # Who decides looks at documents, not at these rules: some decisions do not agree with the criteria.
    outcome = str(rng.choice(["approved", "refused", "returned"], p=[0.85, 0.04, 0.11] if fits else [0.15, 0.74, 0.11]))
    rows = [_step(name, customer, "application", day)]
    day += timedelta(days=int(rng.integers(2, 12)))
    rows.append(_step(name, customer, "review", day, str(rng.choice(REVIEWERS))))
    day += timedelta(days=int(rng.integers(1, 15)))
    rows.append(_step(name, customer, "decision", day, str(rng.choice(DECIDERS)), outcome))
    day += timedelta(days=int(rng.integers(1, 4)))
    rows.append(_step(name, customer, "notification", day, str(rng.choice(CLERKS))))
    if outcome == "returned":
        again = day + timedelta(days=20)
        rows += [
            _step(f"{name}-2", customer, "application", again),
            _step(f"{name}-2", customer, "review", again + timedelta(days=3), REVIEWERS[0]),
            _step(f"{name}-2", customer, "decision", again + timedelta(days=9), DECIDERS[0], "approved"),
        ]
    return [row for row in rows if row["on"] <= LAST.isoformat()]


def _by_hand() -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    """Customers on the edges: what each is about stands behind it."""
    customers: list[Row] = []
    grades: list[Row] = []
    positions: list[Row] = []
    steps: list[Row] = []

    def add(
        number: int,
        *,
        grade: Sequence[tuple[str, str]] = (("2025-12-31", "A"),),
        assets: str | None = "0",
        spend: str | None = "0",
        overdue: str | None = "N",
        occupation: str | None = "09",
        to: Sequence[tuple[str, str, str | None]] = (),
        name: str = "",
    ) -> None:
        customer = f"C{number}"
        if not any(row["CUST_NO"] == customer for row in customers):
            customers.append(_customer(customer, number, date(2020, 5, 1), None))
            grades.extend({"CUST_NO": customer, "AS_OF": day, "GRADE": value} for day, value in grade)
            positions.extend(_position(customer, _month_end(month), assets, spend, overdue, occupation) for month in MONTHS)
        by = {"application": None, "review": REVIEWERS[0], "decision": DECIDERS[0], "notification": CLERKS[0]}
        steps.extend(_step(name or f"E{number}", customer, step, date.fromisoformat(on), by[step], outcome) for step, on, outcome in to)

    def flow(first: str, review: str, decision: str, outcome: str = "approved") -> list[tuple[str, str, str | None]]:
        return [("application", first, None), ("review", review, None), ("decision", decision, outcome)]

    march = flow("2026-03-02", "2026-03-06", "2026-03-10")
    # The bar of assets exactly met, and all four steps taken.
    add(9001, assets="500000.00", to=[*march, ("notification", "2026-03-12", None)])
    add(9002, assets="499999.99", spend="49999.99", to=march)  # a cent below both bars, and approved all the same
    add(9003, spend="50000.00", to=march)  # the bar of card spend exactly met
    add(9004, grade=(), assets="900000", to=march)  # no credit grade is known
    add(9005, overdue=None, assets="900000", to=march)  # nothing is known of overdue payments
    add(
        9006, grade=(("2025-12-31", "A"), ("2026-03-20", "B")), assets="900000", to=march
    )  # the grade falls after the approval, in its month
    add(9007, grade=(("2025-12-31", "B"), ("2026-03-31", "A")), assets="900000", to=march)  # the grade rises on the month's last day
    add(9008, assets="900000", to=flow("2026-03-02", "2026-03-20", "2026-03-31"))  # approved on the last day
    add(9009, assets="900000", to=flow("2026-03-02", "2026-03-20", "2026-04-01"))  # approved on the first day of the next month
    add(9010, assets="900000", to=flow("2026-03-02", "2026-03-03", "2026-03-05", "refused"))  # refused, and a second application …
    add(9010, name="E9010-2", to=[("application", "2026-03-20", None)])  # … in the same month: the newest counts
    add(9011, occupation="02", to=flow("2026-03-02", "2026-03-12", "2026-03-10"))  # the occupation carries it; decided before the review
    add(
        9012, assets="900000", to=[("application", "2026-03-02", None), ("notification", "2026-03-05", None)]
    )  # notified without a decision
    add(9013, assets="900000", to=flow("2026-03-02", "2026-03-06", "2026-03-10", "returned"))  # returned: documents are missing
    add(9014, assets="900000", to=flow("2026-03-02", "2026-03-06", "2026-03-10", "refused"))  # refused although the criteria are met
    add(9015, assets=None, spend=None, occupation=None, to=march)  # nothing is known but grade and record
    add(9016, overdue="Y", assets="900000", spend="90000", occupation="01", to=march)  # everything but a clean record
    add(9017, assets="900000", to=[("review", "2026-03-06", None), ("decision", "2026-03-10", "approved")])  # no application is on file
    add(9018, assets="900000", to=march)  # accredited in March, and …
    add(9018, name="E9018-2", to=[("application", "2026-06-01", None)])  # … applies again in June: accredited until that is decided
    return customers, grades, positions, steps


def _customer(name: str, number: int, opened: date, closed: date | None) -> Row:
    return {
        "CUST_NO": name,
        "FULL_NAME": f"{SURNAMES[number % 6]} {GIVEN[number % 7]}",
        "MOBILE": f"139{number * 7919 % 10**8:08d}",
        "OPENED": opened.isoformat(),
        "CLOSED": closed.isoformat() if closed else "",
        "BRANCH": BRANCHES[number % 4],
    }


def _fee(customer: Row, month: str) -> Row:
    """The monthly fee: what a customer pays decides nothing here, but it says that the month is billed."""
    return {"FEE_NO": f"F{month.replace('-', '')}{customer['CUST_NO']}", "CUST_NO": customer["CUST_NO"], "MONTH": month, "FEE": "12.00"}


def _position(customer: str, day: str, assets: Any, spend: Any, overdue: str | None, occupation: str | None) -> Row:
    def cents(value: Any) -> Decimal | None:
        return None if value is None else Decimal(str(value)).quantize(Decimal("0.01"))

    return {
        "customer_no": customer, "as_of": day, "assets": cents(assets), "card_spend_12m": cents(spend), "overdue": overdue,
        "occupation": occupation,
    }  # fmt: skip


def _step(name: str, customer: str, step: str, on: date, by: str | None = None, outcome: str | None = None) -> Row:
    return {"application_no": name, "customer_no": customer, "step": step, "on": on.isoformat(), "by": by, "outcome": outcome}


def _month_end(month: str) -> str:
    after = date.fromisoformat(f"{month}-28") + timedelta(days=4)
    return (after.replace(day=1) - timedelta(days=1)).isoformat()


def _csv(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _parquet(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    amounts = {"assets": pl.Decimal(18, 2), "card_spend_12m": pl.Decimal(18, 2)}
    pl.DataFrame(rows, schema_overrides={**amounts, "overdue": pl.String, "occupation": pl.String}).write_parquet(path)
    return path


def _lines(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the drops of the example bank.")
    parser.add_argument("--out", type=Path, default=Path("var/bank/drops"), help="folder for the drops")
    for file in make(parser.parse_args().out):
        print(file)
