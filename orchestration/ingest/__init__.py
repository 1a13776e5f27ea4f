"""From drops to landing: contracts, mappings, one scan a drop, quarantine, vault, supersession, control totals, balance."""

from orchestration.ingest.balance import balance, landed_money
from orchestration.ingest.closing import ANY_PERIOD, open_periods, refused_drops
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.mapping import Feed, SourceMapping, load_mappings
from orchestration.ingest.parts import Part, landed_parts, standing_drops, superseded_files
from orchestration.ingest.pending import new_drops
from orchestration.ingest.report import FileReport, IngestReport
from orchestration.ingest.run import ingest

__all__ = [
    "ANY_PERIOD",
    "Contract",
    "Feed",
    "FileReport",
    "IngestReport",
    "Part",
    "SourceMapping",
    "balance",
    "ingest",
    "landed_money",
    "landed_parts",
    "load_contracts",
    "load_mappings",
    "new_drops",
    "open_periods",
    "refused_drops",
    "standing_drops",
    "superseded_files",
]
