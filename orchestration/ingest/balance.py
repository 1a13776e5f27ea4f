"""The row balance of every landed drop: what came in, and where each row is now."""

from __future__ import annotations

from typing import Any

from orchestration.ingest.parts import landed
from orchestration.ledger.store import Ledger


def balance(ledger: Ledger, upto_seq: int | None = None) -> list[dict[str, Any]]:
    """One dict per drop: rows_in = landed (in force) + quarantined + superseded + not_for_entity; ``agrees`` says so.

    ``unattributed`` are rows among the landed ones that belong to no customer, as landed at first.
    """
    drops = landed(ledger, upto_seq)
    superseded: dict[tuple[str, str, str], int] = {}
    for _, drop in drops:
        for file_id, rows in drop["supersedes"]["by_file"].items():
            key = (drop["source"], drop["entity"], file_id)
            superseded[key] = superseded.get(key, 0) + rows
    found = []
    for _, drop in drops:
        gone = superseded.get((drop["source"], drop["entity"], drop["file_id"]), 0)
        in_parts = sum(part["rows"] for part in drop["parts"])
        found.append(
            {
                "source": drop["source"],
                "entity": drop["entity"],
                "file": drop["file"],
                "rows_in": drop["rows_in"],
                "landed": in_parts - gone,
                "quarantined": drop["quarantined"],
                "superseded": gone,
                "not_for_entity": drop["not_for_entity"],
                "unattributed": drop["unattributed"],
                "reasons": drop["reasons"],
                "amount_in": drop["amount_in"],
                "amount_landed": drop["amount_landed"],
                "amount_quarantined": drop["amount_quarantined"],
                "agrees": drop["rows_in"] == in_parts + drop["quarantined"] + drop["not_for_entity"] and gone <= in_parts,
            }
        )
    return found
