"""The catalog: which revision of each period readers see. One pointer file names it and is replaced in one step.

The ledger's last ``catalog`` entry is the truth; ``catalogs/current.json`` follows it, and is put right by ``recover``
if a run was killed between the two. A rollback is a new catalog with an old one's revisions, so numbers only grow.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import Failed, Mismatch
from orchestration.failpoints import failpoint
from orchestration.ingest.files import place, storage_errors
from orchestration.ledger.store import Entry, Ledger

POINTER = "current.json"
# Entries that only a run writes, or what delivers, each of which has recovered before; an ingest alone has not.
_OF_A_RUN = ("build_started", "build", "gate", "release", "confirmation", "delivery")
BEHIND_REMEDY = (
    "restore the newest backup of the ledger; if there is none, take the folders releases and catalogs out of the data folder, and keep them: "
    "runs begin anew then"
)
_POINTER_REMEDY = "run any released month again with `tierhouse run --periods YYYY-MM`: it puts the pointer right from the ledger"


@dataclass(frozen=True)
class Catalog:
    """Number and map period → release id. Number 0: nothing was ever published."""

    catalog: int = 0
    periods: dict[str, str] = field(default_factory=dict)

    @property
    def newest_period(self) -> str | None:
        return max(self.periods, default=None)

    def as_json(self) -> dict[str, Any]:
        return {"catalog": self.catalog, "periods": dict(sorted(self.periods.items()))}


def current_catalog(deployment: Deployment) -> dict[str, Any] | None:
    """What the pointer says: {catalog, periods}; None before the first release. Mismatch if it is no catalog, gone since one was published, or
    ahead of the ledger, which was lost or is an older one then: what it says of releases and rows is not what readers see."""
    catalog = read_pointer(deployment)
    ledger = Ledger(deployment.ledger)
    published = ledger.last("catalog")
    if problem := ahead(catalog, published):
        raise Mismatch(problem, str(deployment.ledger), BEHIND_REMEDY)
    if catalog.catalog:
        return catalog.as_json()
    # A run that is stopped before it moves the first pointer leaves none. What comes after it is proof: the next one moves it first of all.
    if published is not None and (published.payload["catalog"] > 1 or ledger.entries(*_OF_A_RUN, after=published.seq)):
        raise Mismatch(
            "readers see no catalog, and the ledger records what was published", str(deployment.catalogs / POINTER), _POINTER_REMEDY
        )
    return None


def ahead(pointer: Catalog, published: Entry | None) -> str | None:
    """How the pointer shows that the ledger lacks its last catalogs, or None. ``published``: the last one recorded. A crash leaves a pointer
    behind its entry, never ahead of it."""
    recorded = recorded_catalog(published).catalog
    return (
        f"readers see catalog {pointer.catalog}, and the last that the ledger records is {recorded}" if pointer.catalog > recorded else None
    )


def read_pointer(deployment: Deployment) -> Catalog:
    """The catalog that readers see now, number 0 where there is no pointer; Mismatch if it is no catalog, Failed if it cannot be read."""
    pointer = deployment.catalogs / POINTER
    try:
        content = json.loads(pointer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Catalog()
    except OSError as err:
        raise Failed(f"the catalog's pointer cannot be read: {err.strerror}", str(pointer), "make it readable") from err
    except ValueError:
        content = None
    number, periods = (content.get("catalog"), content.get("periods")) if isinstance(content, dict) else (None, None)
    if not isinstance(number, int) or not isinstance(periods, dict) or not all(isinstance(release, str) for release in periods.values()):
        raise Mismatch("the catalog's pointer names no catalog: it was changed after it was written", str(pointer), _POINTER_REMEDY)
    return Catalog(number, dict(periods))


def pointer_if_whole(deployment: Deployment) -> Catalog | None:
    """:func:`read_pointer`; None where that raises: recovery puts the pointer right from the ledger."""
    try:
        return read_pointer(deployment)
    except (Failed, Mismatch):
        return None


def check_pointer(deployment: Deployment, ledger: Ledger) -> None:
    """Mismatch if what readers see differs from the catalog that the ledger records under its number; see :func:`current_catalog`.

    A pointer that is older than the last catalog is what a stopped run may leave, and the next one puts it right.
    """
    current_catalog(deployment)
    pointer = read_pointer(deployment)
    recorded = {catalog.catalog: catalog for catalog in map(recorded_catalog, ledger.entries("catalog"))}.get(pointer.catalog, Catalog())
    differ = sorted(p for p in {*recorded.periods, *pointer.periods} if recorded.periods.get(p) != pointer.periods.get(p))
    if not differ:
        return
    seen, told = (", ".join(catalog.periods.get(period, "nothing") for period in differ) for catalog in (pointer, recorded))
    raise Mismatch(
        f"of {', '.join(differ)} readers see {seen}, and catalog {pointer.catalog} of the ledger has {told}",
        str(deployment.catalogs / POINTER),
        _POINTER_REMEDY,
    )


def recorded_catalog(entry: Entry | None) -> Catalog:
    """The catalog of a ``catalog`` entry; number 0 for none."""
    return Catalog(int(entry.payload["catalog"]), dict(entry.payload["periods"])) if entry else Catalog()


def publish_catalog(deployment: Deployment, ledger: Ledger, periods: dict[str, str], cause: dict[str, Any]) -> Catalog:
    """Record the next catalog and move the pointer to it. ``cause``: {kind: run | recovery | rollback, …}."""
    before = recorded_catalog(ledger.last("catalog"))
    catalog = Catalog(before.catalog + 1, dict(sorted(periods.items())))
    changed = sorted(p for p in {*before.periods, *periods} if before.periods.get(p) != periods.get(p))
    ledger.append("catalog", {**catalog.as_json(), "previous": before.catalog, "changed": changed, "cause": cause})
    failpoint("catalog.recorded")
    move_pointer(deployment, catalog)
    failpoint("catalog.pointer_moved")
    return catalog


def move_pointer(deployment: Deployment, catalog: Catalog) -> None:
    """Replace the pointer; a reader sees the old one or the new one."""
    with storage_errors(deployment.catalogs):
        deployment.catalogs.mkdir(parents=True, exist_ok=True)
        # Beside the pointer, not in scratch: the replacement is atomic only on one file system.
        temporary = deployment.catalogs / f".{POINTER}.{os.getpid()}"
        temporary.write_text(json.dumps(catalog.as_json(), indent=2) + "\n", encoding="utf-8")
        place(temporary, deployment.catalogs / POINTER)
