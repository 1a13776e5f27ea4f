"""The walk over the drops folder: which files each feed names, and which of them are not landed yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.copies import Deliveries
from orchestration.ingest.mapping import Feed, SourceMapping
from orchestration.ingest.names import matching
from orchestration.ingest.parts import Landed, file_stat, is_known_by_stat
from orchestration.ingest.reading import Unreadable, sha256_of

_HASHED_AT_ONCE = 2


@dataclass(frozen=True)
class Found:
    """A file that a feed names. ``sha256`` is None and ``problem`` set where its bytes cannot be read at all.

    ``stat`` is from before the bytes were hashed, so that a file that is still growing shows. ``copy_of``: the drop whose bytes a
    landed file has under a name that is not recorded yet. ``file_id``: of the landing of a file that is not landed; ``repeats``:
    the walk has met its bytes before, so that it may turn out a copy once those have landed.
    """

    feed: Feed
    path: Path
    name: str
    is_landed: bool
    sha256: str | None = None
    stat: dict[str, int] | None = None
    problem: str | None = None
    copy_of: str | None = None
    file_id: str = ""
    repeats: bool = False


def in_landing_order(mappings: Iterable[SourceMapping]) -> list[Feed]:
    """Feeds of referenced entities first, then by source."""
    order = list(load_contracts())
    feeds = [feed for mapping in mappings for feed in mapping.feeds]
    return sorted(feeds, key=lambda feed: (order.index(feed.entity), feed.source))


def walk(deployment: Deployment, known: Landed, feeds: Iterable[Feed]) -> Iterator[Found]:
    """Every file that a feed names, feed by feed, in name order. Bytes are read only where size or time is new."""
    deliveries = Deliveries(known)
    _check_folders(deployment)
    digests: dict[Path, tuple[str, dict[str, int]] | Unreadable] = {}
    # Hashing lets go of the interpreter: two files at a time.
    with ThreadPoolExecutor(_HASHED_AT_ONCE, thread_name_prefix="hash") as pool:
        for feed in feeds:
            paths = sorted(matching(deployment.drops, feed.config.files), key=lambda path: str(path.relative_to(deployment.drops)))
            names = {path: str(path.relative_to(deployment.drops)) for path in paths}
            last = {path: known.last_named(feed.source, feed.entity, name) for path, name in names.items() if _is_text(name)}
            unread = {path for path, delivery in last.items() if not is_known_by_stat(path, delivery)}
            fresh = [path for path in paths if path in unread and path not in digests]
            digests |= zip(fresh, pool.map(_digest, fresh), strict=True)
            for path, name in names.items():
                if not _is_text(name):
                    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
                    yield Found(feed, path, shown, False, problem="its name is no UTF-8 text")
                    continue
                if path not in unread:
                    yield Found(feed, path, name, True)
                    continue
                digest = digests[path]
                if isinstance(digest, Unreadable):
                    yield Found(feed, path, name, False, problem=str(digest))
                    continue
                sha256, stat = digest
                if original := deliveries.original(feed, name, sha256):
                    named = any(drop["file"] == name for drop in deliveries.landed(feed, sha256))
                    yield Found(feed, path, name, True, sha256, stat, copy_of=None if named else original)
                    continue
                file_id, repeats = deliveries.next_id(feed, sha256)
                yield Found(feed, path, name, False, sha256, stat, file_id=file_id, repeats=repeats)


def _is_text(name: str) -> bool:
    return name.isprintable() or os.fsencode(name).decode("utf-8", "backslashreplace") == name


def _digest(path: Path) -> tuple[str, dict[str, int]] | Unreadable:
    """SHA-256 of a file and its size and time from before it was read, or why it has none."""
    try:
        # A folder or a link to nothing has no bytes; sha256_of says which it is.
        stat = file_stat(path) if path.exists() else {}
        return sha256_of(path), stat
    except Unreadable as err:
        return err


def _check_folders(deployment: Deployment) -> None:
    """A folder that cannot be listed looks like an empty one to a glob, and its drops would be missed in silence."""

    def stop(err: OSError) -> None:
        raise Failed(f"the folder cannot be listed: {err.strerror}", str(err.filename), "give the process permission to read it") from err

    for _ in os.walk(deployment.drops, onerror=stop):
        pass
