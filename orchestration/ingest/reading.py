"""One pass over a drop's bytes: its hash, its text as UTF-8, and where its lines are; then the relation DuckDB scans.

Line numbers are those a text editor shows (the header of a CSV is line 1). A file that cannot be read at all raises
:class:`Unreadable`; a row that cannot be read is a :class:`Reject`, and nothing of it is lost.

Not here: what the columns mean, or which rows are bad.
"""

from __future__ import annotations

import bisect
import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import duckdb

from orchestration.errors import Failed
from orchestration.ingest.files import sha256_file
from orchestration.sqltext import literal, one_file, quoted

CHUNK = 1 << 22
BOM = b"\xef\xbb\xbf"
# What may stand before a text. GB18030 has a mark of its own.
_BOMS = {"utf-8": (BOM,), "gb18030": (BOM, b"\x84\x31\x95\x33")}
# What begins no text in UTF-8 or GB18030, and what the file is then.
_NO_TEXT = {
    b"\x1f\x8b": "it is packed with gzip: its name must end in .gz",
    b"PK\x03\x04": "it is a zip archive or a spreadsheet, not a text: have it unpacked, or saved as CSV in UTF-8",
    b"\xff\xfe": "it is UTF-16: have a copy in UTF-8 dropped (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "it is UTF-16: have a copy in UTF-8 dropped (iconv -f UTF-16 -t UTF-8)",
}
REPLACEMENT = "\ufffd"
NUL = "\0"
# Longest row that is read as one; a longer one is a quote that was never closed.
MAX_LINE = 1 << 21
# Text of a quarantined row is kept up to this many characters.
MAX_TEXT = 65_536


class Unreadable(Exception):
    """A drop that is refused whole; the text says why."""


@dataclass(frozen=True)
class Reject:
    """A row that the reader could not split into the file's columns. ``values`` are padded or cut to them."""

    line: int
    text: str
    reason: str
    values: list[str | None]


@dataclass
class TextFile:
    """A text as one reading of its bytes tells it: counts of single bytes, and how many lines end before each block. ``broken``: some of its
    bytes were none.

    As :func:`read_text` gives it, UTF-8 without byte order mark and with one kind of line end; ``path`` may be a copy in scratch.
    """

    path: Path
    newlines: int = 0
    carriage_returns: int = 0
    pairs: int = 0
    nuls: int = 0
    size: int = 0
    last: int = -1
    checkpoints: list[tuple[int, int]] = field(default_factory=list)
    broken: bool = False

    @property
    def empty(self) -> bool:
        return self.size == 0

    @property
    def ends_with_newline(self) -> bool:
        return self.last == 10

    @property
    def lines(self) -> int:
        """Number of lines; a last one without line end counts."""
        return self.newlines + (0 if self.ends_with_newline or self.empty else 1)

    def lines_at(self, offsets: Iterable[int]) -> Iterator[int]:
        """Line numbers (from 1) of the bytes at ``offsets``. In ascending order they are found in one reading."""
        with self.path.open("rb") as file:
            at, line = 0, 1
            for offset in offsets:
                start, before = self.checkpoints[bisect.bisect_right(self.checkpoints, (offset, 1 << 62)) - 1]
                if start > at or offset < at:
                    at, line = start, before + 1
                    file.seek(start)
                line += file.read(offset - at).count(b"\n")
                at = offset
                yield line

    def texts(self, spans: Iterable[tuple[int, int]]) -> Iterator[str]:
        """Text of ``(first line, number of lines)`` for spans in ascending order, without line ends."""
        starts = [before for _, before in self.checkpoints]
        with self.path.open("rb") as file:
            block: list[bytes] = []
            block_first, block_end = 1, 1
            for first, count in spans:
                if not (block_first <= first and first + count <= block_end):
                    low = bisect.bisect_right(starts, first - 1) - 1
                    while low > 0 and starts[low] == first - 1:
                        low -= 1
                    high = bisect.bisect_left(starts, first + count)
                    begin = self.checkpoints[low][0]
                    end = self.checkpoints[high][0] if high < len(self.checkpoints) else None
                    file.seek(begin)
                    data = file.read() if end is None else file.read(end - begin)
                    block = data.split(b"\n")
                    block_first = starts[low] + 1
                    # The first piece may be the rest of a line and the last piece the start of one.
                    block_end = block_first + len(block) - (0 if end is None else 1)
                    if low > 0:
                        block_first += 1
                        block = block[1:]
                piece = block[first - block_first : first - block_first + count]
                yield b"\n".join(piece).decode("utf-8", "replace").rstrip("\r")[:MAX_TEXT]


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except IsADirectoryError as err:
        raise Unreadable("it is a folder, not a file") from err
    except FileNotFoundError as err:
        raise Failed("the file has gone while it was read", str(path), "run again") from err
    except OSError as err:
        raise Failed(f"the file cannot be read: {err.strerror}", str(path), "give the process permission to read it") from err


def sha256_of(path: Path) -> str:
    """SHA-256 of the drop as delivered; Unreadable if it has no bytes of its own."""
    if path.is_dir():
        raise Unreadable("it is a folder, not a file")
    if path.is_symlink() and not path.exists():
        raise Unreadable("it is a link that leads to no file")
    if path.exists() and not path.is_file():
        raise Unreadable("it is a pipe or a device, not a file")
    _open(path).close()
    return sha256_file(path)


def _blocks(path: Path) -> Iterator[bytes]:
    """Blocks of a text drop, unpacked; Unreadable if its first bytes are those of something else."""
    with _open(path) as raw:
        if path.suffix.lower() != ".gz":
            _begins_a_text(raw.read(4))
            raw.seek(0)
            while chunk := raw.read(CHUNK):
                yield chunk
            return
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                first = True
                while chunk := stream.read(CHUNK):
                    if first:
                        _begins_a_text(chunk)
                    first = False
                    yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise Unreadable(f"it is no complete gzip file: {err}") from err


def _begins_a_text(data: bytes) -> None:
    for begin, what in _NO_TEXT.items():
        if data.startswith(begin):
            raise Unreadable(what)


def _to_utf8(blocks: Iterator[bytes], encoding: str, state: dict[str, bool]) -> Iterator[bytes]:
    """Blocks that end at a line end, as UTF-8; bytes that are no text become U+FFFD and are noted in ``state``."""
    rest = b""
    first = True
    for block in blocks:
        if first:
            block, first = _without_bom(block, encoding), False
        cut = block.rfind(b"\n") + 1
        if not cut:
            rest += block
            continue
        ready, rest = rest + block[:cut], block[cut:]
        yield _decoded(ready, encoding, state)
    if rest:
        yield _decoded(rest, encoding, state)


def _without_bom(block: bytes, encoding: str) -> bytes:
    for mark in _BOMS[encoding]:
        block = block.removeprefix(mark)
    return block


def _decoded(data: bytes, encoding: str, state: dict[str, bool]) -> bytes:
    try:
        text = data.decode(encoding)
        if encoding == "utf-8":
            return data
        if REPLACEMENT in text:
            state["broken"] = True
    except UnicodeDecodeError:
        state["broken"] = True
        # Line by line, so that a broken byte can never swallow the end of its line.
        text = "\n".join(line.decode(encoding, "replace") for line in data.split(b"\n"))
    return text.encode("utf-8")


def _line_ends(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """CR LF and lone CR as LF."""
    held = b""
    for block in blocks:
        block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        if held:
            block = block[:-1]
        yield block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"


def survey_as_it_is(path: Path, encoding: str) -> TextFile | None:
    """What :func:`read_text` first wants to know of a drop that needs no copy; None for one that does."""
    if path.suffix.lower() == ".gz" or encoding != "utf-8":
        return None
    with _open(path) as file:
        begin = file.read(4)
    _begins_a_text(begin)
    return None if begin.startswith(BOM) else _survey(path)


def read_text(
    path: Path, sha256: str, encoding: str, scratch: Path, *, mend: bool = False, surveyed: Future[TextFile | None] | None = None
) -> TextFile:
    """Survey a text drop; a copy in ``scratch`` is made only if it is packed, not plain UTF-8, or has mixed line ends.

    ``mend``: make the copy in any case, so that broken bytes are U+FFFD in it. ``surveyed``: begun before, beside other work.
    """
    state = {"broken": False}
    copy = scratch / f"{sha256[:16]}.txt"
    text = None if mend else surveyed.result() if surveyed else survey_as_it_is(path, encoding)
    if text is None:
        _write(copy, _to_utf8(_blocks(path), encoding, state))
        text = _survey(copy)
    if (text.carriage_returns and text.carriage_returns != text.pairs) or (text.pairs and text.pairs != text.newlines):
        normal = copy.with_suffix(".lf")
        _write(normal, _line_ends(_plain_blocks(text.path)))
        text = _survey(normal)
    if text.nuls:
        # Not text, and what comes after us cannot hold it: the rows are told from good ones by the mark for broken bytes.
        clean = copy.with_suffix(".clean")
        _write(clean, (block.replace(NUL.encode(), REPLACEMENT.encode()) for block in _plain_blocks(text.path)))
        text = _survey(clean)
        state["broken"] = True
    text.broken = state["broken"]
    return text


def _plain_blocks(path: Path) -> Iterator[bytes]:
    with _open(path) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _survey(path: Path) -> TextFile:
    found = TextFile(path)
    for block in _plain_blocks(path):
        found.checkpoints.append((found.size, found.newlines))
        found.newlines += block.count(b"\n")
        found.nuls += block.count(NUL.encode())
        returns = block.count(b"\r")
        if returns or found.last == 13:
            found.carriage_returns += returns
            found.pairs += block.count(b"\r\n") + (1 if found.last == 13 and block[:1] == b"\n" else 0)
        found.size += len(block)
        found.last = block[-1]
    found.checkpoints = found.checkpoints or [(0, 0)]
    return found


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    with path.open("wb") as out:
        for block in blocks:
            out.write(block)


def head_of(path: Path, encoding: str, scratch: Path) -> TextFile:
    """The first block of a text drop, as :func:`read_text` would give it: enough to see its columns."""
    with _open(path) as file:
        if not file.read(1):
            raise Unreadable("it is empty")
    block = _without_bom(next(_blocks(path), b""), encoding)
    copy = scratch / "head.txt"
    _write(copy, _line_ends([_decoded(block, encoding, {})]))
    return _survey(copy)


def header_of(text: TextFile, delimiter: str, has_header: bool) -> list[str]:
    """Column names of a CSV: its header, else column0, column1, … from the first row."""
    with text.path.open(encoding="utf-8", errors="replace", newline="") as file:
        sample = file.read(MAX_LINE)
    try:
        first = next(csv.reader(io.StringIO(sample), delimiter=delimiter), [])
    except csv.Error as err:
        raise Unreadable(f"its first line is no CSV: {err}") from err
    if not has_header:
        return [f"column{i}" for i in range(len(first))]
    names = [name.strip() for name in first]
    if not any(names):
        raise Unreadable("its first line holds no column names")
    if any(NUL in name for name in names):
        raise Unreadable("its header holds NUL bytes: it is no text, or UTF-16; it must be UTF-8 or GB18030")
    folded = [name.lower() for name in names]
    if twice := next((name for name in folded if name and folded.count(name) > 1), None):
        # By number: where a file has no header these are the values of its first row, and this is kept in the ledger.
        places = [str(number) for number, name in enumerate(folded, 1) if name == twice]
        raise Unreadable(f"its header names a column twice: columns {' and '.join(places)}")
    return [name or f"column{i}" for i, name in enumerate(names)]


def header_lines(text: TextFile, delimiter: str) -> int:
    """Lines that the header of a CSV takes: a name in quotes may hold line ends."""
    with text.path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(io.StringIO(file.read(MAX_LINE)), delimiter=delimiter)
        next(rows, None)
        return rows.line_num


def csv_relation(text: TextFile, delimiter: str, has_header: bool, header: list[str]) -> str:
    """``read_csv`` over all columns as text; rows that do not fit go to ``reject_errors``."""
    columns = "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header) + "}"
    return (
        f"read_csv({one_file(text.path)}, header = {str(has_header).lower()}, auto_detect = false, delim = {literal(delimiter)}, "
        f"quote = '\"', escape = '\"', columns = {columns}, store_rejects = true, rejects_limit = 0, "
        # A folder called month=1 is no column of the file.
        f"max_line_size = {MAX_LINE}, hive_partitioning = false)"
    )


def lines_relation(text: TextFile) -> str:
    """Every line of the file as one column ``line`` (for JSON lines)."""
    return (
        f"read_csv({one_file(text.path)}, header = false, auto_detect = false, delim = '\x01', quote = '', escape = '', "
        f"columns = {{'line': 'VARCHAR'}}, store_rejects = true, rejects_limit = 0, max_line_size = {MAX_LINE}, hive_partitioning = false)"
    )


def rejects_of(con: duckdb.DuckDBPyConnection, text: TextFile, header: list[str], delimiter: str) -> list[Reject]:
    """Rows that ``read_csv`` refused, from its rejects tables, which are emptied. Each physical line of a row whose
    quote was never closed becomes a reject of its own."""
    rows = con.execute("select line_byte_position, error_type, csv_line from reject_errors order by line_byte_position").fetchall()
    for table in ("reject_errors", "reject_scans"):
        con.execute(f"drop table if exists {table}").fetchall()
    spans: dict[int, tuple[int, set[str]]] = {}
    firsts = text.lines_at(offset + len(stored) - len(stored.lstrip("\r\n")) for offset, _, stored in rows)
    for (_, kind, stored), first in zip(rows, firsts, strict=True):
        body = stored.strip("\r\n")
        count, kinds = spans.get(first, (body.count("\n") + 1, set()))
        spans[first] = (count, kinds | {kind})
    found: list[Reject] = []
    ordered = sorted(spans)
    for first, body in zip(ordered, text.texts((first, spans[first][0]) for first in ordered), strict=True):
        kinds = spans[first][1]
        whole = "\n" not in body or ("UNQUOTED VALUE" not in kinds and body.count('"') % 2 == 0)
        for index, piece in enumerate([body] if whole else body.split("\n")):
            piece = piece.rstrip("\r")
            if piece.strip():
                line = first + index
                is_last = line + piece.count("\n") >= text.lines and not text.ends_with_newline
                found.append(_reject(line, piece, kinds, is_last, header, delimiter))
    return found


def _reject(line: int, piece: str, kinds: set[str], is_last: bool, header: list[str], delimiter: str) -> Reject:
    values = _split(piece, delimiter)
    if len(values) < len(header):
        reason = "truncated_row" if is_last else "missing_column"
    elif is_last and "UNQUOTED VALUE" in kinds:
        reason = "truncated_row"
    elif len(values) == len(header) and ("INVALID ENCODING" in kinds or REPLACEMENT in piece):
        reason = "broken_encoding"
    else:
        reason = "malformed_row"
    return Reject(line, piece, reason, (values + [None] * len(header))[: len(header)])


def _split(text: str, delimiter: str) -> list[str | None]:
    try:
        row = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
    except csv.Error:
        row = text.split(delimiter)
    return [value if value != "" else None for value in row]


def rejects_table(con: duckdb.DuckDBPyConnection, name: str, header: list[str], rejects: list[Reject]) -> None:
    """A table of the rejects with the file's columns, ``_line`` and ``_reason``."""
    import pyarrow as pa

    columns = {column: pa.array([r.values[i] for r in rejects], pa.string()) for i, column in enumerate(header)}
    columns["_line"] = pa.array([r.line for r in rejects], pa.int64())
    columns["_reason"] = pa.array([r.reason for r in rejects], pa.string())
    table = pa.table(columns)
    con.register("_arrow", table)
    con.execute(f"create or replace table {quoted(name)} as from _arrow").fetchall()
    con.unregister("_arrow")


def shifts(
    text: TextFile, first_line: int, accepted: int, rejects: list[Reject], tall: Iterable[tuple[int, int]], *, skips_spaces: bool = False
) -> list[tuple[int, int]]:
    """How far a row's line number is from its ordinal: ``(ordinal from which it holds, line − ordinal)``, ascending.

    Rejected rows, blank lines and line ends inside quotes (``tall``: ordinal and how many) move the rows after them.
    ``skips_spaces``: a line of nothing but spaces is no row either.
    """
    spans = {reject.line: reject.text.count("\n") + 1 for reject in rejects}
    if accepted + len(spans) + first_line - 1 == text.lines and not any(span > 1 for span in spans.values()):
        blanks: list[int] = []
        high: list[tuple[int, int]] = []
    else:
        blanks = _blank_lines(text, skips_spaces)
        high = sorted(tall)
    events = sorted([(line, "reject") for line in spans] + [(line, "blank") for line in blanks if line >= first_line])
    offset = first_line
    result = [(0, offset)]
    position = inside_until = 0
    next_high = 0

    def pass_tall(before: int) -> None:
        """Count the line ends inside the rows that begin before line ``before``."""
        nonlocal next_high, offset, inside_until
        while next_high < len(high) and high[next_high][0] + offset < before:
            ordinal, extra = high[next_high]
            inside_until = ordinal + offset + extra
            offset += extra
            result.append((ordinal + 1, offset))
            next_high += 1

    for position, kind in events:
        pass_tall(position)
        if position <= inside_until:
            continue
        size = spans[position] if kind == "reject" else 1
        inside_until = position + size - 1
        result.append((position - offset, offset + size))
        offset += size
    pass_tall(1 << 62)
    # Where two events stand between the same rows, the last tells how far the rows after them are moved.
    return sorted(dict(result).items())


def _blank_lines(text: TextFile, skips_spaces: bool) -> list[int]:
    found: list[int] = []
    number = 0
    with text.path.open("rb") as file:
        for line in file:
            number += 1
            if not (line.decode("utf-8", "replace").strip() if skips_spaces else line.rstrip(b"\r\n")):
                found.append(number)
    return found
