"""Which periods are closed: all promised files are there, and what the source says of them agrees."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import duckdb

from orchestration.deployment import Config, Deployment
from orchestration.errors import BadInput
from orchestration.ingest.copies import delivered
from orchestration.ingest.mapping import Feed, load_mappings
from orchestration.ingest.names import base_name, matching
from orchestration.ingest.parts import Landed, Standing
from orchestration.ingest.quarantine import corrected_since
from orchestration.ingest.reading import Unreadable, sha256_of
from orchestration.ingest.replacement import deliveries_of, replaced_bytes, replaced_names, replacements
from orchestration.ingest.totals import ControlTotal, compare, recorded_totals, stated
from orchestration.ledger.store import Ledger
from orchestration.periods import periods_between
from orchestration.wording import counted

# Stands for every period: a problem with a drop whose period is not known.
ANY_PERIOD = "*"
# Words of the only problem that is about rows, not about files.
BAD_SHARE = "of the rows are bad"
# Periods that a feed has begun or promised, each with a problem that keeps it open, or None.
Problems = Iterator[tuple[str, str | None]]


def open_periods(deployment: Deployment, ledger: Ledger) -> dict[str, list[str]]:
    """Open periods and why, as last recorded; the key ``*`` holds problems that concern every period."""
    last = {(e.payload["source"], e.payload["entity"], e.payload["period"]): e.payload for e in ledger.entries("period_status")}
    found: dict[str, list[str]] = {}
    for status in last.values():
        if not status["closed"]:
            found.setdefault(status["period"], []).extend(status["problems"])
    return dict(sorted(found.items()))


def record_status(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    ledger: Ledger,
    known: Landed,
    feeds: list[Feed],
    totals: dict[str, list[ControlTotal]],
) -> None:
    """Work out every feed's periods and record those whose state has changed. What a feed that is mapped no more promised is closed."""
    drops: dict[tuple[str, str], list[dict[str, Any]]] = {(feed.source, feed.entity): [] for feed in feeds}
    for drop in delivered(ledger):
        drops.setdefault((drop["source"], drop["entity"]), []).append(drop)
    refused = [entry.payload for entry in ledger.entries("drop_refused")]
    last = {(e.payload["source"], e.payload["entity"], e.payload["period"]): e.payload for e in ledger.entries("period_status")}
    begun = _begun(feeds, drops, deployment)
    recorded = recorded_totals(ledger)
    for feed in feeds:
        mine = drops[feed.source, feed.entity]
        # As recorded: control files may be taken away like the drops that they speak of.
        told = recorded.get((feed.source, feed.entity), {})
        mine_refused = [r for r in refused if (r["source"], r["entity"]) == (feed.source, feed.entity) and _is_refused(deployment, r, mine)]
        said = replacements(told, [])
        replaced = replaced_names(said, [base_name(drop["file"]) for drop in mine])
        lost, sent_again = _taken_back(known, feed, said)
        # Only what is bad enough to hold a period is looked at.
        bad = [drop for drop in mine if "copy_of" not in drop and _has_too_many_bad(drop, 0, deployment.config)]
        here = _Delivered(mine, mine_refused, replaced | sent_again, lost, corrected_since(con, deployment, known, bad))
        problems = _problems(feed, here, stated(feed, totals.get(feed.id, []), told), begun, deployment)
        without = _without_total(feed, here, told) if feed.config.control else ()
        found: dict[str, list[str]] = {period: [] for source, entity, period in last if (source, entity) == (feed.source, feed.entity)}
        for period, text in chain(problems, without):
            found.setdefault(period, []).extend([text] if text else [])
        for period, texts in sorted(found.items()):
            _record(ledger, last, feed.source, feed.entity, period, texts)
    for source, entity, period in last:
        if not any((source, entity) == (feed.source, feed.entity) for feed in feeds):
            _record(ledger, last, source, entity, period, [])


def _taken_back(known: Landed, feed: Feed, said: dict[str, str]) -> tuple[set[str], set[str]]:
    """Of the drops that were taken back, and no total says any more that another file replaces them: the file ids of those whose bytes count
    nowhere, and the base names of the others."""
    standing = known.standing_of(feed.source, feed.entity)
    gone = replaced_bytes(said, deliveries_of(known, feed))
    counting = {drop.payload["sha256"] for drop in standing if not drop.is_replaced}
    left = [drop.payload for drop in standing if drop.is_replaced and drop.payload["sha256"] not in gone]
    # A name under which something else came since stands for that.
    last = {item["file"]: item["sha256"] for item in known.named_of(feed.source, feed.entity)}
    left = [drop for drop in left if last[drop["file"]] == drop["sha256"]]
    names = {base_name(drop["file"]) for drop in left if drop["sha256"] in counting and not _counts_as(standing, drop["file"])}
    return {drop["file_id"] for drop in left if drop["sha256"] not in counting}, names


def _counts_as(standing: list[Standing], file: str) -> bool:
    return any(drop.payload["file"] == file and not drop.is_replaced for drop in standing)


def _record(
    ledger: Ledger, last: dict[tuple[str, str, str], dict[str, Any]], source: str, entity: str, period: str, texts: list[str]
) -> None:
    payload = {"source": source, "entity": entity, "period": period, "closed": not texts, "problems": texts}
    if last.get((source, entity, period)) != payload:
        ledger.append("period_status", payload)


def _is_refused(deployment: Deployment, refusal: dict[str, Any], drops: list[dict[str, Any]]) -> bool:
    """Whether what was refused lies there still: not when the source has sent it again, under its name too, or another mapping could read it."""
    path = deployment.drops / refusal["file"]
    if not path.exists() and not path.is_symlink():
        return False
    try:
        sha256 = sha256_of(path)
    except Unreadable:
        return refusal["sha256"] is None
    return refusal["sha256"] == sha256 and all(drop["sha256"] != sha256 for drop in drops)


def refused_drops(deployment: Deployment, ledger: Ledger) -> list[dict[str, str]]:
    """What was refused whole, lies in the drops folder still and is named by a feed still, with the newest ``message``; in the order of names.

    While the mappings cannot be read, which the next ingest says, all that lies there is taken to be named.
    """
    feeds: list[Feed] | None = None
    with contextlib.suppress(BadInput):
        feeds = [feed for mapping in load_mappings(deployment) for feed in mapping.feeds]
    drops = delivered(ledger)
    of_feed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for refusal in (entry.payload for entry in ledger.entries("drop_refused")):
        of_feed.setdefault((refusal["source"], refusal["entity"]), []).append(refusal)
    found: dict[str, str] = {}
    for of, refusals in of_feed.items():
        mine = [drop for drop in drops if (drop["source"], drop["entity"]) == of]
        named = {path for feed in feeds or () if (feed.source, feed.entity) == of for path in matching(deployment.drops, feed.config.files)}
        for refusal in refusals:
            if (feeds is None or deployment.drops / refusal["file"] in named) and _is_refused(deployment, refusal, mine):
                found[refusal["file"]] = refusal["message"]
    return [{"file": file, "message": message} for file, message in sorted(found.items())]


def _begun(feeds: list[Feed], drops: dict[tuple[str, str], list[dict[str, Any]]], deployment: Deployment) -> tuple[str, str] | None:
    """The first and the last period for which a promised file may be missed. ``drops``: those of each source and entity.

    Of all sources, because one that never delivers names no period itself. Where no file's name has one, the rows' periods tell;
    a bill dated ahead begins no month.
    """
    mapped = [(feed, drop) for feed in feeds for drop in drops[feed.source, feed.entity]]
    # Asked of the mapping as it is: a promise may be written down or corrected after its files have landed.
    named = [period for feed, drop in mapped if (period := feed.period_of(drop["file"]))]
    this_month = f"{deployment.today():%Y-%m}"
    known = named or [period for _, drop in mapped for period in drop["periods"] if period <= this_month]
    if not known or max(known) < deployment.config.first_period:
        return None
    return max(min(known), deployment.config.first_period), max(known)


@dataclass(frozen=True)
class _Delivered:
    """What one feed has delivered: its standing ``drops`` and their copies, what lies there ``refused``, and the base names of drops that
    others ``replaced``. ``lost``: file ids of drops of which none of the rows counts, though no total says any more that another file replaces
    them. ``corrected``: file id → how many of its rejected rows a later drop has brought."""

    drops: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    replaced: set[str]
    lost: set[str]
    corrected: dict[str, int]


def _without_total(feed: Feed, here: _Delivered, told: Collection[str]) -> Problems:
    """Drops of a feed with control totals for which none was ever stated. ``told``: base names for which one was."""
    for drop in here.drops:
        if base_name(drop["file"]) not in here.replaced.union(told) and "copy_of" not in drop:
            for period in _periods(feed, drop, drop["file"]):
                yield period, f"{feed.id}: no control total says what {drop['file']} should hold"


def _missing_files(feed: Feed, here: _Delivered, standing: Iterable[str], begun: tuple[str, str] | None) -> Problems:
    """Periods for which a feed promises files, and of which of them too few are among those ``standing``. ``begun``: see :func:`_begun`."""
    if feed.config.expected is None:
        return
    counts = Counter(period for file in standing if (period := feed.period_of(file)))
    wanted = feed.config.expected.files_per_period
    for period in _promised(feed, begun, counts):
        have = counts[period]
        copies = [
            f"{drop['file']} has the bytes of {drop['copy_of']}"
            for drop in here.drops
            if "copy_of" in drop and feed.period_of(drop["file"]) == period
        ]
        missing = "; ".join([f"{have} of {wanted} promised files for {period} are there", *copies])
        yield period, None if have >= wanted else f"{feed.id}: {missing}"


def _other_than_stated(deployment: Deployment, feed: Feed, here: _Delivered, totals: list[ControlTotal]) -> Problems:
    """Control totals that a drop does not agree with, or that announce one that is not there."""
    last = {base_name(drop["file"]): drop for drop in here.drops}
    for total in totals:
        if total.file in here.replaced:
            continue
        announced = last.get(total.file)
        periods = _periods(feed, announced, announced["file"] if announced else total.file)
        # A name that was never right would hold every month for good. Of what an earlier state recorded nobody knows whether it was taken back.
        if announced is None and not total.is_there and (not total.stated_in or periods == [ANY_PERIOD]):
            continue
        text = _disagreement(deployment, feed, total, announced)
        yield from ((period, text) for period in periods)


def _too_bad(feed: Feed, here: _Delivered, counted: list[dict[str, Any]], newest: dict[str, dict[str, Any]], config: Config) -> Problems:
    """Drops with more bad rows than are allowed, less those that have been sent right since."""
    for drop in counted:
        # A name without a period may be used for the next month: what was bad before it is not sent again.
        is_newest = drop is newest.get(drop["file"]) or not feed.period_of(drop["file"])
        if _has_too_many_bad(drop, 0, config) and is_newest and base_name(drop["file"]) not in here.replaced:
            sent_right = here.corrected.get(drop["file_id"], 0)
            if not _has_too_many_bad(drop, sent_right, config):
                continue
            share = 100 * (drop["quarantined"] - sent_right) / _rows_of(drop)
            text = f"{feed.id}: {share:.1f} % {BAD_SHARE} in {drop['file']} (allowed: {100 * config.max_bad_share:g} %)"
            yield from ((period, text) for period in _periods(feed, drop, drop["file"]))


def _problems(feed: Feed, here: _Delivered, totals: list[ControlTotal], begun: tuple[str, str] | None, deployment: Deployment) -> Problems:
    """What keeps periods of one feed open. ``begun``: the first and the last period that any source has begun."""
    # A file that was sent again is one file, under its name or another. A copy counts where it takes the place of what it repeats.
    counted = [drop for drop in here.drops if "copy_of" not in drop or base_name(drop["copy_of"]) in here.replaced]
    newest = {drop["file"]: drop for drop in counted if base_name(drop["file"]) not in here.replaced}
    lost = {file: drop for file, drop in newest.items() if drop["file_id"] in here.lost}
    newest = {file: drop for file, drop in newest.items() if file not in lost}
    yield from _missing_files(feed, here, newest, begun)
    for file, drop in lost.items():
        for period in _periods(feed, drop, file):
            yield (
                period,
                f"{feed.id}: none of the rows of {file} counts, another file had replaced it, and its control total no longer says so: "
                "it must be sent under a new name",
            )
    yield from _other_than_stated(deployment, feed, here, totals)
    yield from _too_bad(feed, here, counted, newest, deployment.config)
    # The same bytes may have been refused under several mappings: the last one says why.
    for refusal in {refusal["file"]: refusal for refusal in here.refused}.values():
        if named := feed.period_of(refusal["file"]):
            yield named, f"{feed.id}: {refusal['file']} was refused: {refusal['message']}"


def _promised(feed: Feed, begun: tuple[str, str] | None, counts: Iterable[str]) -> list[str]:
    """Periods for which a feed promises files: all that any source has begun, whether or not the feed ever delivered, and its own."""
    ends = [*(begun or ()), *counts]
    since = feed.config.expected.first_period if feed.config.expected else None
    return [period for period in periods_between(min(ends), max(ends)) if period >= (since or period)] if ends else []


def _rows_of(drop: dict[str, Any]) -> int:
    """Rows of a drop that are of its entity."""
    return int(drop["rows_in"] - drop["not_for_entity"])


def _has_too_many_bad(drop: dict[str, Any], corrected: int, config: Config) -> bool:
    """Whether the bad rows of a drop, less those that were ``corrected`` since, are over the allowed share.

    A few are no share: one bad row of fourteen is a slip of the source. A file of which more than half is bad does not fit its mapping,
    however small: a source of many small files would lose most of its rows in silence.
    """
    rows, bad = _rows_of(drop), drop["quarantined"] - corrected
    return bool(bad > config.max_bad_share * rows and (bad >= config.min_bad_rows or 2 * bad > rows))


def _periods(feed: Feed, drop: dict[str, Any] | None, name: str) -> list[str]:
    by_name = feed.period_of(name)
    if by_name:
        return [by_name]
    return (
        sorted({part["period"] for part in drop["parts"] if part["period"]})
        if drop and any(p["period"] for p in drop["parts"])
        else [ANY_PERIOD]
    )


def _disagreement(deployment: Deployment, feed: Feed, total: ControlTotal, drop: dict[str, Any] | None) -> str | None:
    result = compare(feed, total, drop)
    if result["agrees"]:
        return None
    if drop is None:
        if total.is_there:
            return f"{feed.id}: {total.file} is announced in {total.stated_in} and not there"
        since = "says nothing of it any more" if (deployment.drops / total.stated_in).exists() else "is gone"
        return (
            f"{feed.id}: {total.file} was announced in {total.stated_in}, which {since}, and is not there: "
            "it must be sent, or, if that name was wrong, the control total of another file must say that it replaces it"
        )
    found = None if total.amount is None else result["amount_found"]
    return (
        f"{feed.id}: {total.file} has {_holding(result['rows_found'], found)}, its control total says "
        f"{_holding(total.rows, result['amount_expected'])}"
    )


def _holding(rows: int, amount: str | None) -> str:
    return counted(rows, "row") if amount is None else f"{counted(rows, 'row')} and {amount}"
