"""Drops with bytes that their feed has landed: copies, which change nothing, and deliveries that say the same once more.

A copy is recorded under its own name, so that every file is accounted for and control totals find it. The same bytes are a delivery
of their own where they say what nothing landed says: the file had other content meanwhile, or holds no rows, or its name is of
another month and its rows are of none (the dump of a register that has changed and changed back), or another file has replaced what landed.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from orchestration.ingest.mapping import Feed
from orchestration.ingest.parts import Landed, origin_of, standing_drops
from orchestration.ledger.store import Ledger


class Deliveries:
    """What the feeds have delivered until now, by bytes and by name; ``known`` may grow meanwhile."""

    def __init__(self, known: Landed) -> None:
        self._known = known
        # Entity and bytes → the source that asked for them first; feed and bytes → ids that were asked for.
        self._first: dict[tuple[str, str], str] = {}
        self._asked: Counter[tuple[str, str]] = Counter()

    def landed(self, feed: Feed, sha256: str) -> list[dict[str, Any]]:
        """Entries of the drops with these bytes, in landing order."""
        return self._known.with_bytes(feed.source, feed.entity, sha256)

    def next_id(self, feed: Feed, sha256: str) -> tuple[str, bool]:
        """Id of the next delivery of some bytes, and whether it was asked for one before, of a delivery that is still to land.

        It begins with the bytes' hash. Lists of superseded rows know a file by it, so that of each source that reads the same file it is another.
        """
        waiting = self._asked[feed.id, sha256]
        self._asked[feed.id, sha256] += 1
        times = waiting + len({own_id(drop["file_id"]) for drop in self.landed(feed, sha256) if not drop.get("readmits")})
        first = self._known.first_source(feed.entity, sha256) or self._first.setdefault((feed.entity, sha256), feed.source)
        number = f"-d{times + 1}" if times else ""
        return f"{sha256[:16]}{number}{'' if first == feed.source else f'-{feed.source}'}", waiting > 0

    def original(self, feed: Feed, name: str, sha256: str) -> str | None:
        """Name of the landed drop of which a file is a copy: its bytes say nothing new under this name. None if they do."""
        landed, last = self.landed(feed, sha256), self._known.last_named(feed.source, feed.entity, name)
        if not landed or (last is not None and last["sha256"] != sha256):
            return None
        of: str = landed[-1]["file"]
        if any(drop["file"] == name for drop in landed):
            return of
        standing = [self._known.drop(origin_of(drop)) for drop in landed]
        if not landed[0]["rows_in"] or all(drop is None or drop.is_replaced for drop in standing):
            return None
        period = feed.period_of(name)
        same_month = (
            period is None or feed.contract.period_from is not None or any(feed.period_of(drop["file"]) == period for drop in landed)
        )
        return of if same_month else None


def copy_payload(feed: Feed, name: str, sha256: str, stat: dict[str, int], of: str) -> dict[str, Any]:
    """Payload of a ``drop_copy`` entry: a file that has the bytes of the drop ``of``."""
    return {"source": feed.source, "entity": feed.entity, "file": name, "sha256": sha256, **stat, "copy_of": of}


def own_id(file_id: str) -> str:
    """Id of a delivery, of the id of one of its landings: one that lands anew has a number behind it."""
    return re.sub(r"-\d+$", "", file_id)


def delivered(ledger: Ledger) -> list[dict[str, Any]]:
    """Standing drops and their copies in the order recorded. A copy has the counts of its drop, its own file and ``copy_of``."""
    drops = [(item.seq, item.payload) for item in standing_drops(ledger)]
    by_bytes = {(drop["source"], drop["entity"], drop["sha256"]): drop for _, drop in drops}
    copies = [
        (entry.seq, {**origin, **{key: entry.payload[key] for key in ("file", "copy_of")}})
        for entry in ledger.entries("drop_copy")
        if (origin := by_bytes.get((entry.payload["source"], entry.payload["entity"], entry.payload["sha256"])))
    ]
    return [payload for _, payload in sorted([*drops, *copies], key=lambda item: item[0])]
