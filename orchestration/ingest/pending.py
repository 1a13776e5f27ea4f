"""What an ingest would do now: used to decide whether there is anything to run for. Reads only."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.mapping import load_mappings
from orchestration.ingest.parts import is_known_by_stat
from orchestration.ingest.reading import Unreadable, sha256_of
from orchestration.ingest.totals import new_totals, read_totals
from orchestration.ledger.store import Ledger


def new_drops(deployment: Deployment, ledger: Ledger) -> list[Path]:
    """Drops that an ingest would land or refuse, and control files that say something not yet recorded."""
    known = {(e.payload["source"], e.payload["entity"], e.payload["sha256"]) for e in ledger.entries("drop_landed", "drop_refused")}
    by_name = {(e.payload["source"], e.payload["entity"], e.payload["file"]): e.payload for e in ledger.entries("drop_landed")}
    refused = {
        (e.payload["source"], e.payload["entity"], e.payload["file"]) for e in ledger.entries("drop_refused") if not e.payload["sha256"]
    }
    found: set[Path] = set()
    digests: dict[Path, str] = {}
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        for mapping in load_mappings(deployment):
            for feed in mapping.feeds:
                for path in sorted(deployment.drops.glob(feed.config.files)):
                    if is_known_by_stat(path, by_name.get((feed.source, feed.entity, str(path.relative_to(deployment.drops))))):
                        continue
                    try:
                        digests[path] = digests.get(path) or sha256_of(path)[0]
                    except Unreadable:
                        if (feed.source, feed.entity, str(path.relative_to(deployment.drops))) not in refused:
                            found.add(path)
                        continue
                    if (feed.source, feed.entity, digests[path]) not in known:
                        found.add(path)
                if feed.config.control:
                    for total, _ in new_totals(ledger, feed, read_totals(con, deployment, feed, Path(scratch))):
                        found.add(deployment.drops / total.stated_in)
    return sorted(found)
