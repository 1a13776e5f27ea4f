"""A mapping that has changed: which drops were landed under an older one, and landing a feed's drops anew. So with the currency and the
time zone of the deployment, which decide as much as a mapping how a file is read.

Never by itself: a mapping may be changed for the files to come, and landing anew restates months. When it is asked for, all
drops of the feed land again in their old order, so that a correction still comes after what it corrects. Each supersedes all
that it landed before. What is asked is recorded first; an ingest that finds it unfinished goes on with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.failpoints import failpoint
from orchestration.ingest.checking import settings_used
from orchestration.ingest.copies import own_id
from orchestration.ingest.finding import Found
from orchestration.ingest.landing import Arrival
from orchestration.ingest.mapping import Feed
from orchestration.ingest.names import matching
from orchestration.ingest.parts import Landed, Standing, asked_again, file_stat, is_known_by_stat, origin_of
from orchestration.ingest.reading import sha256_of
from orchestration.ingest.replacement import replaced_drops
from orchestration.ledger.store import Ledger


def under_older_mapping(deployment: Deployment, known: Landed, feeds: list[Feed]) -> dict[str, list[str]]:
    """Feed id → names of its drops that stand as another mapping than today's read them, or under other settings of the deployment.

    A drop that does not say its settings was landed by a version before they were kept: where there are any, it may have been read otherwise.
    """
    found: dict[str, list[str]] = {}
    for feed in feeds:
        # A drop without the zone of its days in texts was landed by a version that did not record it: hardly any text states a moment there.
        today = [settings_used(feed, deployment.config, days_in_texts=also) for also in (True, False)]
        for drop in _landable(known, feed):
            if drop.payload["mapping_hash"] != feed.mapping_hash or drop.payload.get("settings", {}) not in today:
                found.setdefault(feed.id, []).append(drop.payload["file"])
    return found


def check_currency(deployment: Deployment, known: Landed, landing_anew: Iterable[Standing] = ()) -> None:
    """BadInput if rows count that landed in another currency than today's: two would be added up.

    ``landing_anew``: drops that land anew before anything is made of them.
    """
    anew = {origin_of(drop.payload) for drop in landing_anew}
    for drop in known.standing():
        origin = source, entity, _ = origin_of(drop.payload)
        currency = drop.payload.get("settings", {}).get("currency", deployment.config.currency)
        if currency == deployment.config.currency or origin in anew or drop.is_replaced or not drop.payload["landed"]:
            continue
        raise BadInput(
            f"`currency` is {deployment.config.currency}, and rows in {currency} have landed, the first in {drop.payload['file']}",
            str(deployment.folder / "tierhouse.yaml"),
            "put the currency back, or land all files anew: `tierhouse ingest --again`; rows in another currency go to quarantine then "
            f"(that needs a mapping of {entity} of {source}, also where it has been taken away)",
        )


def _landable(known: Landed, feed: Feed) -> list[Standing]:
    """The drops of a feed that can land anew, in the order in which they landed first, also where some of them have landed anew since: nothing
    would come of one that another file has replaced."""
    drops = [drop for drop in known.standing_of(feed.source, feed.entity) if not drop.is_replaced]
    return sorted(drops, key=lambda drop: drop.first_seq)


def unfinished(ledger: Ledger, known: Landed, feeds: list[Feed]) -> list[tuple[Feed, Standing]]:
    """Drops that were asked to be landed anew and have not been, in landing order within a feed."""
    asked = asked_again(ledger)
    return [(feed, drop) for feed in feeds for drop in _landable(known, feed) if drop.seq < asked.get((feed.source, feed.entity), 0)]


def to_land_anew(
    deployment: Deployment, ledger: Ledger, known: Landed, feeds: list[Feed], said: dict[str, dict[str, str]], *, again: bool
) -> list[tuple[Found, Arrival]]:
    """Drops that are to land anew, as they lie now, and what each replaces: what was left unfinished, and under ``again``
    all of the feeds with a changed mapping. BadInput if one is no longer there.

    ``said``: feed id → what its totals say, see :func:`replacements`. A drop that is taken back before anything lands is left out.
    """
    changed = under_older_mapping(deployment, known, feeds) if again else {}
    begun = unfinished(ledger, known, feeds)
    wanted = [(feed, drop) for feed, drop in begun if feed.id not in changed]
    wanted += [(feed, drop) for feed in feeds if feed.id in changed for drop in _landable(known, feed)]
    taken_back = {drop.payload["file_id"] for feed in feeds for drop in replaced_drops(known, feed, said[feed.id])}
    wanted = [(feed, drop) for feed, drop in wanted if drop.payload["file_id"] not in taken_back]
    times = Counter((entry.payload["source"], entry.payload["entity"]) for entry in ledger.entries("landing_again"))
    found = []
    for feed, drop in wanted:
        path = _locate(deployment, feed, drop, is_begun=any(other.id == feed.id for other, _ in begun))
        sha256 = drop.payload["sha256"]
        name, stat = str(path.relative_to(deployment.drops)), file_stat(path)
        # Every landing of the same bytes has a name of its own, so that nothing that counts is ever written over.
        number = times[feed.source, feed.entity] + (2 if feed.id in changed else 1)
        arrival = Arrival(name, sha256, stat, f"{own_id(drop.payload['file_id'])}-{number}", drop.file_ids)
        found.append((Found(feed, path, name, True, sha256, stat), arrival))
    return found


def ask_again(deployment: Deployment, ledger: Ledger, known: Landed, feeds: list[Feed]) -> None:
    """Record that the feeds with a changed mapping are to be landed anew."""
    changed = under_older_mapping(deployment, known, feeds)
    for feed in [feed for feed in feeds if feed.id in changed]:
        ledger.append("landing_again", {"source": feed.source, "entity": feed.entity, "mapping_hash": feed.mapping_hash})
    failpoint("ingest.again_recorded")


def _locate(deployment: Deployment, feed: Feed, drop: Standing, *, is_begun: bool) -> Path:
    """The file with the bytes of ``drop``, under its old name or another. ``is_begun``: its feed was asked for before, and is not done."""
    named: Path = deployment.drops / drop.payload["file"]
    if named.exists() and is_known_by_stat(named, drop.payload):
        return named
    for path in [named, *sorted(matching(deployment.drops, feed.config.files))]:
        if path.is_file() and path.stat().st_size == drop.payload["bytes"] and sha256_of(path) == drop.payload["sha256"]:
            return path
    raise BadInput(
        f"{drop.payload['file']} was landed under an older mapping, or another currency or time zone, and is no longer in the drops folder, so {feed.id} cannot be landed anew",
        str(named),
        "put the file back, all files of the feed are needed in their order; "
        + (
            "landing them anew was begun by an earlier ingest, and nothing else lands before it is done"
            if is_begun
            else "or go on without --again"
        ),
    )
