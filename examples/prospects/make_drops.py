"""Drops of a made-up software house: 300 prospects, the first six months of 2026, six people in sales.

python examples/prospects/make_drops.py --out DIR

The same bytes every time. The first prospects are edge cases, planted on purpose: see ``EDGES``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SEED = 20260102
PROSPECTS = 300
MONTHS = [f"2026-{month:02d}" for month in range(1, 7)]
OWNERS = [f"S{n}" for n in range(1, 7)]
STAGES = ("unaware", "interested", "comparing", "deciding")

# Stage and competing system, month by month; an empty cell is not known.
EDGES: dict[str, list[tuple[str, str]]] = {
    "L0001": [("deciding", "N")] * 6,
    "L0002": [("deciding", "Y")] * 6,
    "L0003": [("unaware", "N")] * 6,
    "L0004": [("unaware", "Y")] * 6,
    "L0005": [("comparing", "")] * 6,  # near, competing system not known
    "L0006": [("interested", "")] * 6,  # far, competing system not known
    "L0007": [("", "N")] * 6,  # stage not known
    "L0008": [("", "")] * 6,  # nothing known
    "L0009": [("interested", "Y")] * 2 + [("interested", "N")] * 2 + [("comparing", "N")] * 2,  # d, then c, then a
    "L0010": [("deciding", "N")] * 3 + [("deciding", "Y")] * 3,  # falls from a to b: a competitor has come in
}


def pipeline() -> dict[str, list[dict[str, Any]]]:
    """Rows by month: each row says what holds from its day on."""
    rng = np.random.default_rng(SEED)
    rows: dict[str, list[dict[str, Any]]] = {month: [] for month in MONTHS}
    for number in range(1, PROSPECTS + 1):
        lead = f"L{number:04d}"
        edge = EDGES.get(lead)
        # A third is found within the half-year.
        begins = 0 if edge or rng.random() < 0.67 else int(rng.integers(1, len(MONTHS)))
        day = f"{rng.integers(1, 29):02d}"
        first_contact = f"{MONTHS[begins]}-{day}" if begins else f"2025-{rng.integers(6, 13):02d}-{day}"
        stage = int(rng.choice(4, p=[0.35, 0.35, 0.2, 0.1]))
        competitor = str(rng.choice(["Y", "N", ""], p=[0.4, 0.35, 0.25]))
        base = {
            "lead": lead, "contact": f"Contact {number}", "phone": f"1390000{number:04d}", "region": str(rng.choice(["north", "south"])),
            "owner": OWNERS[number % len(OWNERS)], "expected": f"{rng.lognormal(11, 0.8):.2f}", "first_contact": first_contact,
        }  # fmt: skip
        said: tuple[str, str] | None = None
        for place in range(begins, len(MONTHS)):
            month = MONTHS[place]
            if edge:
                now = edge[place]
            else:
                if place > begins and rng.random() < 0.12:
                    stage = int(np.clip(stage + rng.choice([-1, 1], p=[0.3, 0.7]), 0, 3))
                if competitor == "" and rng.random() < 0.15:
                    competitor = str(rng.choice(["Y", "N"]))
                now = (STAGES[stage], competitor)
            closes = not edge and place > begins and rng.random() < (0.15 if now[0] == "deciding" else 0.02)
            if now != said or closes:
                as_of = max(first_contact, f"{month}-01")
                closed = f"{month}-{rng.integers(2, 29):02d}" if closes else None
                rows[month].append(base | {"as_of": as_of, "stage": now[0].upper(), "competitor": now[1], "closed": closed})
                said = now
            if closes:
                break
    return rows


def make(folder: Path) -> list[Path]:
    """Write all drops into ``folder`` (made if need be); the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for month, rows in pipeline().items():
        path = folder / f"prospects_{month}.csv"
        pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String)).write_csv(path)
        written.append(path)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that the drops are written to")
    paths = make(parser.parse_args().out)
    print(f"{len(paths)} drops in {paths[0].parent}")


if __name__ == "__main__":
    main()
