"""The row balance of every landed drop: what came in, and where each row is now."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from orchestration.ingest.parts import MOVES, landed, standing, with_lists
from orchestration.ledger.store import Ledger


def balance(ledger: Ledger, upto_seq: int | None = None) -> list[dict[str, Any]]:
    """One dict per drop as it stands: rows_in = landed (in force) + quarantined + superseded + not_for_entity; ``agrees`` says so.

    ``unattributed`` are rows among those in force that belong to no customer; ``identical`` are those that repeat another
    of the same drop. Amounts are decimal texts with the same identity, null where the entity has none.
    """
    drops = landed(ledger, upto_seq)
    gone: dict[tuple[str, str, str], tuple[int, Decimal, int, int]] = {}
    for drop in with_lists(drops):
        supersedes = drop["supersedes"]
        for file_id, rows in supersedes["by_file"].items():
            key = (drop["source"], drop["entity"], file_id)
            before = gone.get(key, (0, Decimal(0), 0, 0))
            amount = Decimal(supersedes["amount_by_file"][file_id] or 0)
            nobody, repeats = supersedes["unattributed_by_file"][file_id], supersedes["identical_by_file"][file_id]
            gone[key] = (before[0] + rows, before[1] + amount, before[2] + nobody, before[3] + repeats)
    found = []
    for item in standing(drops):
        drop = item.payload
        rows, amount, nobody, repeats = 0, Decimal(0), 0, 0
        for file_id in item.file_ids:
            more = gone.get((drop["source"], drop["entity"], file_id), (0, Decimal(0), 0, 0))
            rows, amount, nobody, repeats = rows + more[0], amount + more[1], nobody + more[2], repeats + more[3]
        # A row that was moved stands in two parts, and one of them is superseded: it counts once, as landed.
        twice, amount_twice, nobody_twice, repeats_twice = (Decimal(drop.get(name, 0)) for name in MOVES)
        rows, amount, nobody, repeats = rows - int(twice), amount - amount_twice, nobody - int(nobody_twice), repeats - int(repeats_twice)
        in_parts = sum(part["rows"] for part in drop["parts"]) - int(twice)
        has_amount = drop["amount_in"] is not None
        found.append(
            {
                "source": drop["source"],
                "entity": drop["entity"],
                "file": drop["file"],
                "rows_in": drop["rows_in"],
                "landed": in_parts - rows,
                "quarantined": drop["quarantined"],
                "superseded": rows,
                "not_for_entity": drop["not_for_entity"],
                "unattributed": drop["unattributed"] - nobody,
                "identical": drop["identical"] - repeats,
                "reasons": drop["reasons"],
                "amount_in": drop["amount_in"],
                "amount_landed": str(Decimal(drop["amount_landed"]) - amount) if has_amount else None,
                "amount_quarantined": drop["amount_quarantined"],
                "amount_superseded": str(amount) if has_amount else None,
                "agrees": drop["rows_in"] == in_parts + drop["quarantined"] + drop["not_for_entity"] and rows <= in_parts,
            }
        )
    return found


def landed_money(ledger: Ledger, entity: str, period: str, upto_seq: int | None = None) -> tuple[int, Decimal] | None:
    """Rows in force of an entity kept by period, and their amount, as the ledger recorded them when they landed and when newer rows replaced
    them. None where it does not say: nothing of the entity has landed, or an entry about the period is older than its amounts."""
    drops = [(seq, drop) for seq, drop in landed(ledger, upto_seq) if drop["entity"] == entity]
    landings = [part for _, drop in drops for part in drop["parts"] if part["period"] == period]
    lists = [drop["supersedes"] for drop in with_lists(drops)]
    gone = [superseded["by_period"][period] if "by_period" in superseded else {} for superseded in lists if period in superseded["periods"]]
    if not drops or any("amount" not in part for part in [*landings, *gone]):
        return None
    rows = sum(part["rows"] for part in landings) - sum(part["rows"] for part in gone)
    amount = sum(Decimal(part["amount"]) for part in landings) - sum(Decimal(part["amount"]) for part in gone)
    return rows, Decimal(amount)
