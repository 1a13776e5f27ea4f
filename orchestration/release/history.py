"""Lists of what was published, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.deployment import Deployment
from orchestration.errors import BadInput, Failed, Mismatch, TierhouseError
from orchestration.interruption import is_interruption
from orchestration.ledger.readers import releases_in_catalog
from orchestration.ledger.store import Entry, Ledger
from orchestration.locking import exclusive
from orchestration.release.catalog import pointer_if_whole, publish_catalog, recorded_catalog
from orchestration.release.folder import MANIFEST, changed_files
from orchestration.release.record import release_entry
from orchestration.release.recovery import recover

if TYPE_CHECKING:
    from orchestration.channels import Delivery

Say = Callable[[str], None]


def list_releases(deployment: Deployment, ledger: Ledger) -> list[dict[str, Any]]:
    """All releases in the order made: {release, period, revision, at, visible, cutoff_seq, manifest_hash, rows, …}."""
    visible = set(releases_in_catalog(ledger).values())
    return [{**e.payload, "at": e.at, "seq": e.seq, "visible": e.payload["release"] in visible} for e in ledger.entries("release")]


def list_catalogs(ledger: Ledger) -> list[dict[str, Any]]:
    """All catalogs in the order published: {catalog, at, periods, previous, changed, cause}."""
    return [{**e.payload, "at": e.at, "seq": e.seq} for e in ledger.entries("catalog")]


def rollback(deployment: Deployment, ledger: Ledger, to_catalog: int | None, reason: str, requested_by: str, *, say: Say) -> dict[str, Any]:
    """Let readers see an earlier catalog again (default: the one before the standing one) and tell the channels.

    The way back is a new catalog with the earlier one's revisions; nothing is deleted. One that readers or channels have not got, because it
    was stopped or a channel could not be served, is finished first, whatever the reason that is given now (``finishes_earlier_one`` of the
    result): to go further back takes a ``to_catalog``. Raises BadInput for a catalog that does not exist or stands already, or without a reason and a requester; Failed or
    Mismatch where the files of a release that it brings back are gone or were changed; Failed, too, where a channel cannot be served: the
    catalog stands then.
    """
    if not reason.strip() or not requested_by.strip():
        raise BadInput("a rollback needs a reason and a requester", "rollback", "add --reason TEXT and --by NAME")
    with exclusive(deployment, "rollback"):
        stopped = _unfinished(deployment, ledger)
        recover(deployment, ledger, say)
        # What a run that was stopped has recorded is published by now, and the rollback stands no more.
        if stopped is not None and stopped == ledger.last("catalog") and to_catalog in (None, stopped.payload["cause"]["to"]):
            cause = stopped.payload["cause"]
            say(
                f"catalog {stopped.payload['catalog']}: the rollback to catalog {cause['to']}, asked for by {cause['requested_by']} "
                f"({cause['reason']}), was not finished, and is now; to go further back name a catalog (--to)"
            )
            return _result(stopped.payload, _told(deployment, ledger, stopped.payload, say), finishes_earlier_one=True)
        entries = {int(e.payload["catalog"]): e for e in ledger.entries("catalog")}
        if not entries:
            raise BadInput(
                "nothing was published yet, so there is nothing to go back to", "rollback", "list releases: `tierhouse releases`"
            )
        standing = max(entries)
        target = _origin(entries, standing) - 1 if to_catalog is None else to_catalog
        if target not in entries:
            known = f"{min(entries)} to {max(entries)}"
            what = f"there is no catalog before {standing}" if to_catalog is None else f"there is no catalog {target}"
            raise BadInput(what, "rollback", f"catalogs {known} exist; list them: `tierhouse releases`")
        periods = dict(entries[target].payload["periods"])
        if periods == entries[standing].payload["periods"]:
            raise BadInput(
                f"catalog {target} stands already (as catalog {standing})", "rollback", "name another: `tierhouse releases` lists them"
            )
        for name in sorted(set(periods.values()) - set(entries[standing].payload["periods"].values())):
            _check_whole(deployment.releases / name, release_entry(ledger, name))
        cause = {"kind": "rollback", "to": target, "from": standing, "reason": reason.strip(), "requested_by": requested_by.strip()}
        catalog = publish_catalog(deployment, ledger, periods, cause)
        say(f"catalog {catalog.catalog}: back to what catalog {target} showed")
        payload = {**catalog.as_json(), "cause": cause}
        return _result(payload, _told(deployment, ledger, payload, say))


def _told(deployment: Deployment, ledger: Ledger, catalog: dict[str, Any], say: Say) -> list[Delivery]:
    """The channels are told; Failed, with which of them are not and why, where one cannot be served: nothing was refused, the catalog stands."""
    from orchestration.channels import deliver

    try:
        return deliver(deployment, ledger, say=say)
    except TierhouseError as err:
        if is_interruption(err):
            raise
        without = _without(deployment, ledger)
        raise Failed(
            f"catalog {catalog['catalog']} stands now, with what catalog {catalog['cause']['to']} showed, and "
            f"{', '.join(without) or 'the channels'} {'has' if len(without) == 1 else 'have'} not got it: {err.what}",
            err.where,
            f"{err.remedy}; the same command then sends what is outstanding, and so does the next run; to go further back name a catalog (--to)",
        ) from err


def _without(deployment: Deployment, ledger: Ledger) -> list[str]:
    """Channels that have not got the standing catalog, by any contract; none where seeds that are refused leave nobody to say: whatever state
    the policies are in, a rollback is carried out."""
    from orchestration.channels import pending

    standing = recorded_catalog(ledger.last("catalog")).catalog
    have = {entry.payload["channel"] for entry in ledger.entries("delivery") if entry.payload["catalog"] == standing}
    try:
        return [channel for channel in pending(deployment, ledger) if channel not in have]
    except BadInput:
        return []


def _check_whole(folder: Path, entry: Entry) -> None:
    """Failed if the files of a release are gone, Mismatch if they are others than were released: readers and channels would get them."""
    remedy = "restore it from a backup, or name a catalog without it"
    if not (folder / MANIFEST).is_file():
        raise Failed(f"release {folder.name} is not there any more", str(folder), remedy)
    if changed := changed_files(folder, entry.payload.get("manifest_hash")):
        raise Mismatch(f"{folder.name} was changed after it was released: {', '.join(changed)}", str(folder), remedy)


def _unfinished(deployment: Deployment, ledger: Ledger) -> Entry | None:
    """The rollback that made the standing catalog, if readers or channels have not got it."""
    standing = ledger.last("catalog")
    if standing is None or standing.payload["cause"]["kind"] != "rollback":
        return None
    is_seen = pointer_if_whole(deployment) == recorded_catalog(standing)
    return None if is_seen and not _without(deployment, ledger) else standing


def _result(catalog: dict[str, Any], deliveries: Sequence[Delivery], *, finishes_earlier_one: bool = False) -> dict[str, Any]:
    cause = catalog["cause"]
    return {
        "catalog": cause["to"],
        "new_catalog": catalog["catalog"],
        "from_catalog": cause["from"],
        "periods": catalog["periods"],
        "reason": cause["reason"],
        "requested_by": cause["requested_by"],
        "finishes_earlier_one": finishes_earlier_one,
        "deliveries": [delivery.as_json() for delivery in deliveries],
    }


def _origin(entries: dict[int, Entry], number: int) -> int:
    """The catalog whose content ``number`` shows, through any rollbacks."""
    cause = entries[number].payload["cause"]
    return _origin(entries, int(cause["to"])) if cause["kind"] == "rollback" else number
