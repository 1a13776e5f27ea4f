"""Drops of a made-up dental supplier: 400 clinics, nine months of 2026, eight sales representatives.

python examples/sales_force/make_drops.py --out DIR

The same bytes every time. The first clinics are edge cases, planted on purpose: see ``EDGES``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SEED = 20260101
CLINICS = 400
MONTHS = [f"2026-{month:02d}" for month in range(1, 10)]
REPS = [f"R{n:02d}" for n in range(1, 9)]
REGIONS = ("north", "east", "south", "west")


@dataclass
class Edge:
    """A clinic whose numbers are the same every month. ``purchases`` None: no row; ``decides``: Y, N or not known."""

    potential: str | None
    purchases: str | None
    billed: str | None
    decides: str | None = "Y"


EDGES = {
    "K0001": Edge("30000.00", "30000.00", "15000.00"),  # meets the bars of A and of 1 exactly
    "K0002": Edge("29999.99", "30000.00", "14999.99"),  # misses both by a cent
    "K0003": Edge("10000.00", "10000.00", "2000.00"),  # meets the bars of B and of 2 exactly
    "K0004": Edge("9999.99", "10000.00", "1999.99"),  # misses both by a cent
    "K0005": Edge(None, "12000.00", "6000.00"),  # potential not known
    "K0006": Edge("0.00", "0.00", None),  # buys nothing from anyone: no share
    "K0007": Edge("50000.00", "50000.00", None, None),  # not known whether it may decide
    "K0008": Edge("50000.00", "50000.00", "30000.00", "N"),  # may not decide
    "K0009": Edge("12000.00", None, "1000.00"),  # nobody counted what it buys
    "K0010": Edge("12000.00", "12000.00", "7000.00"),  # may not decide from June on
}
LOSES_ITS_RIGHT = ("K0010", "2026-06")


class World:
    """Clinics as they are, month by month; files are what the systems say of them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(SEED)
        rng = self.rng
        self.clinics = [f"K{n:04d}" for n in range(1, CLINICS + 1)]
        self.rep = {c: REPS[n % len(REPS)] for n, c in enumerate(self.clinics)}
        self.region = {c: REGIONS[(n % len(REPS)) // 2] for n, c in enumerate(self.clinics)}
        self.opened = {c: f"{rng.integers(2016, 2026)}-{rng.integers(1, 13):02d}-{rng.integers(1, 28):02d}" for c in self.clinics}
        self.closed: dict[str, str] = {}
        self.potential: dict[str, float | None] = {}
        self.share: dict[str, float] = {}
        self.decides: dict[str, str | None] = {}
        for clinic in self.clinics:
            self.potential[clinic] = None if rng.random() < 0.03 else round(float(rng.lognormal(9.6, 0.85)), -2)
            self.share[clinic] = float(rng.beta(1.5, 2.4))
            self.decides[clinic] = str(rng.choice(["Y", "N", "?"], p=[0.88, 0.08, 0.04]))
            if self.decides[clinic] == "?":
                self.decides[clinic] = None
        # Some open or close within the year.
        for clinic in self.clinics[60:72]:
            self.opened[clinic] = f"2026-{rng.integers(2, 9):02d}-{rng.integers(1, 28):02d}"
        for clinic in self.clinics[80:88]:
            self.closed[clinic] = f"2026-{rng.integers(4, 10):02d}-{rng.integers(1, 28):02d}"

    def is_there(self, clinic: str, month: str) -> bool:
        return self.opened[clinic][:7] <= month <= self.closed.get(clinic, "9999")[:7]

    def step(self) -> set[str]:
        """From one month to the next; the clinics whose estimate is made anew."""
        rng, changed = self.rng, set()
        for clinic in self.clinics:
            self.share[clinic] = float(np.clip(self.share[clinic] + rng.normal(0, 0.03), 0, 1))
            known = self.potential[clinic]
            if rng.random() < 0.05 and clinic not in EDGES:
                self.potential[clinic] = round(float((known or rng.lognormal(9.6, 0.85)) * np.clip(rng.normal(1, 0.2), 0.5, 1.5)), -2)
                changed.add(clinic)
        return changed


def cents(value: float) -> str:
    """An amount with two decimals, as a system writes it."""
    return f"{value:.2f}"


def when(rng: np.random.Generator, month: str) -> str:
    """A working hour of the month, in local time."""
    return f"{month}-{rng.integers(1, 29):02d} {rng.integers(8, 18):02d}:{rng.integers(0, 60):02d}:00"


def potential_rows(world: World, month: str, changed: set[str]) -> Iterator[dict[str, Any]]:
    for clinic in sorted(changed):
        if clinic in EDGES:
            edge = EDGES[clinic]
            decides = "N" if clinic == LOSES_ITS_RIGHT[0] and month >= LOSES_ITS_RIGHT[1] else edge.decides
            potential = edge.potential
        else:
            decides, estimate = world.decides[clinic], world.potential[clinic]
            potential = None if estimate is None else cents(estimate)
        yield {"clinic": clinic, "as_of": f"{month}-01", "potential": potential, "decides": decides, "rep": world.rep[clinic]}


def trade_rows(world: World, month: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What clinics bought from all suppliers, and our invoices."""
    rng, purchases, lines = world.rng, [], []

    def line(clinic: str, number: int, position: int, charge: str, net: float | str, kind: str = "invoice") -> None:
        amount = net if isinstance(net, str) else cents(net)
        lines.append({
            "invoice": f"{'G' if kind == 'credit' else 'F'}{month.replace('-', '')}-{clinic[1:]}-{number}", "position": position,
            "clinic": clinic, "month": month, "invoiced": when(rng, month), "charge": charge, "net": amount, "kind": kind,
        })  # fmt: skip

    for clinic in (c for c in world.clinics if world.is_there(c, month)):
        if clinic in EDGES:
            edge = EDGES[clinic]
            if edge.purchases is not None:
                purchases.append({"clinic": clinic, "month": month, "amount": edge.purchases})
            if edge.billed is not None:
                line(clinic, 1, 1, "consumables", edge.billed)
            continue
        bought = (world.potential[clinic] or 6000.0) * float(np.clip(rng.normal(1, 0.06), 0.7, 1.3))
        purchases.append({"clinic": clinic, "month": month, "amount": cents(bought)})
        ours = bought * world.share[clinic]
        if ours < 50:
            continue
        split = rng.dirichlet([6, 3, 1])
        for position, (charge, part) in enumerate(zip(("consumables", "instruments", "repair"), split, strict=True), 1):
            line(clinic, 1, position, charge, ours * part)
        if rng.random() < 0.06:
            line(clinic, 2, 1, "equipment_instalment", 1800.0)
        if rng.random() < 0.03:
            line(clinic, 3, 1, "consumables", -0.1 * ours, "credit")
    return purchases, lines


def contact_rows(world: World, month: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Visits and telephone calls: more where there is more to win, fewer where nobody may decide."""
    rng, visits, calls = world.rng, [], []
    for clinic in (c for c in world.clinics if world.is_there(c, month)):
        edge = EDGES.get(clinic)
        estimate = float(edge.potential or 0) if edge else (world.potential[clinic] or 0)
        mean = 4.2 if estimate >= 30000 else 2.0 if estimate >= 10000 else 0.5
        if (edge.decides if edge else world.decides[clinic]) == "N":
            mean = 0.2
        # A fifth of the clinics is never seen in a month: holidays, illness, no appointment.
        made = 0 if rng.random() < 0.2 else int(rng.poisson(mean))
        for number in range(made):
            if rng.random() < 0.7:
                visits.append({
                    "id": f"V{month.replace('-', '')}-{clinic[1:]}-{number}", "clinic": clinic, "rep": world.rep[clinic],
                    "visited": when(rng, month), "purpose": str(rng.choice(["order", "product", "complaint"])),
                })  # fmt: skip
            else:
                calls.append({
                    "id": f"T{month.replace('-', '')}-{clinic[1:]}-{number}", "clinic": clinic, "called": when(rng, month), "direction": "out",
                })  # fmt: skip
        if rng.random() < 0.15:
            calls.append(
                {"id": f"T{month.replace('-', '')}-{clinic[1:]}-in", "clinic": clinic, "called": when(rng, month), "direction": "in"}
            )
    return visits, calls


def clinic_rows(world: World, month: str) -> Iterator[dict[str, Any]]:
    """The first month's file holds all clinics, later ones those that open, or that are known to close."""
    first = month == MONTHS[0]
    for clinic in world.clinics:
        opened, closed = world.opened[clinic], world.closed.get(clinic, "")
        is_new = opened[:7] == month or (first and opened[:7] < month)
        if is_new or closed[:7] == month:
            yield {
                "clinic": clinic, "as_of": opened if is_new else f"{month}-01", "region": world.region[clinic], "opened": opened,
                "closed": closed if closed[:7] == month else None, "rep": world.rep[clinic],
            }  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """All columns are text: amounts are written as the source rounds them."""
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String), strict=False)
    if path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path)
    return path


def make(folder: Path) -> list[Path]:
    """Write all drops into ``folder`` (made if need be); the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World()
    written = [write(folder / "reps.csv", [{"rep": rep, "since": "2015-01-01", "team": REGIONS[n // 2]} for n, rep in enumerate(REPS)])]
    for month in MONTHS:
        changed = world.step() if month != MONTHS[0] else set(world.clinics)
        changed |= {c for c in world.clinics if world.opened[c][:7] == month}
        if month == LOSES_ITS_RIGHT[1]:
            changed.add(LOSES_ITS_RIGHT[0])
        purchases, lines = trade_rows(world, month)
        visits, calls = contact_rows(world, month)
        there = {c for c in changed if world.is_there(c, month)}
        for name, rows in (
            (f"clinics_{month}.csv", list(clinic_rows(world, month))),
            (f"potentials_{month}.csv", list(potential_rows(world, month, there))),
            (f"purchases_{month}.csv", purchases),
            (f"invoices_{month}.csv", lines),
            (f"visits_{month}.jsonl", visits),
            (f"calls_{month}.jsonl", calls),
        ):
            if rows:
                written.append(write(folder / name, rows))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that the drops are written to")
    paths = make(parser.parse_args().out)
    print(f"{len(paths)} drops in {paths[0].parent}")


if __name__ == "__main__":
    main()
