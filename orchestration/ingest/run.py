"""Ingest: find new drops, check every mapping against them, land them in order, then see which periods are closed.

Idempotent: bytes that are landed are known, and nothing happens. Nothing is landed while any mapping is wrong.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.failpoints import failpoint
from orchestration.ingest.checking import PERIOD_TYPE, Scan, build_scan
from orchestration.ingest.closing import BAD_SHARE, open_periods, record_status
from orchestration.ingest.copies import Deliveries, copy_payload
from orchestration.ingest.credit_notes import settle_notes
from orchestration.ingest.drops import Drop, columns_of, open_drop, survey, unpivoted
from orchestration.ingest.expressions import nearest, nearest_column
from orchestration.ingest.files import close_to_others, storage_errors
from orchestration.ingest.finding import Found, in_landing_order, walk
from orchestration.ingest.irreplaceable import record_key, require_vault, salt
from orchestration.ingest.landing import Arrival, Changed, land
from orchestration.ingest.mapping import Feed, SourceMapping, load_mappings, together
from orchestration.ingest.parts import Landed
from orchestration.ingest.reading import REPLACEMENT, TextFile, Unreadable, head_of, survey_as_it_is
from orchestration.ingest.readmission import readmit
from orchestration.ingest.references import References
from orchestration.ingest.relanding import ask_again, check_currency, to_land_anew, under_older_mapping, unfinished
from orchestration.ingest.replacement import check_folders, lands_replaced, replacements, withdraw_replaced
from orchestration.ingest.report import FileReport, IngestReport
from orchestration.ingest.totals import read_totals, record_totals, recorded_totals
from orchestration.ledger.store import Ledger
from orchestration.locking import exclusive
from orchestration.memory import ingest_memory
from orchestration.sqltext import literal, one_file, quoted
from orchestration.wording import counted

# Drops below this size leave their tables to be written over.
_SMALL = 16 << 20
# Seconds after which progress is told even in the middle of a source's files.
_SAY_EVERY = 5.0


@dataclass
class _New:
    """A drop that is to be landed.

    ``repeats``: see :class:`Found`. ``said``: which files of its feed replace others, see :func:`replacements`.
    """

    feed: Feed
    path: Path
    arrival: Arrival
    header: list[str]
    repeats: bool = False
    said: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.arrival.name


def ingest(
    deployment: Deployment,
    ledger: Ledger,
    *,
    sources: list[str] | None = None,
    again: bool = False,
    say: Callable[[str], None],
) -> IngestReport:
    """Land all new drops (of ``sources``, by default all), then the rows that waited for what has landed now.

    ``again``: first land all drops of the feeds anew whose mapping has changed. BadInput if a mapping is wrong; then nothing
    was landed. A drop that cannot be read at all is refused and recorded, the others land; see :meth:`IngestReport.error`.
    """
    with exclusive(deployment, "ingest"), storage_errors(deployment.data):
        mappings = load_mappings(deployment)
        _check_names(deployment, mappings, sources)
        feeds = [feed for feed in in_landing_order(mappings) if not sources or feed.source in sources]
        report = IngestReport()
        known = Landed(deployment, ledger).load()
        require_vault(deployment, known.drops)
        begun = [drop for _, drop in unfinished(ledger, known, feeds)]
        check_currency(deployment, known, [*begun, *(d for feed in feeds if again for d in known.standing_of(feed.source, feed.entity))])
        with _connection(deployment) as con:
            hashed_with = salt(deployment, ledger)
            _define_pseudonym(con, hashed_with)
            new = _find(con, deployment, ledger, known, feeds, report)
            # Of all feeds: the totals of those that land nothing now are recorded, too.
            mapped = [feed for mapping in mappings for feed in mapping.feeds]
            totals = {feed.id: read_totals(con, deployment, feed) if feed.config.control else [] for feed in mapped}
            recorded = recorded_totals(ledger)
            told = {feed.id: recorded.get((feed.source, feed.entity), {}) for feed in mapped}
            said = {feed.id: replacements(told[feed.id], totals[feed.id]) for feed in mapped}
            for feed in feeds:
                coming = [(item.name, item.arrival.sha256) for item in new if item.feed.id == feed.id]
                check_folders(known, feed, said[feed.id], totals[feed.id], coming, told[feed.id])
            anew = _anew(con, deployment, to_land_anew(deployment, ledger, known, feeds, said, again=again))
            due = [replace(item, said=said[feed.id]) for feed in feeds for item in [*anew, *new] if item.feed.id == feed.id]
            _check_mappings(con, deployment, known, due)
            if again:
                ask_again(deployment, ledger, known, feeds)
            references = References(con, deployment, known, mappings)
            for feed in chain(feeds, _land(con, deployment, ledger, known, references, due, report, say)):
                for payload in withdraw_replaced(con, deployment, ledger, known, feed, said[feed.id]):
                    report.replaced.append(payload["file"])
                    say(f"{payload['file']}: another file has replaced it, none of its rows counts any more")
            if known.drops:
                record_key(deployment, ledger, hashed_with)
            report.add_moved(readmit(con, deployment, ledger, known, references))
            for file, rows in report.readmitted.items():
                say(f"{file}: {counted(rows, 'row')} admitted from quarantine: what they refer to is known now")
            for file, rows in report.set_aside.items():
                say(f"{file}: {counted(rows, 'landed row')} moved to quarantine: what they refer to is known no more")
            for payload in settle_notes(con, deployment, ledger, known):
                moved = counted(payload["moved"], "credit note")
                say(f"{payload['file']}: {moved} moved, to the period of the bill or back to the own one")
            report.control_totals = {total["file"]: total["agrees"] for total in record_totals(ledger, mapped, totals)}
            failpoint("ingest.totals_recorded")
            record_status(con, deployment, ledger, known, mapped, totals)
            report.older_mapping = under_older_mapping(deployment, known, feeds)
        _say_what_stands(report, say)
        report.held_periods = open_periods(deployment, ledger)
        report.bad_share = sorted({problem for problems in report.held_periods.values() for problem in problems if BAD_SHARE in problem})
    return report


def _define_pseudonym(con: duckdb.DuckDBPyConnection, hashed_with: str) -> None:
    """Let expressions of mappings say ``pseudonym(value)``."""
    hashed = f"substr(sha256({literal(hashed_with)} || value), 1, 24)"
    # Of no number there is no pseudonym: it would be one number that all rows without one share.
    con.execute(f"create macro pseudonym(value) as case when trim(cast(value as varchar)) <> '' then {hashed} end").fetchall()


def _say_what_stands(report: IngestReport, say: Callable[[str], None]) -> None:
    """Tell of files that change nothing, and of those that an older mapping has read."""
    for name, of in report.copies.items():
        say(f"{name}: has the bytes of {of}, which is landed: recorded as its copy, changes nothing")
    for feed_id, names in report.older_mapping.items():
        say(
            f"{feed_id}: {counted(len(names), 'file')} read by an older mapping or version, or under another currency or time zone; "
            "to land the feed anew: tierhouse ingest --again"
        )


def _check_names(deployment: Deployment, mappings: list[SourceMapping], sources: list[str] | None) -> None:
    names = [mapping.source for mapping in mappings]
    for wanted in sources or []:
        if wanted not in names:
            raise BadInput(f"there is no source {wanted!r}", str(deployment.sources), nearest(wanted, names))
    deployment.require_drops()


@contextmanager
def _connection(deployment: Deployment) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB in memory that spills to scratch; scratch is emptied before and after.

    Scratch, quarantine and the waiting rows hold rows as they came, with personal data: nobody else may enter these folders.
    """
    scratch = deployment.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True, exist_ok=True)
    for folder in (scratch, deployment.quarantine, deployment.waiting):
        close_to_others(folder)
    con = duckdb.connect(
        config={"temp_directory": str(scratch / "spill"), "memory_limit": ingest_memory(), "preserve_insertion_order": True}
    )
    try:
        con.execute("set TimeZone = 'UTC'").fetchall()
        con.execute(PERIOD_TYPE).fetchall()
        yield con
    finally:
        con.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _find(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, known: Landed, feeds: list[Feed], report: IngestReport
) -> list[_New]:
    """New drops in the order in which they land; what cannot be read is refused. A feed that has never had a file is named."""
    new: list[_New] = []
    there: set[str] = set()
    for item in walk(deployment, known, feeds):
        there.add(item.feed.id)
        if item.is_landed:
            report.known_files += 1
            if item.copy_of and item.sha256 and item.stat:
                _record_copy(ledger, known, item.feed, item.name, item.sha256, item.stat, item.copy_of, report)
            continue
        try:
            if item.sha256 is None or item.stat is None:
                raise Unreadable(str(item.problem))
            arrival = Arrival(item.name, item.sha256, item.stat, item.file_id)
            header = _peek(con, deployment, item.path, item.feed)
            new.append(_New(item.feed, item.path, arrival, header, repeats=item.repeats))
        except Unreadable as err:
            _refuse(ledger, item.feed, item.name, item.sha256, str(err), report)
    without = [feed for feed in feeds if feed.id not in there and not known.named_of(feed.source, feed.entity)]
    report.without_files = [f"{feed.source} {feed.entity} ({feed.config.files})" for feed in without]
    return new


def _anew(con: duckdb.DuckDBPyConnection, deployment: Deployment, found: list[tuple[Found, Arrival]]) -> list[_New]:
    """Drops that land anew. The mapping must be able to read them, or nothing is begun."""
    anew = []
    for item, arrival in found:
        try:
            anew.append(_New(item.feed, item.path, arrival, _peek(con, deployment, item.path, item.feed)))
        except Unreadable as err:
            remedy = "correct the mapping so that it reads the files that are landed, too"
            raise BadInput(f"{item.name} cannot be landed anew under this mapping: {err}", str(item.feed.mapping_file), remedy) from err
    return anew


def _peek(con: duckdb.DuckDBPyConnection, deployment: Deployment, path: Path, feed: Feed) -> list[str]:
    text = None if feed.config.format == "parquet" else head_of(path, feed.config.encoding, deployment.scratch)
    if text is None and path.stat().st_size == 0:
        raise Unreadable("it is empty")
    return columns_of(con, path, feed, text)


def _refuse(ledger: Ledger, feed: Feed, name: str, sha256: str | None, message: str, report: IngestReport) -> None:
    """Record a refused drop, once for the same bytes, mapping and reason."""
    report.refuse(feed, name, message)
    payload = {
        "source": feed.source,
        "entity": feed.entity,
        "file": name,
        "sha256": sha256,
        "mapping_hash": feed.mapping_hash,
        "reason": "unreadable",
        "message": message,
    }
    if not any(entry.payload == payload for entry in ledger.entries("drop_refused")):
        ledger.append("drop_refused", payload)


def _asked(feed: Feed) -> dict[str, str]:
    """Columns of the file that the mapping names, and the mapping key that does."""
    made = {feed.config.unpivot.name.lower(), feed.config.unpivot.value.lower()} if feed.config.unpivot else set()
    return {column: key for key, expression in feed.expressions.items() for column in expression.columns if column.lower() not in made}


def _check_mappings(con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, new: list[_New]) -> None:
    """Compare each mapping with its files and bind every expression.

    A column that no file of a feed has is an error of the mapping. One that some files have is a defect of the others.
    """
    proven = {(drop["source"], drop["entity"], drop["mapping_hash"]) for drop in known.drops if drop["landed"]}
    problems: list[BadInput] = []
    for feed in {item.feed.id: item.feed for item in new}.values():
        items = [item for item in new if item.feed.id == feed.id]
        optional = {name.lower() for name in feed.config.optional_columns}
        asked = _asked(feed)
        lacking = [{column.lower() for column in asked} - {name.lower() for name in item.header} for item in items]
        nowhere = set.intersection(*lacking)
        if feed.config.format == "jsonl":
            # A key that is null is often left out: only one that a required column needs, or that says what a row is, must be there.
            needed = {c.lower() for n, e in feed.columns.items() if feed.contract.columns[n].required for c in e.columns}
            nowhere &= needed | {c.lower() for c in (feed.where.columns if feed.where else ())}
        wrong = [column for column in asked if column.lower() in nowhere - optional]
        if wrong and (feed.source, feed.entity, feed.mapping_hash) not in proven:
            for column in wrong:
                remedy = _other_reading(feed, items[0].header, asked) or nearest_column(column, items[0].header)
                problems.append(BadInput(f"{items[0].name} has no column {column!r}", feed.place(asked[column]), remedy))
            continue
        fullest = min(range(len(items)), key=lambda number: len(lacking[number]))
        try:
            _scan_of(con, deployment, _types_only(con, items[fullest]), {})
        except BadInput as err:
            problems.append(err)
    if problems:
        raise together(problems)


def _other_reading(feed: Feed, header: list[str], asked: Iterable[str]) -> str | None:
    """The setting that was probably meant where a text file's first line shows that it was read with another encoding or delimiter, or is
    no header. ``asked``: the columns that the mapping names. What stands in a first line that may be a row is not told."""
    if feed.config.format != "csv" or not feed.config.header:
        return None
    if any(REPLACEMENT in name for name in header):
        return f"its header is no text in {feed.config.encoding}: correct `encoding`"
    if len(header) == 1 and (other := next((sign for sign in ";\t|," if sign in header[0] and sign != feed.config.delimiter), None)):
        return f"its header is one column: is `delimiter` {other!r}?"
    if {name.lower() for name in header}.isdisjoint(column.lower() for column in asked):
        return "its first line names none of the columns of the mapping: correct these, or say `header: false` if the file has no header"
    return None


def _types_only(con: duckdb.DuckDBPyConnection, item: _New) -> Drop:
    """A relation with the file's columns (those that ``unpivot`` makes included) and no rows that are read."""
    if item.feed.config.format == "parquet":
        drop = open_drop(con, item.path, item.feed, None, item.header, ())
    else:
        cells = ", ".join(f"null::varchar as {quoted(name)}" for name in item.header)
        drop = Drop(item.path, item.feed, item.header, f"(select {cells})", None)
    if rule := item.feed.config.unpivot:
        made = {rule.name.lower(), rule.value.lower()}
        kept = [quoted(name) for name in item.header if name.lower() not in made]
        drop.relation = (
            f"(select {', '.join([*kept, *(f'null::varchar as {quoted(name)}' for name in (rule.name, rule.value))])} from {drop.relation})"
        )
        drop.header = [*item.header, rule.name, rule.value]
    return drop


def _scan_of(con: duckdb.DuckDBPyConnection, deployment: Deployment, drop: Drop, references: dict[str, str]) -> Scan:
    """The scan of a drop; columns that may be absent are added to its relation as nulls."""
    feed = drop.feed
    has = {name.lower() for name in drop.header}
    absent = {column for column in _asked(feed) if column.lower() not in has}
    soft = {name.lower() for name in feed.config.optional_columns}
    if feed.config.format == "jsonl":
        # JSON lines leave out what is null; only a key that a required column needs is a column that is missing.
        soft |= {c.lower() for n, e in feed.columns.items() if not feed.contract.columns[n].required for c in e.columns}
        # What a row is, and whose, is asked of a key that is left out as of one that is null.
        soft |= {column.lower() for predicate in (feed.where, feed.unattributed) if predicate for column in predicate.columns}
    added = [column for column in absent if column.lower() in soft]
    if added:
        drop.relation = f"(select *, {', '.join(f'null::varchar as {quoted(column)}' for column in added)} from {drop.relation})"
        drop.header = [*drop.header, *added]
    lacking = frozenset(column.lower() for column in absent if column not in added)
    return build_scan(con, drop, deployment.config, references, lacking)


def _land(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    ledger: Ledger,
    known: Landed,
    references: References,
    new: list[_New],
    report: IngestReport,
    say: Callable[[str], None],
) -> Iterator[Feed]:
    """Land the drops; gives each feed when its last one has landed."""
    deliveries = Deliveries(known)
    unsaid: list[FileReport] = []
    said = time.monotonic()
    all_threads = con.execute("select current_setting('threads')").fetchall()[0][0]
    threads = all_threads
    for number, (item, surveyed) in enumerate(_surveyed(new), 1):
        feed = item.feed
        if number > 1 and new[number - 2].feed.id != feed.id:
            yield new[number - 2].feed
        if item.repeats and (origin := deliveries.original(feed, item.name, item.arrival.sha256)):
            report.known_files += 1
            _record_copy(ledger, known, feed, item.name, item.arrival.sha256, item.arrival.stat, origin, report)
            continue
        # On a small drop more threads cost more than they save.
        wanted = 1 if item.path.is_file() and item.path.stat().st_size < _SMALL else all_threads
        if wanted != threads:
            threads = wanted
            con.execute(f"set threads = {threads}").fetchall()
        payload = _land_one(con, deployment, ledger, known, references, item, surveyed, report)
        if payload is None:
            continue
        report.files.append(FileReport.of(payload))
        unsaid.append(report.files[-1])
        if number == len(new) or new[number].feed.id != feed.id or time.monotonic() - said > _SAY_EVERY:
            say(f"[{number}/{len(new)}] {_progress(unsaid)}")
            unsaid, said = [], time.monotonic()
    if unsaid:
        say(_progress(unsaid))
    if new:
        yield new[-1].feed


def _land_one(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    ledger: Ledger,
    known: Landed,
    references: References,
    item: _New,
    surveyed: Future[TextFile | None] | None,
    report: IngestReport,
) -> dict[str, Any] | None:
    """Land one drop; the payload of its entry, None if it was refused."""
    feed, sha256 = item.feed, item.arrival.sha256
    try:
        text, header = survey(con, item.path, feed, sha256, deployment.scratch, surveyed)
        drop = open_drop(con, item.path, feed, text, header, _asked(feed))
        if feed.config.unpivot:
            drop = unpivoted(con, drop)
    except Unreadable as err:
        _refuse(ledger, feed, item.name, sha256, str(err), report)
        return None
    payload = None
    try:
        scan = _scan_of(con, deployment, drop, references.of(feed.contract, set(feed.columns)))
        is_replaced = bool(item.said) and lands_replaced(known, feed, item.said, item.arrival)
        payload = land(con, deployment, ledger, known, drop, scan, replace(item.arrival, is_replaced=is_replaced))
    except Changed as err:
        report.refuse(feed, item.name, str(err))
    except duckdb.Error as err:
        if not _is_unreadable(con, drop, err):
            raise _failing_expression(con, drop, err) or err from err
        # Not DuckDB's text: it may quote what stands in the file, personal data too.
        message = f"it cannot be read as {feed.config.format}"
        _refuse(ledger, feed, item.name, sha256, message, report)
        if isinstance(err, (duckdb.InternalException, duckdb.FatalException)):
            remedy = "take it out of the drops folder and run again: the drops after it were not looked at"
            raise BadInput(f"the drop is damaged: {message}", item.name, remedy) from err
    finally:
        _clean(con, deployment, small=payload is not None and item.path.stat().st_size < _SMALL)
    return payload


def _record_copy(
    ledger: Ledger, known: Landed, feed: Feed, name: str, sha256: str, stat: dict[str, int], of: str, report: IngestReport
) -> None:
    report.copies[name] = of
    known.add_copy(ledger.append("drop_copy", copy_payload(feed, name, sha256, stat, of)).payload)
    failpoint("ingest.copy_recorded")


def _surveyed(new: list[_New]) -> Iterator[tuple[_New, Future[TextFile | None] | None]]:
    """Each drop with the survey of its bytes, which is made while the drop before it lands: what lands leaves a core idle at times."""
    with ThreadPoolExecutor(1, thread_name_prefix="survey") as ahead:

        def begin(item: _New) -> Future[TextFile | None] | None:
            is_text = item.feed.config.format == "csv" and item.path.is_file() and item.path.stat().st_size >= _SMALL
            return ahead.submit(survey_as_it_is, item.path, item.feed.config.encoding) if is_text else None

        surveyed = begin(new[0]) if new else None
        for item, following in zip_longest(new, new[1:]):
            coming = begin(following) if following else None
            yield item, surveyed
            surveyed = coming


def _is_unreadable(con: duckdb.DuckDBPyConnection, drop: Drop, err: duckdb.Error) -> bool:
    """Whether an error of the scan is the file's fault: it is no CSV, or no Parquet, after all. Reading it and nothing else tells."""
    if drop.feed.config.format != "parquet":
        return isinstance(err, duckdb.InvalidInputException) and not _reads(con, "hash(t)", drop.relation)
    # Damaged Parquet gives errors of every class, and may end the connection.
    with duckdb.connect() as whole:
        return not _reads(whole, "hash(t)", f"read_parquet({one_file(drop.path)}, hive_partitioning = false)")


def _failing_expression(con: duckdb.DuckDBPyConnection, drop: Drop, err: duckdb.Error) -> BadInput | None:
    """The expression of the mapping that fails for a row of the file, if that is what failed: TRY does not catch all."""
    feed = drop.feed
    if isinstance(err, (duckdb.InternalException, duckdb.FatalException, duckdb.IOException, duckdb.OutOfMemoryException)):
        return None
    for key, expression in feed.expressions.items():
        if not _reads(con, expression.sql, drop.relation):
            return BadInput(f"the expression fails for a row of {drop.path.name}", feed.place(key), "guard it with `case`")
    return None


def _reads(con: duckdb.DuckDBPyConnection, expression: str, relation: str) -> bool:
    try:
        con.execute(f"select max(hash({expression})) from {relation} as t").fetchall()
    except duckdb.Error:
        return False
    return True


def _progress(files: list[FileReport]) -> str:
    """Files of one feed in a line."""
    names = files[0].file if len(files) == 1 else f"{files[0].file} … {Path(files[-1].file).name} ({counted(len(files), 'file')})"
    bad = sum(file.quarantined for file in files)
    return f"{names}: {counted(sum(file.landed for file in files), 'row')} landed as {files[0].entity}{f', {bad:,} to quarantine' if bad else ''}"


def _clean(con: duckdb.DuckDBPyConnection, deployment: Deployment, *, small: bool) -> None:
    """Remove the scratch files of one drop, and its tables unless they are small: the next drop writes over them."""
    tables = (
        "_rows",
        "_reject_rows",
        "_rejects",
        "_lines",
        "_wide",
        "_later",
        "_notes",
        "_superseded",
        "_offsets",
        "reject_errors",
        "reject_scans",
    )
    if not small:
        con.execute("".join(f"drop table if exists {table};" for table in tables)).fetchall()
    for path in deployment.scratch.iterdir():
        if path.is_file():
            path.unlink()
