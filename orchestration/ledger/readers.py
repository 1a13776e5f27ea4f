"""What the ledger records, as more than one package asks it: the releases that readers see, the periods that are kept from them, what a period
was computed from, a build that was none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.errors import BadInput
from orchestration.ledger.store import Entry, Ledger
from orchestration.periods import add_months

# Recorded once, as the first rows land: of which deployment they are, and the hash of the key of its pseudonyms.
KEY_KIND = "pseudonym_key"


def owner_of(ledger: Ledger) -> str | None:
    """Name of the deployment whose rows the ledger records; None before the first, and where an older version has recorded it by a hash alone."""
    recorded = ledger.last(KEY_KIND)
    owner = recorded.payload.get("deployment") if recorded else None
    return str(owner) if owner else None


def releases_in_catalog(ledger: Ledger) -> dict[str, str]:
    """Period → release id in the catalog that stands; empty before the first."""
    newest = ledger.last("catalog")
    return dict(newest.payload["periods"]) if newest else {}


def payloads_in_catalog(ledger: Ledger) -> list[dict[str, Any]]:
    """Payloads of the ``release`` entries of those, in the order made."""
    visible = set(releases_in_catalog(ledger).values())
    return [entry.payload for entry in ledger.entries("release") if entry.payload["release"] in visible]


def held_periods(ledger: Ledger, first: str = "") -> list[str]:
    """Periods whose newest verdict failed and of which nothing was released since, in order.

    ``first``: the first period that may be run. A period before it cannot be mended any more, and holds nothing where neither it nor one
    before it was ever released: the deployment begins later than it was tried.
    """
    newest: dict[str, Entry] = {}
    began = None
    for entry in ledger.entries("gate", "release"):
        newest[entry.payload["period"]] = entry
        if entry.kind == "release":
            began = min(began or entry.payload["period"], entry.payload["period"])
    held = sorted(period for period, entry in newest.items() if entry.kind == "gate" and not entry.payload["passed"])
    return [period for period in held if period >= first or (began is not None and began <= period)]


def begins_anew(ledger: Ledger, period: str) -> bool:
    """Whether no period before this one was ever released: no level of it is held from before, whatever a run that was never released left."""
    return not any(entry.payload["period"] < period for entry in ledger.entries("release"))


def last_computed(ledger: Ledger, upto: int | None = None) -> dict[str, dict[str, Any]]:
    """Period → what it was computed from last: the record of its newest published revision, or of a later run that confirmed its rows."""
    return {entry.payload["period"]: entry.payload for entry in _computations(ledger, upto)}


def _computations(ledger: Ledger, upto: int | None = None) -> list[Entry]:
    """The entries of published revisions, and of runs that confirmed their rows, in order."""
    in_catalog = {release for entry in ledger.entries("catalog", upto=upto) for release in entry.payload.get("periods", {}).values()}
    return [entry for entry in ledger.entries("release", "confirmation", upto=upto) if entry.payload.get("release") in in_catalog]


def went_on_from(ledger: Ledger) -> dict[str, str | None]:
    """Period → the release that the month before it had been computed as when the period was computed last; None where it had not been.
    Of periods that go on from the month before: where all programs grade events none does."""
    computations = _computations(ledger)
    # A release of an older version does not say it.
    apart = {entry.payload["release"] for entry in computations if not entry.payload.get("carries_levels", True)}
    newest = {entry.payload["period"]: entry for entry in computations}
    newest = {period: entry for period, entry in newest.items() if entry.payload["release"] not in apart}
    found: dict[str, str | None] = dict.fromkeys(newest)
    for entry in computations:
        after = newest.get(add_months(entry.payload["period"], 1))
        if after and entry.seq < after.seq:
            found[after.payload["period"]] = entry.payload["release"]
    return found


def behind_the_month_before(ledger: Ledger) -> set[str]:
    """Periods that went on from another revision of the month before than it was computed as since: their levels are held, and their
    movements counted, from rows that stand no more. Not where what it was computed as is rolled back: no month goes on from that."""
    computed, back = last_computed(ledger), rolled_back(ledger)
    return {
        period
        for period, release in went_on_from(ledger).items()
        if (before := add_months(period, -1)) in computed and before not in back and computed[before]["release"] != release
    }


def rolled_back(ledger: Ledger) -> dict[str, tuple[str, str | None]]:
    """Period → the release that was taken back, and the one that readers see in its place, if any."""
    seen = releases_in_catalog(ledger)
    newest = {period: str(payload["release"]) for period, payload in last_computed(ledger).items()}
    return {period: (release, seen.get(period)) for period, release in sorted(newest.items()) if release != seen.get(period)}


def goes_on_from_unseen(after: str, last: str, back: Mapping[str, tuple[str, str | None]]) -> BadInput:
    """The refusal of ``after``, the month before which is one of ``back``: :func:`rolled_back`, and so to stay.

    The warehouse knows nothing of a rollback. Levels would be held, and movements counted, from what was taken back. ``last``: the last
    month that was asked for.
    """
    start = newest = add_months(after, -1)
    while (before := add_months(start, -1)) in back:
        start = before
    taken, seen = back[newest]
    shown = f"{taken} was rolled back, and readers see {seen or f'nothing of {newest}'}"
    return BadInput(
        f"{after} would go on from what readers do not see: {shown}",
        "--periods",
        f"correct what was wrong and run `tierhouse run --periods {start}..{last}`, which publishes {taken} again where its rows "
        f"are the same, or go back to a catalog with {taken}: `tierhouse releases` lists them",
    )


# Hashes of what a period is computed from, and what it means that one is another now.
_NEWS = {
    "inputs_hash": "drops have landed since its release",
    "policy_hash": "policies differ from those of its release",
    "code_version": "the code differs from that of its release",
}


def what_is_new(computed: Mapping[str, Any] | None, made_from: Mapping[str, Any]) -> str | None:
    """What has become of a period's inputs since it was computed last, in words; None if it would be computed from the same.

    ``computed``: its record in :func:`last_computed`; ``made_from``: ``inputs_hash``, ``policy_hash``, ``code_version`` and ``undelivered`` of now.
    """
    if computed is None:
        return "it is not released"
    for key, words in _NEWS.items():
        if computed.get(key) != made_from[key]:
            return words
    # A release made before this was recorded says nothing of it.
    differ = sorted({*computed.get("undelivered", made_from["undelivered"])} ^ {*made_from["undelivered"]})
    return f"the mappings deliver other entities than at its release ({', '.join(differ)})" if differ else None


@dataclass(frozen=True)
class Begun:
    """dbt was asked to write periods. ``models``: the names of those chosen, none where only tests were; None: all of them."""

    seq: int
    run_id: str
    periods: list[str]
    models: list[str] | None

    def writes(self, model: str) -> bool:
        return self.models is None or model in self.models


def begun(ledger: Ledger) -> list[Begun]:
    """What dbt was asked for, in order. Of runs of an older version only the end is recorded, and they built all models."""
    entries = ledger.entries("build_started", "build")
    started = {entry.payload["run_id"] for entry in entries if entry.kind == "build_started"}
    return [
        Begun(entry.seq, entry.payload["run_id"], entry.payload["periods"], entry.payload.get("models"))
        for entry in entries
        if entry.kind == "build_started" or entry.payload["run_id"] not in started
    ]


def is_of_some_models(ledger: Ledger, run_id: str) -> bool:
    """Whether dbt was asked last for some of the models alone in a run: that makes no candidate."""
    of_run = [each for each in begun(ledger) if each.run_id == run_id]
    return bool(of_run) and of_run[-1].models is not None
