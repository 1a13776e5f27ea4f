"""What is landed, as the ledger tells it: parts and superseded rows up to a cut-off, and every drop as it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
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


# Source, entity and file id of a drop.
_Origin = tuple[str, str, str]


@dataclass(frozen=True)
class Standing:
    """A drop as it stands: its first entry's payload with all that was admitted from its quarantine or moved since.

    ``file_ids`` are those of its parts, ``seq`` the entry that landed it and ``first_seq`` the one that did before it landed anew, ``last_seq``
    the last that concerns it, 0 while what its waiting rows refer to has not been looked for. ``is_replaced``: a control total says that another file takes its place, and none of its rows
    counts. ``set_aside``: of the first so many of its parts no row counts, because they wait again.
    """

    seq: int
    first_seq: int
    last_seq: int
    file_ids: tuple[str, ...]
    payload: dict[str, Any]
    is_replaced: bool = False
    set_aside: int = 0

    @property
    def counting_ids(self) -> tuple[str, ...]:
        """File ids of the parts whose rows may count."""
        return () if self.is_replaced else self.file_ids[self.set_aside :]

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
    found: dict[_Origin, Standing] = {}
    for seq, drop in drops:
        _stand(found, seq, drop)
    return list(found.values())


def _stand(found: dict[_Origin, Standing], seq: int, drop: dict[str, Any]) -> None:
    """Make of the drops that stand those that stand after the entry ``drop``."""
    earlier = [found.pop((drop["source"], drop["entity"], file_id), None) for file_id in drop.get("replaces", ())]
    first_seq = min((item.first_seq for item in earlier if item), default=seq)
    origin = origin_of(drop)
    if drop.get("readmits"):
        before = found[origin]
        ids = (*before.file_ids, drop["file_id"])
        is_replaced, waits = before.is_replaced or drop.get("is_replaced", False), drop.get("is_set_aside", False)
        set_aside = len(ids) if waits else before.set_aside
        last_seq, after = 0 if waits else seq, _moved(before.payload, drop)
        found[origin] = Standing(before.seq, before.first_seq, last_seq, ids, after, is_replaced, set_aside)
    else:
        found[origin] = Standing(seq, first_seq, seq, (drop["file_id"],), drop, drop.get("is_replaced", False))


def _moved(before: dict[str, Any], move: dict[str, Any]) -> dict[str, Any]:
    after = {**before, "parts": [*before["parts"], *move["parts"]], "waiting": move["waiting"]}
    after["quarantine"] = move["quarantine"] or before["quarantine"]
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


def origin_of(drop: dict[str, Any]) -> _Origin:
    """Source, entity and file id of the drop that an entry is about."""
    return drop["source"], drop["entity"], drop.get("readmits") or drop["file_id"]


def with_undone(drops: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any], list[dict[str, Any]]]]:
    """Each entry, with its sequence number and the entries before it whose lists of superseded rows count no more from then on.

    What takes a replaced drop back, or sets its rows aside, undoes all lists of that drop, and those of others that it ``undoes``; its own
    names again what is still superseded.
    """
    counting: dict[_Origin, dict[str, Any]] = {}
    for seq, drop in drops:
        yield seq, drop, _undo(counting, drop)


def _undo(counting: dict[_Origin, dict[str, Any]], drop: dict[str, Any]) -> list[dict[str, Any]]:
    """Make of the entries whose lists count those that count after the entry ``drop``; those that count no more."""
    source, entity = drop["source"], drop["entity"]
    gone = []
    if drop.get("is_replaced") or drop.get("is_set_aside"):
        others = {(source, entity, file_id) for file_id in drop.get("undoes", ())}
        gone = [name for name, entry in counting.items() if name in others or origin_of(entry) == origin_of(drop)]
    undone = [counting.pop(name) for name in gone]
    counting[source, entity, drop["file_id"]] = drop
    return undone


def with_lists(drops: Iterable[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The entries whose lists of superseded rows count: all that no later one undoes, see :func:`with_undone`."""
    entries = list(with_undone(drops))
    gone = {id(entry) for _, _, undone in entries for entry in undone}
    return [drop for _, drop, _ in entries if id(drop) not in gone]


def lists_of(deployment: Deployment, drops: Iterable[tuple[int, dict[str, Any]]], entity: str) -> list[Path]:
    """Files (columns file_id, row, key, period; file_id and key together are unique) that list the rows of ``entity`` that newer rows replaced."""
    of_entity = with_lists((seq, drop) for seq, drop in drops if drop["entity"] == entity)
    return [deployment.data / drop["supersedes"]["path"] for drop in of_entity if drop["supersedes"]["path"]]


@dataclass
class _OfFeed:
    """What is known of one feed. ``names``: what each file's name stands for; ``by_bytes``: entries by SHA-256; ``gone``: file id → how many of
    its rows are superseded; ``mapped``: the columns that its mapping had, where rows have no keys of their own."""

    entries: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    named: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_bytes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    standing: dict[_Origin, Standing] = field(default_factory=dict)
    mapped: dict[tuple[str, ...], None] = field(default_factory=dict)
    with_lists: dict[_Origin, dict[str, Any]] = field(default_factory=dict)


class Landed:
    """What is landed, read from the ledger once and then followed entry by entry: a run of many drops asks for each what all before it left."""

    def __init__(self, deployment: Deployment, ledger: Ledger) -> None:
        self._deployment, self._ledger = deployment, ledger
        self._drops: list[dict[str, Any]] = []
        self._standing: dict[_Origin, Standing] = {}
        self._feeds: dict[tuple[str, str], _OfFeed] = {}
        self._parts: dict[str, list[Part]] = {}
        self._lists: dict[str, dict[_Origin, tuple[Path, frozenset[str]]]] = {}
        self._first: dict[tuple[str, str], str] = {}

    def load(self) -> Landed:
        """Read the ledger from the start."""
        for entry in self._ledger.entries("drop_landed", "drop_copy"):
            if entry.kind == "drop_landed":
                self.add(entry.seq, entry.payload)
            else:
                self.add_copy(entry.payload)
        return self

    def add(self, seq: int, drop: dict[str, Any]) -> None:
        """A drop that has just been recorded."""
        entity, file_id = drop["entity"], drop["file_id"]
        feed = self._of(drop["source"], entity)
        self._drops.append(drop)
        self._first.setdefault((entity, drop["sha256"]), drop["source"])
        feed.entries.append((seq, drop))
        feed.by_bytes.setdefault(drop["sha256"], []).append(drop)
        if drop.get("columns"):
            feed.mapped[tuple(drop["columns"])] = None
        # What is said of a drop later is no delivery.
        if not drop.get("readmits"):
            self._name(feed, drop)
        made = _parts_of(self._deployment, seq, drop)
        feed.parts.extend(made)
        feed.rows[file_id] += sum(part.rows for part in made)
        self._parts.setdefault(entity, []).extend(made)
        _stand(self._standing, seq, drop)
        _stand(feed.standing, seq, drop)
        lists = self._lists.setdefault(entity, {})
        for undone in _undo(feed.with_lists, drop):
            feed.gone.subtract(undone["supersedes"]["by_file"])
            lists.pop((undone["source"], entity, undone["file_id"]), None)
        feed.gone.update(drop["supersedes"]["by_file"])
        if drop["supersedes"]["path"]:
            named = frozenset(drop["supersedes"]["by_file"])
            lists[drop["source"], entity, file_id] = self._deployment.data / drop["supersedes"]["path"], named

    def add_copy(self, copy: dict[str, Any]) -> None:
        """A copy of a drop that has just been recorded."""
        self._name(self._of(copy["source"], copy["entity"]), copy)

    def _of(self, source: str, entity: str) -> _OfFeed:
        return self._feeds.setdefault((source, entity), _OfFeed())

    def _name(self, feed: _OfFeed, delivery: dict[str, Any]) -> None:
        feed.named.append(delivery)
        feed.names[delivery["file"]] = delivery

    @property
    def drops(self) -> list[dict[str, Any]]:
        """Payloads in landing order."""
        return list(self._drops)

    def named_of(self, source: str, entity: str) -> list[dict[str, Any]]:
        """Payloads of the drops and of the recorded copies of one feed, in the order in which their names were met."""
        return list(self._of(source, entity).named)

    def last_named(self, source: str, entity: str, file: str) -> dict[str, Any] | None:
        """What the name of a file of a feed stands for: the drop or the copy that was delivered under it last."""
        return self._of(source, entity).names.get(file)

    def with_bytes(self, source: str, entity: str, sha256: str) -> list[dict[str, Any]]:
        """Entries of the drops of a feed that have these bytes, in landing order."""
        return self._of(source, entity).by_bytes.get(sha256, [])

    def first_source(self, entity: str, sha256: str) -> str | None:
        """The source that delivered some bytes of an entity first."""
        return self._first.get((entity, sha256))

    def standing(self) -> list[Standing]:
        """Every drop once, as it stands."""
        return list(self._standing.values())

    def standing_of(self, source: str, entity: str) -> list[Standing]:
        """The drops of one feed, as they stand."""
        return list(self._of(source, entity).standing.values())

    def drop(self, origin: _Origin) -> Standing | None:
        """A drop as it stands, see :func:`origin_of`; None where another landing has taken its place."""
        return self._standing.get(origin)

    def mapped(self, source: str, entity: str) -> list[tuple[str, ...]]:
        """The sets of columns, sorted, that the mappings of a feed have had, where rows have no keys of their own."""
        return list(self._of(source, entity).mapped)

    def drop_of(self, source: str, entity: str) -> dict[str, str]:
        """File id of each part of a feed → the drop that it is of."""
        return {file_id: drop.payload["file_id"] for drop in self.standing_of(source, entity) for file_id in drop.file_ids}

    def counting_ids(self, entity: str, source: str | None = None) -> set[str]:
        """File ids of the parts whose rows may count: those of the drops that stand, but for what another file has replaced or waits again."""
        feeds = [feed for of, feed in self._feeds.items() if of[1] == entity and source in (None, of[0])]
        return {file_id for feed in feeds for drop in feed.standing.values() for file_id in drop.counting_ids}

    def entries(self, source: str, entity: str) -> list[tuple[int, dict[str, Any]]]:
        """Sequence numbers and payloads of all entries about the drops of one feed."""
        return list(self._of(source, entity).entries)

    def parts(self, entity: str, source: str | None = None) -> list[Part]:
        """Parts of an entity, of one source or all."""
        return list(self._parts.get(entity, []) if source is None else self._of(source, entity).parts)

    def in_force(self, entity: str, source: str) -> list[Part]:
        """Parts of one feed whose file has any row that is not superseded."""
        feed = self._of(source, entity)
        return [part for part in feed.parts if feed.gone[part.file_id] < feed.rows[part.file_id]]

    def superseded(self, entity: str, of: Collection[str] | None = None) -> list[Path]:
        """Files that list superseded rows of an entity; ``of``: those alone that list rows of these file ids."""
        return [path for path, named in self._lists.get(entity, {}).values() if of is None or not named.isdisjoint(of)]

    def with_lists(self, source: str, entity: str) -> list[dict[str, Any]]:
        """:func:`with_lists` of one feed's entries, those that list rows."""
        return [drop for drop in self._of(source, entity).with_lists.values() if drop["supersedes"]["path"]]


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


def standing_drops(ledger: Ledger) -> list[Standing]:
    """:func:`standing` of what the ledger knows."""
    return standing(landed(ledger))


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


# What the ledger says of a part under the names that it has here; of documents where it holds bills.
_OF_PART = ("period", "rows", "sha256", *(f"{end}_{of}" for of in ("key", "document", "referred") for end in ("min", "max")))


def _parts_of(deployment: Deployment, seq: int, drop: dict[str, Any]) -> list[Part]:
    return [
        Part(
            path=deployment.data / part["path"],
            entity=drop["entity"],
            source=drop["source"],
            file_id=drop["file_id"],
            seq=seq,
            position=drop.get("position", seq),
            **{name: part.get(name) for name in _OF_PART},
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
