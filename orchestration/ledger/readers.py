"""What the ledger records, as more than one package asks it: the releases that readers see, the periods that are kept from them, a build that was none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestration.ledger.store import Entry, Ledger


def releases_in_catalog(ledger: Ledger) -> dict[str, str]:
    """Period → release id in the catalog that stands; empty before the first."""
    newest = ledger.last("catalog")
    return dict(newest.payload["periods"]) if newest else {}


def payloads_in_catalog(ledger: Ledger) -> list[dict[str, Any]]:
    """Payloads of the ``release`` entries of those, in the order made."""
    visible = set(releases_in_catalog(ledger).values())
    return [entry.payload for entry in ledger.entries("release") if entry.payload["release"] in visible]


def held_periods(ledger: Ledger) -> list[str]:
    """Periods whose newest verdict failed and of which nothing was released since, in order."""
    newest: dict[str, Entry] = {}
    for entry in ledger.entries("gate", "release"):
        newest[entry.payload["period"]] = entry
    return sorted(period for period, entry in newest.items() if entry.kind == "gate" and not entry.payload["passed"])


@dataclass(frozen=True)
class Begun:
    """dbt was asked to write periods. ``models``: the names of those chosen, none where only tests were; None: all of them."""

    seq: int
    run_id: str
    periods: list[str]
    models: list[str] | None

    def writes(self, model: str) -> bool:
        return self.models is None or model in self.models


def begun(ledger: Ledger) -> list[Begun]:
    """What dbt was asked for, in order. Of runs of an older version only the end is recorded, and they built all models."""
    entries = ledger.entries("build_started", "build")
    started = {entry.payload["run_id"] for entry in entries if entry.kind == "build_started"}
    return [
        Begun(entry.seq, entry.payload["run_id"], entry.payload["periods"], entry.payload.get("models"))
        for entry in entries
        if entry.kind == "build_started" or entry.payload["run_id"] not in started
    ]


def is_of_some_models(ledger: Ledger, run_id: str) -> bool:
    """Whether dbt was asked last for some of the models alone in a run: that makes no candidate."""
    of_run = [each for each in begun(ledger) if each.run_id == run_id]
    return bool(of_run) and of_run[-1].models is not None
