"""The walk over the drops folder: which files each feed names, and which of them are not landed yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.mapping import Feed, SourceMapping
from orchestration.ingest.parts import Landed, file_stat, is_known_by_stat
from orchestration.ingest.reading import Unreadable, sha256_of


@dataclass(frozen=True)
class Found:
    """A file that a feed names. ``sha256`` is None and ``problem`` set where its bytes cannot be read at all.

    ``stat`` is from before the bytes were hashed, so that a file that is still growing shows.
    """

    feed: Feed
    path: Path
    name: str
    is_landed: bool
    sha256: str | None = None
    stat: dict[str, int] | None = None
    problem: str | None = None


def in_landing_order(mappings: Iterable[SourceMapping]) -> list[Feed]:
    """Feeds of referenced entities first, then by source."""
    order = list(load_contracts())
    feeds = [feed for mapping in mappings for feed in mapping.feeds]
    return sorted(feeds, key=lambda feed: (order.index(feed.entity), feed.source))


def walk(deployment: Deployment, known: Landed, feeds: Iterable[Feed]) -> Iterator[Found]:
    """Every file that a feed names, feed by feed, in name order. Bytes are read only where size or time is new."""
    by_name = {(drop["source"], drop["entity"], drop["file"]): drop for drop in known.drops}
    here = {(drop["source"], drop["entity"], drop["sha256"]) for drop in known.drops}
    _check_folders(deployment)
    digests: dict[Path, tuple[str, dict[str, int]]] = {}
    for feed in feeds:
        seen: set[str] = set()
        for path in sorted(deployment.drops.glob(feed.config.files), key=lambda path: str(path.relative_to(deployment.drops))):
            name = str(path.relative_to(deployment.drops))
            if not name.isprintable() and (shown := os.fsencode(name).decode("utf-8", "backslashreplace")) != name:
                yield Found(feed, path, shown, False, problem="its name is no UTF-8 text")
                continue
            if is_known_by_stat(path, by_name.get((feed.source, feed.entity, name))):
                yield Found(feed, path, name, True)
                continue
            try:
                if path not in digests:
                    # A folder or a link to nothing has no bytes; sha256_of says which it is.
                    stat = file_stat(path) if path.exists() else {}
                    digests[path] = sha256_of(path), stat
            except Unreadable as err:
                yield Found(feed, path, name, False, problem=str(err))
                continue
            sha256, stat = digests[path]
            yield Found(feed, path, name, (feed.source, feed.entity, sha256) in here or sha256 in seen, sha256, stat)
            seen.add(sha256)


def _check_folders(deployment: Deployment) -> None:
    """A folder that cannot be listed looks like an empty one to a glob, and its drops would be missed in silence."""

    def stop(err: OSError) -> None:
        raise Failed(f"the folder cannot be listed: {err.strerror}", str(err.filename), "give the process permission to read it") from err

    for _ in os.walk(deployment.drops, onerror=stop):
        pass
