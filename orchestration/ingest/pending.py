"""What an ingest would do now: used to decide whether there is anything to run for. Reads only."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.credit_notes import ENTITY as NOTED
from orchestration.ingest.credit_notes import unsettled
from orchestration.ingest.finding import in_landing_order, walk
from orchestration.ingest.lost_references import lost_drops
from orchestration.ingest.mapping import load_mappings
from orchestration.ingest.parts import Landed
from orchestration.ingest.readmission import readmittable
from orchestration.ingest.references import References
from orchestration.ingest.relanding import unfinished
from orchestration.ingest.replacement import replaced_drops, replacements
from orchestration.ingest.totals import new_totals, read_totals, recorded_totals
from orchestration.ledger.store import Ledger


def new_drops(deployment: Deployment, ledger: Ledger) -> list[Path]:
    """Drops that an ingest would land, land anew, refuse, record as copies, take back, admit or set aside rows of or move credit notes of, and control files that say something not yet recorded."""
    mappings = load_mappings(deployment)
    feeds = in_landing_order(mappings)
    known = Landed(deployment, ledger).load()
    refusals = [entry.payload for entry in ledger.entries("drop_refused")]
    refused = {(r["source"], r["entity"], r["file"]) for r in refusals if r["sha256"] is None}
    # Another mapping may be able to read what one could not.
    bytes_refused = {(r["source"], r["entity"], r["sha256"], r.get("mapping_hash")) for r in refusals if r["sha256"]}
    found: set[Path] = set()
    for item in walk(deployment, known, feeds):
        feed = item.feed
        if item.sha256 is None:
            if not item.is_landed and (feed.source, feed.entity, item.name) not in refused:
                found.add(item.path)
        elif item.is_landed:
            if item.copy_of:
                found.add(item.path)
        elif (feed.source, feed.entity, item.sha256, feed.mapping_hash) not in bytes_refused:
            found.add(item.path)
    found.update(deployment.drops / drop.payload["file"] for _, drop in unfinished(ledger, known, feeds))
    # An ingest that was stopped may leave credit notes in another period than their bill.
    for source, notes in unsettled(ledger, known).items():
        of_notes = {part.file_id for part in notes}
        standing = [drop for drop in known.standing_of(source, NOTED) if of_notes & set(drop.file_ids)]
        found.update(deployment.drops / drop.payload["file"] for drop in standing)
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        totals = {feed.id: read_totals(con, deployment, feed, Path(scratch)) for feed in feeds if feed.config.control}
        found.update(deployment.drops / total.stated_in for total, _ in new_totals(ledger, feeds, totals))
        recorded = recorded_totals(ledger)
        for feed in feeds:
            said = replacements(recorded.get((feed.source, feed.entity), {}), totals.get(feed.id, []))
            found.update(deployment.drops / drop.payload["file"] for drop in replaced_drops(known, feed, said))
        references = References(con, deployment, known, mappings)
        for contract in load_contracts().values():
            lost = lost_drops(con, ledger, known, references, contract)
            for drop in [*lost, *readmittable(con, deployment, known, references, contract)]:
                found.add(deployment.drops / drop.payload["file"])
    return sorted(found)
