"""What is landed, as the ledger tells it: parts and superseded rows up to a cut-off, and every drop as it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.ledger.store import Ledger


@dataclass(frozen=True)
class Part:
    """One Parquet file of landing. ``period`` is None where the entity is not kept by period.

    ``position`` is where its rows stand among those of the same key: the landing of their drop, also for rows that were
    admitted from its quarantine long after.
    """

    path: Path
    entity: str
    source: str
    file_id: str
    period: str | None
    rows: int
    seq: int
    position: int
    sha256: str
    min_key: str | None = None
    max_key: str | None = None
    min_document: str | None = None
    max_document: str | None = None
    min_referred: str | None = None
    max_referred: str | None = None


class Landed:
    """What is landed, read from the ledger once and then followed, so that a run of many drops does not read it all again."""

    def __init__(self, deployment: Deployment, ledger: Ledger) -> None:
        self._deployment, self._ledger = deployment, ledger
        self._seq = 0
        self._drops: list[tuple[int, dict[str, Any]]] = []
        self._of_entity: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self._parts: dict[str, list[Part]] = {}

    def _follow(self) -> None:
        for entry in self._ledger.entries("drop_landed", after=self._seq):
            self.add(entry.seq, entry.payload)

    def load(self) -> Landed:
        """Read the ledger from the start."""
        self._follow()
        return self

    def add(self, seq: int, drop: dict[str, Any]) -> None:
        """A drop that has just been recorded."""
        self._seq = seq
        self._drops.append((seq, drop))
        self._of_entity.setdefault(drop["entity"], []).append((seq, drop))
        self._parts.setdefault(drop["entity"], []).extend(_parts_of(self._deployment, seq, drop))

    @property
    def drops(self) -> list[dict[str, Any]]:
        """Payloads in landing order."""
        return [drop for _, drop in self._drops]

    @property
    def named(self) -> list[dict[str, Any]]:
        """Payloads of drops and of recorded copies, in the order in which their names were met. What is said of a drop later is no delivery."""
        delivered = [(seq, drop) for seq, drop in self._drops if not drop.get("readmits")]
        copies = [(entry.seq, entry.payload) for entry in self._ledger.entries("drop_copy")]
        return [payload for _, payload in sorted([*delivered, *copies], key=lambda item: item[0])]

    def named_of(self, source: str, entity: str) -> list[dict[str, Any]]:
        """Those of one feed."""
        return [drop for drop in self.named if (drop["source"], drop["entity"]) == (source, entity)]

    def standing(self) -> list[Standing]:
        """Every drop once, as it stands."""
        return standing(self._drops)

    def standing_of(self, source: str, entity: str) -> list[Standing]:
        """The drops of one feed, as they stand."""
        return standing(self.entries(source, entity))

    def counting_ids(self, entity: str, source: str | None = None) -> set[str]:
        """File ids of the drops whose rows may count: those that stand, but for the ones that another file has replaced."""
        entries = self._of_entity.get(entity, []) if source is None else self.entries(source, entity)
        return {file_id for drop in standing(entries) if not drop.is_replaced for file_id in drop.file_ids}

    def entries(self, source: str, entity: str) -> list[tuple[int, dict[str, Any]]]:
        """Sequence numbers and payloads of all entries about the drops of one feed."""
        return [(seq, drop) for seq, drop in self._of_entity.get(entity, []) if drop["source"] == source]

    def parts(self, entity: str, source: str | None = None) -> list[Part]:
        """Parts of an entity, of one source or all."""
        return [part for part in self._parts.get(entity, []) if source is None or part.source == source]

    def superseded(self, entity: str) -> list[Path]:
        """Files that list superseded rows of an entity."""
        return lists_of(self._deployment, self._of_entity.get(entity, []), entity)

    def with_lists(self, source: str, entity: str) -> list[dict[str, Any]]:
        """:func:`with_lists` of one feed's entries, those that list rows."""
        return [drop for drop in with_lists(self.entries(source, entity)) if drop["supersedes"]["path"]]


@dataclass(frozen=True)
class Standing:
    """A drop as it stands: its first entry's payload with all that was admitted from its quarantine or moved since.

    ``file_ids`` are those of its parts, ``seq`` the entry that landed it, ``last_seq`` the last that concerns it. ``is_replaced``: a
    control total says that another file takes its place, and none of its rows counts.
    """

    seq: int
    last_seq: int
    file_ids: tuple[str, ...]
    payload: dict[str, Any]
    is_replaced: bool = False

    @property
    def next_file_id(self) -> str:
        """File id of the next entry about the drop."""
        return f"{self.payload['file_id']}-r{len(self.file_ids)}"


# Counts that an entry which admits rows from quarantine moves; it holds them with the sign of the move.
_MOVED_COUNTS = ("landed", "quarantined", "unattributed", "identical")
# What an entry that moves credit notes to the period of their bill says of rows that stand twice in the parts since.
MOVES = ("moved", "amount_moved", "unattributed_moved", "identical_moved")
_MOVED_AMOUNTS = ("amount_landed", "amount_quarantined", "amount_unattributed")


def standing(drops: Iterable[tuple[int, dict[str, Any]]]) -> list[Standing]:
    """Every drop once, in landing order. One that was landed again stands as it was landed last."""
    found: dict[tuple[str, str, str], Standing] = {}
    for seq, drop in drops:
        feed = (drop["source"], drop["entity"])
        for file_id in drop.get("replaces", ()):
            found.pop((*feed, file_id), None)
        if origin := drop.get("readmits"):
            before = found[(*feed, origin)]
            ids = (*before.file_ids, drop["file_id"])
            found[(*feed, origin)] = Standing(
                before.seq, seq, ids, _moved(before.payload, drop), before.is_replaced or drop.get("is_replaced", False)
            )
        else:
            found[(*feed, drop["file_id"])] = Standing(seq, seq, (drop["file_id"],), drop, drop.get("is_replaced", False))
    return list(found.values())


def _moved(before: dict[str, Any], move: dict[str, Any]) -> dict[str, Any]:
    after = {**before, "parts": [*before["parts"], *move["parts"]], "waiting": move["waiting"]}
    for name in _MOVED_COUNTS:
        after[name] = before[name] + move[name]
    for name in _MOVED_AMOUNTS:
        after[name] = None if before[name] is None else str(Decimal(before[name]) + Decimal(move[name]))
    for name in MOVES:
        after[name] = str(Decimal(before.get(name, 0)) + Decimal(move.get(name, 0)))
    counts = {
        reason: before["reasons"].get(reason, 0) + move["reasons"].get(reason, 0) for reason in {**before["reasons"], **move["reasons"]}
    }
    after["reasons"] = {reason: rows for reason, rows in counts.items() if rows}
    after["periods"] = sorted({*before["periods"], *move["periods"]})
    return after


def origin_of(drop: dict[str, Any]) -> tuple[str, str, str]:
    """Source, entity and file id of the drop that an entry is about."""
    return drop["source"], drop["entity"], drop.get("readmits") or drop["file_id"]


def with_undone(drops: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any], list[dict[str, Any]]]]:
    """Each entry, with its sequence number and the entries before it whose lists of superseded rows count no more from then on.

    What takes a replaced drop back undoes all lists of that drop, and those of others that it ``undoes``; its own names again what is still
    superseded.
    """
    counting: dict[tuple[str, str, str], dict[str, Any]] = {}
    for seq, drop in drops:
        source, entity = drop["source"], drop["entity"]
        gone = []
        if drop.get("is_replaced"):
            others = {(source, entity, file_id) for file_id in drop.get("undoes", ())}
            gone = [name for name, entry in counting.items() if name in others or origin_of(entry) == origin_of(drop)]
        yield seq, drop, [counting.pop(name) for name in gone]
        counting[source, entity, drop["file_id"]] = drop


def with_lists(drops: Iterable[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The entries whose lists of superseded rows count: all that no later one undoes, see :func:`with_undone`."""
    entries = list(with_undone(drops))
    gone = {id(entry) for _, _, undone in entries for entry in undone}
    return [drop for _, drop, _ in entries if id(drop) not in gone]


def lists_of(deployment: Deployment, drops: Iterable[tuple[int, dict[str, Any]]], entity: str) -> list[Path]:
    """Files (columns file_id, row, key, period; file_id and key together are unique) that list the rows of ``entity`` that newer rows replaced."""
    of_entity = with_lists((seq, drop) for seq, drop in drops if drop["entity"] == entity)
    return [deployment.data / drop["supersedes"]["path"] for drop in of_entity if drop["supersedes"]["path"]]


def following(drop: Standing, **said: Any) -> dict[str, Any]:
    """Payload of an entry about a drop that stands: the drop's identity and place, counts that move nothing, and what is ``said``.

    ``supersedes`` must be said; ``parts`` are none if not said.
    """
    before = drop.payload
    parts, supersedes = said.get("parts", []), said["supersedes"]
    return {
        **{name: before[name] for name in ("source", "entity", "file", "sha256", "bytes", "mtime_ns", "mapping", "mapping_hash")},
        "file_id": drop.next_file_id,
        "readmits": before["file_id"],
        "position": drop.seq,
        "rows_in": 0,
        **dict.fromkeys((*_MOVED_COUNTS, "not_for_entity"), 0),
        **{name: None if before[name] is None else "0" for name in ("amount_in", *_MOVED_AMOUNTS)},
        "reasons": {},
        "parts": [],
        "quarantine": None,
        "waiting": before["waiting"],
        "periods": sorted({part["period"] for part in parts if part["period"]} | set(supersedes["periods"])),
        **said,
    }


def standing_drops(ledger: Ledger, upto_seq: int | None = None) -> list[Standing]:
    """:func:`standing` of what the ledger knows at the cut-off."""
    return standing(landed(ledger, upto_seq))


def asked_again(ledger: Ledger) -> dict[tuple[str, str], int]:
    """Source and entity → the last entry that asked for the drops of that feed to be landed anew."""
    return {(entry.payload["source"], entry.payload["entity"]): entry.seq for entry in ledger.entries("landing_again")}


def file_stat(path: Path) -> dict[str, int]:
    """Size and time of a drop, recorded so that a file that has not changed need not be read again to know it."""
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def is_known_by_stat(path: Path, payload: dict[str, Any] | None) -> bool:
    """Whether the drop is the file that ``payload`` recorded under its name: same size and time (as git's index tells)."""
    if payload is None or path.is_dir():
        return False
    return all(payload.get(key) == value for key, value in file_stat(path).items())


def landed(ledger: Ledger, upto_seq: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Every landed drop in landing order: sequence number and payload."""
    return [(entry.seq, entry.payload) for entry in ledger.entries("drop_landed", upto=upto_seq)]


def _parts_of(deployment: Deployment, seq: int, drop: dict[str, Any]) -> list[Part]:
    return [
        Part(
            path=deployment.data / part["path"],
            entity=drop["entity"],
            source=drop["source"],
            file_id=drop["file_id"],
            period=part["period"],
            rows=part["rows"],
            seq=seq,
            position=drop.get("position", seq),
            sha256=part["sha256"],
            min_key=part["min_key"],
            max_key=part["max_key"],
            min_document=part.get("min_document"),
            max_document=part.get("max_document"),
            min_referred=part.get("min_referred"),
            max_referred=part.get("max_referred"),
        )
        for part in drop["parts"]
    ]


def landed_parts(deployment: Deployment, ledger: Ledger, entity: str | None = None, upto_seq: int | None = None) -> list[Part]:
    """Parts known at the cut-off (all by default), in landing order; with ``entity`` its parts only."""
    drops = landed(ledger, upto_seq)
    return [part for seq, drop in drops if entity in (None, drop["entity"]) for part in _parts_of(deployment, seq, drop)]


def superseded_files(deployment: Deployment, ledger: Ledger, entity: str, upto_seq: int | None = None) -> list[Path]:
    """:func:`lists_of` what the ledger knows at the cut-off."""
    return lists_of(deployment, landed(ledger, upto_seq), entity)
