"""One drop as a relation DuckDB can scan, whatever its format: columns, row ordinals, line numbers, original text.

Not here: what the columns mean (``checking``), or where rows go (``landing``, ``quarantine``).
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from orchestration.ingest.mapping import Feed
from orchestration.ingest.reading import (
    MAX_TEXT,
    Reject,
    TextFile,
    Unreadable,
    csv_relation,
    header_lines,
    header_of,
    lines_relation,
    read_text,
    rejects_of,
    rejects_table,
    shifts,
)
from orchestration.sqltext import literal, one_file, quoted

# Keys of JSON lines are looked for in so many rows; a key that stands in none of them is looked for in all.
_JSON_SAMPLE = 2000


@dataclass
class Drop:
    """An opened drop.

    ``relation`` gives the columns ``header`` as SQL: those of the file, ``file_header``, if nothing was added or turned.
    ``ordinal`` is the SQL for a row's place among the rows of ``relation`` when that is scanned into a table (``rowid``, or
    a carried column ``_ord``). ``text`` is None for Parquet. ``offsets`` take ordinals to line numbers; ``tall`` are the
    lines at which a row of several lines begins, and how many it has.
    """

    path: Path
    feed: Feed
    header: list[str]
    relation: str
    text: TextFile | None
    carry: str = ""
    rejects: list[Reject] = field(default_factory=list)
    offsets: list[tuple[int, int]] = field(default_factory=list)
    tall: dict[int, int] = field(default_factory=dict)
    file_header: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file_header = self.file_header or list(self.header)

    @property
    def ordinal(self) -> str:
        """Column of the scanned table that holds a row's ordinal."""
        return "_ord" if self.carry else "rowid"

    @property
    def broken(self) -> bool:
        """Whether the text holds bytes that were none."""
        return self.text is not None and self.text.broken

    def line_sql(self, table: str) -> str:
        """FROM clause that adds ``_line`` to ``table``."""
        if len(self.offsets) == 1:
            return f"(select *, {self.ordinal} + {self.offsets[0][1]} as _line from {table})"
        return f"(select t.*, t._at + o.add_lines as _line from (select *, {self.ordinal} as _at from {table}) t asof join _offsets o on t._at >= o.from_ordinal)"


def columns_of(con: duckdb.DuckDBPyConnection, path: Path, feed: Feed, text: TextFile | None) -> list[str]:
    """The file's columns, from its header, its first rows or its schema."""
    if feed.config.format == "parquet":
        try:
            return [
                row[0]
                for row in con.execute(f"describe select * from read_parquet({one_file(path)}, hive_partitioning = false)").fetchall()
            ]
        except duckdb.Error as err:
            raise Unreadable("it is no Parquet file, or a damaged one") from err
    assert text is not None
    if feed.config.format == "csv":
        return header_of(text, feed.config.delimiter, feed.config.header)
    names: dict[str, None] = {}
    readable = False
    with text.path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file):
            if number >= _JSON_SAMPLE:
                break
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                readable = True
                names.update(dict.fromkeys(row))
    if not readable and not text.empty:
        raise Unreadable("its first lines are no JSON objects: each line must hold a whole one, with no list around them")
    return list(names)


def survey(
    con: duckdb.DuckDBPyConnection, path: Path, feed: Feed, sha256: str, scratch: Path, surveyed: Future[TextFile | None] | None = None
) -> tuple[TextFile | None, list[str]]:
    """Text and columns of a drop; Unreadable if it must be refused whole. ``surveyed``: see :func:`reading.read_text`."""
    if path.stat().st_size == 0:
        raise Unreadable("it is empty")
    text = None
    if feed.config.format != "parquet":
        text = read_text(path, sha256, feed.config.encoding, scratch, mend=feed.config.format == "jsonl", surveyed=surveyed)
        if text.empty:
            raise Unreadable("it is empty")
    return text, columns_of(con, path, feed, text)


def open_drop(
    con: duckdb.DuckDBPyConnection, path: Path, feed: Feed, text: TextFile | None, header: list[str], asked: Iterable[str]
) -> Drop:
    """Make the relation. ``asked`` are the columns that expressions name (for JSON lines, the keys to take)."""
    if text is None:
        source = f"read_parquet({one_file(path)}, file_row_number = true, hive_partitioning = false)"
        return Drop(path, feed, header, f"(select * exclude (file_row_number){_as_text_and_time(con, source)} from {source})", None)
    if feed.config.format == "csv":
        return Drop(path, feed, header, csv_relation(text, feed.config.delimiter, feed.config.header, header), text)
    con.execute(f"create or replace table _lines as select line from {lines_relation(text)}").fetchall()
    keys = list(dict.fromkeys([*header, *asked]))
    known = {name.lower() for name in header}
    for key in [key for key in keys if key.lower() not in known]:
        path_text = literal("$." + json.dumps(key, ensure_ascii=False))
        if con.execute(f"select 1 from _lines where try(json_exists(line, {path_text})) limit 1").fetchall():
            header.append(key)
    if feed.config.unpivot:
        # Any key may be one that becomes rows.
        there = con.execute("select distinct unnest(try(json_keys(line))) as key from _lines order by key").fetchall()
        known.update(name.lower() for name in header)
        header.extend(key for (key,) in there if key.lower() not in known)
    cut = -1 if text.ends_with_newline else text.lines - 1
    money = {c.lower() for n, e in feed.columns.items() if feed.contract.columns[n].scale is not None for c in e.columns}
    if feed.config.unpivot:
        money |= {key.lower() for key in header}
    cells: dict[str, list[tuple[str, str]]] = {}
    for i, key in sorted(enumerate(header, 1), key=lambda place: place[1] not in asked):
        cell = _json_number(f"j[{i}]", key) if key.lower() in money else f"j[{i}]"
        cells.setdefault(key.lower(), []).append((key, cell))
    # Columns are known whatever the case of their letters; of keys that differ in it alone the one that the mapping names goes first.
    values = ", ".join(f"coalesce({', '.join(cell for _, cell in same)}) as {quoted(same[0][0])}" for same in cells.values())
    paths = ", ".join(literal("$." + json.dumps(key, ensure_ascii=False)) for key in header)
    relation = (
        f"(select {values}, _ord, case when object then 0 when _ord = {cut} then 2 else 8 end as _structural from (select json_extract_string(case when object then line else '{{}}' end, [{paths}]) as j, "
        f"line, _ord, object from (select line, rowid as _ord, coalesce(try(json_type(line) = 'OBJECT'), false) as object from _lines where trim(coalesce(line, '')) <> '')))"
    )
    return Drop(path, feed, [same[0][0] for same in cells.values()], relation, text, carry="_ord, _structural")


def _as_text_and_time(con: duckdb.DuckDBPyConnection, source: str) -> str:
    """REPLACE clause for columns of a Parquet file: timestamps are cut to microseconds, for a cast rounds them, and the last moment of a day is
    the next day; bytes that are text are text, which old writers do not say of it."""
    cut = []
    for name, kind, *_ in con.execute(f"describe select * from {source}").fetchall():
        if kind == "BLOB":
            cut.append(f"coalesce(try(decode({quoted(name)})), cast({quoted(name)} as varchar)) as {quoted(name)}")
        if kind in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS"):
            moment = f"coalesce(try(make_timestamp(epoch_ns({quoted(name)}) // 1000)), timestamp 'infinity')"
            moment = moment if kind == "TIMESTAMP_NS" else f"timezone('UTC', {moment})"
            cut.append(f"case when {quoted(name)} is not null then {moment} end as {quoted(name)}")
    return f" replace ({', '.join(cut)})" if cut else ""


def _json_number(cell: str, key: str) -> str:
    """SQL for a value of JSON lines as it was written. A number with a point has been a binary float, which loses digits of a large one."""
    name = json.dumps(key, ensure_ascii=False)
    pattern = re.escape(name) + r"\s*:\s*(-?[0-9.eE+-]+)"
    written = f"regexp_extract(line, {literal(pattern)}, 1)"
    # Where the number is not found as it was written, the mark makes it one that cannot be taken for money.
    found = f"case when try_cast({written} as double) = try_cast({cell} as double) then {written} else {cell} || '?' end"
    is_number = f"json_type(line, {literal('$.' + name)}) = 'DOUBLE'"
    return (
        f"case when length({cell}) > 13 and contains({cell}, '.') and abs(try_cast({cell} as double)) > 1e10 and {is_number} "
        f"then {found} else {cell} end"
    )


def unpivoted(con: duckdb.DuckDBPyConnection, drop: Drop) -> Drop:
    """The same drop with months (or kinds) that stand in columns as rows. A file without any of them is Unreadable."""
    rule = drop.feed.config.unpivot
    assert rule is not None
    listed = {name.lower(): name for name in rule.columns or ()}
    chosen: dict[str, str] = {}
    for name in drop.header:
        if rule.columns is not None:
            if name.lower() in listed:
                chosen[name] = listed[name.lower()]
        elif match := re.search(rule.pattern or "", name):
            chosen[name] = next((group for group in match.groups()[:1] if group is not None), name)
    if not chosen:
        raise Unreadable("none of its columns is one that `unpivot` names")
    made = {rule.name.lower(), rule.value.lower()}
    kept = [name for name in drop.header if name not in chosen and name.lower() not in made]
    if drop.carry:
        base = drop.relation
    else:
        con.execute(f"create or replace table _wide as select * from {drop.relation}").fetchall()
        base = "(select *, rowid as _ord, 0 as _structural from _wide)"
    ids = [*map(quoted, kept), "_ord", "_structural"]
    # Names of our own meanwhile: what the columns give may be one name twice, or that of another column.
    cells = [f"cast({quoted(name)} as varchar) as _cell{number}" for number, name in enumerate(chosen)]
    turned = ", ".join(f"_cell{number} as {quoted(name)}" for number, name in enumerate(chosen.values()))
    wide = ", ".join([*ids, *cells])
    name, value = quoted(rule.name), quoted(rule.value)
    relation = f"select * from (select {wide} from {base}) unpivot ({value} for {name} in ({turned}))"
    if drop.carry:
        # A line that is no row of the file has no cells.
        relation += f" union all by name select {', '.join(ids)}, null as {name}, null as {value} from {base} where _structural <> 0"
    return Drop(
        drop.path,
        drop.feed,
        [*kept, rule.name, rule.value],
        f"({relation})",
        drop.text,
        carry="_ord, _structural",
        file_header=drop.file_header,
    )


def settle_lines(con: duckdb.DuckDBPyConnection, drop: Drop, accepted: int) -> None:
    """After the scan: collect the rows that could not be split, and find how ordinals and line numbers go together."""
    if drop.text is None:
        drop.offsets = [(0, 1)]
    elif drop.feed.config.format == "jsonl":
        drop.rejects = rejects_of(con, drop.text, ["line"], "\x01") if _has_rejects(con) else []
        drop.rejects = [replace(reject, values=[None] * len(drop.file_header)) for reject in drop.rejects]
        drop.offsets = shifts(drop.text, 1, accepted, drop.rejects, [])
    else:
        above = header_lines(drop.text, drop.feed.config.delimiter) if drop.feed.config.header else 0
        drop.rejects = rejects_of(con, drop.text, drop.file_header, drop.feed.config.delimiter) if _has_rejects(con) else []
        tall: list[tuple[int, int]] = []
        spans = sum(reject.text.count("\n") + 1 for reject in drop.rejects)
        if accepted + spans + above != drop.text.lines:
            tall = _tall_rows(con, drop)
        drop.offsets = shifts(drop.text, above + 1, accepted, drop.rejects, tall, skips_spaces=len(drop.file_header) > 1)
        starts = [ordinal for ordinal, _ in drop.offsets]
        for ordinal, extra in tall:
            drop.tall[ordinal + drop.offsets[bisect.bisect_right(starts, ordinal) - 1][1]] = extra + 1
        drop.tall.update({reject.line: reject.text.count("\n") + 1 for reject in drop.rejects})
    if len(drop.offsets) > 1:
        con.execute("create or replace table _offsets (from_ordinal bigint, add_lines bigint)").fetchall()
        con.executemany("insert into _offsets values (?, ?)", drop.offsets)


def _has_rejects(con: duckdb.DuckDBPyConnection) -> bool:
    return bool(con.execute("select 1 from duckdb_tables() where table_name = 'reject_errors'").fetchall())


def _tall_rows(con: duckdb.DuckDBPyConnection, drop: Drop) -> list[tuple[int, int]]:
    """Ordinals of rows with line ends inside quotes, and how many."""
    assert drop.text is not None
    relation = csv_relation(drop.text, drop.feed.config.delimiter, drop.feed.config.header, drop.file_header)
    cells = " + ".join(f"coalesce(length({quoted(n)}) - length(replace({quoted(n)}, chr(10), '')), 0)" for n in drop.file_header)
    con.execute(f"create or replace table _tall as select {cells} as extra from {relation}").fetchall()
    rows = con.execute("select rowid, extra from _tall where extra > 0 order by rowid").fetchall()
    for table in ("_tall", "reject_errors", "reject_scans"):
        con.execute(f"drop table if exists {table}").fetchall()
    return [(int(ordinal), int(extra)) for ordinal, extra in rows]


def rejects_relation(con: duckdb.DuckDBPyConnection, drop: Drop) -> str:
    """The rows that could not be split, as a relation with the columns of the drop's, ``_line`` and ``_structural`` bits."""
    rejects_table(con, "_rejects", drop.file_header, drop.rejects)
    bits = "case _reason when 'broken_encoding' then 1 when 'truncated_row' then 2 when 'missing_column' then 4 else 8 end"
    there = set(drop.file_header)
    columns = ", ".join(quoted(name) if name in there else f"null::varchar as {quoted(name)}" for name in drop.header)
    return f"(select {columns}, _line, {bits} as _structural from _rejects)"


def original_texts(con: duckdb.DuckDBPyConnection, drop: Drop, spans: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Original text of the rows at ``(line, lines)``, ascending; for Parquet the row as JSON."""
    if drop.text is not None:
        yield from drop.text.texts(spans)
        return
    source = f"read_parquet({one_file(drop.path)}, file_row_number = true, hive_partitioning = false)"
    batch: list[int] = []
    for line, _ in spans:
        batch.append(line - 1)
        if len(batch) == 10_000:
            yield from _json_rows(con, source, batch)
            batch = []
    if batch:
        yield from _json_rows(con, source, batch)


def _json_rows(con: duckdb.DuckDBPyConnection, source: str, rows: list[int]) -> list[str]:
    # Joined as a list: constants are compared one by one, and leave no part of the file unread.
    wanted = f"select * from {source} where file_row_number in (select unnest($rows::bigint[]))"
    query = f"select file_row_number, to_json(struct) from (select file_row_number, t as struct from ({wanted}) t) order by 1"
    found = con.cursor().execute(query, {"rows": rows}).fetchall()
    return [re.sub(r',"file_row_number":\d+', "", text)[:MAX_TEXT] for _, text in found]
