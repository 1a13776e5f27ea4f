"""Seeds as files: rows with their line numbers, checked and typed by ``seeds/schema.yaml``.

A seed is CSV as a spreadsheet saves it: a byte-order mark, semicolons or tabs between cells, CRLF and trailing empty rows
or columns are read. What rows mean together (references, programs) belongs to ``load``.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.deployment import PROJECT_ROOT
from orchestration.errors import BadInput, all_of
from orchestration.policy import cells
from orchestration.policy.cells import CellProblem

T = TypeVar("T")

SCHEMA_FILE = PROJECT_ROOT / "seeds" / "schema.yaml"

_PARSERS: dict[str, Callable[[str], Any]] = {
    "id": cells.parse_id,
    "text": str,
    "integer": cells.parse_integer,
    "boolean": cells.parse_boolean,
    "period": cells.parse_period,
    "date": cells.parse_date,
    "choice": str,
    "list": cells.parse_list,
    "value": str,
    "operator": cells.parse_operator,
    "window": cells.parse_window,
    "source": str,
}
SQL_TYPES = {"integer": "BIGINT", "decimal": "DECIMAL(18,4)", "boolean": "BOOLEAN", "date": "DATE"}


class ColumnSchema(BaseModel):
    """One column of a seed."""

    model_config = ConfigDict(extra="forbid")

    type: str
    description: str
    required: bool = True
    choices: tuple[str, ...] = ()
    references: str = ""
    minimum: int | None = None
    maximum: int | None = None

    @property
    def sql_type(self) -> str:
        """DuckDB type of the column in schema ``policy``."""
        return SQL_TYPES.get(self.type, "VARCHAR")


class SeedSchema(BaseModel):
    """What one seed holds."""

    model_config = ConfigDict(extra="forbid")

    title: str
    owner: str
    key: tuple[str, ...]
    columns: dict[str, ColumnSchema]


@cache
def load_schema() -> dict[str, SeedSchema]:
    """Seed name → what it holds, in the order in which seeds refer to each other."""
    content = yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))
    try:
        return {name: SeedSchema.model_validate(body) for name, body in content.items()}
    except ValidationError as err:
        raise BadInput(str(err), str(SCHEMA_FILE), "correct the schema of the seeds") from err


@dataclass(frozen=True)
class Row:
    """A typed row and where it stands. ``line`` is the line of the file as an editor shows it (header = 1).

    ``point_may_group``: the file does not tell whether ``15.000`` is fifteen or fifteen thousand; see :func:`_lines`.
    """

    file: str
    line: int
    values: Mapping[str, Any]
    point_may_group: bool = False

    def __getitem__(self, column: str) -> Any:
        return self.values[column]

    def where(self, column: str = "") -> str:
        """``levels.csv, row 3, column rank``."""
        return f"{self.file}, row {self.line}" + (f", column {column}" if column else "")

    def need(self, column: str, why: str) -> Any:
        """The value of a cell that may not be empty here."""
        if self[column] in (None, ()):
            schema = load_schema().get(Path(self.file).stem)
            raise self.bad(column, f"is empty, but {why}", f"fill it in: {schema.columns[column].description if schema else column}")
        return self[column]

    def one_of(self, column: str, known: Iterable[str], what: str) -> Any:
        """The value of a cell that must be one of ``known``; ``what`` these are, for the message."""
        names = list(known)
        if self[column] not in names:
            raise self.bad(column, f"{self[column]!r} is not {what}", close_match(self[column], names))
        return self[column]

    def bad(self, column: str, what: str, remedy: str) -> BadInput:
        """The error to raise about one cell of this row."""
        return BadInput(what, self.where(column), remedy)


@dataclass(frozen=True)
class Seed:
    """A seed as read. ``content`` is the file's bytes, ``file`` what messages call it."""

    name: str
    file: str
    content: bytes
    schema: SeedSchema
    rows: tuple[Row, ...] = field(repr=False)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def sha256(self) -> str:
        """Hash of the bytes, for manifests."""
        return hashlib.sha256(self.content).hexdigest()


def close_match(word: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant, or what there is."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5) or difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}" if names else "there is none yet"


def _decode(content: bytes, file: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("is saved as UTF-16 (“Unicode text”)", file, "save it as “CSV UTF-8”")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = content[: err.start].count(b"\n") + 1
        raise BadInput("is not UTF-8 here", f"{file}, row {line}", "save it as “CSV UTF-8”") from err
    if "\x00" in text:
        raise BadInput("holds a zero byte", f"{file}, row {text[: text.index(chr(0))].count(chr(10)) + 1}", "save it as “CSV UTF-8”")
    return text


def _lines(text: str, file: str, columns: Mapping[str, ColumnSchema]) -> tuple[str, Iterator[tuple[int, list[str]]]]:
    """The separator, and line number and raw cells of every row that is not empty, the header first.

    A spreadsheet writes semicolons where the comma is the decimal mark, and there the point may separate thousands; of tabs it cannot
    be told. Only commas between cells say that the point is the decimal mark.
    """
    start = 1
    delimiter = ""
    first = text.split("\n", 1)[0].strip("\r ").strip('"')
    if first.lower().startswith("sep=") and len(first) == 5:
        delimiter = first[4]
        text = text.split("\n", 1)[1] if "\n" in text else ""
        start = 2
    # Rows before the header may be empty ones, of separators alone.
    head = text.lstrip("\r\n,;\t ").split("\n", 1)[0]
    if not delimiter:
        delimiter = max(",;\t", key=lambda d: (sum(cell.strip().strip('"').strip() in columns for cell in head.split(d)), d == ","))
    return delimiter, _rows(text, file, delimiter, start)


def _rows(text: str, file: str, delimiter: str, start: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    before = 0
    try:
        for raw in reader:
            line, before = start + before, reader.line_num
            if any(cell.strip().strip("\ufeff\u3000") for cell in raw):
                yield line, raw
    except csv.Error as err:
        raise BadInput(
            f"is no CSV here: {err}", f"{file}, row {start + before}", "close every quotation mark; write a quotation mark in a cell twice"
        ) from err


def _header(raw: list[str], line: int, file: str, schema: SeedSchema) -> list[str]:
    names = [cell.strip().strip("\ufeff").strip() for cell in raw]
    while names and not names[-1]:
        names.pop()
    where = f"{file}, row {line}"
    for name in names:
        if name not in schema.columns:
            missing = [c for c in schema.columns if c not in names]
            raise BadInput(f"unknown column {name!r}", where, close_match(name, missing or schema.columns))
        if names.count(name) > 1:
            raise BadInput(f"column {name!r} stands twice", where, "keep one of them")
    for name, column in schema.columns.items():
        if name not in names and column.required:
            raise BadInput(f"column {name!r} is missing", where, f"add it: {column.description}")
    return names


def _cell(raw: str, column: ColumnSchema, point_may_group: bool) -> Any:
    text = cells.tidy(raw)
    if not text:
        if column.required:
            raise CellProblem("is empty", f"fill it in: {column.description}")
        return () if column.type == "list" else None
    if column.type == "choice" and text not in column.choices:
        raise CellProblem(f"{text!r} is not one of {', '.join(column.choices)}", close_match(text, column.choices))
    if column.type == "decimal":
        value: Any = cells.parse_decimal(text, point_may_group=point_may_group)
    else:
        value = _PARSERS[column.type](text)
    if side := cells.beyond(value, column.minimum, column.maximum):
        bound = column.minimum if side == "below" else column.maximum
        raise CellProblem(f"{text} is {side} {bound}", f"write {cells.shown_bounds(column.minimum, column.maximum)}")
    return value


@lru_cache(maxsize=64)
def parse_seed(name: str, content: bytes, file: str) -> Seed:
    """The rows of one seed. BadInput names file, row, column, what is wrong and what to write, of all bad cells together.

    Checks what one file can show: columns, types, choices, and that a key stands once.
    """
    schema = load_schema()[name]
    delimiter, lines = _lines(_decode(content, file), file, schema.columns)
    point_may_group = delimiter != ","
    first = next(lines, None)
    if first is None:
        raise BadInput("is empty", file, f"write a header row: {','.join(schema.columns)}")
    header = _header(first[1], first[0], file, schema)
    seen: dict[tuple[Any, ...], int] = {}

    def row_of(numbered: tuple[int, list[str]]) -> Row:
        line, raw = numbered
        if len(raw) > len(header) and any(cell.strip() for cell in raw[len(header) :]):
            raise BadInput(
                f"has {len(raw)} cells where the header has {len(header)}",
                f"{file}, row {line}",
                "put a value that holds the separator in quotation marks",
            )
        if len(raw) < len(header):
            raise BadInput(f"has {len(raw)} cells where the header has {len(header)}", f"{file}, row {line}", "complete the row")
        given = dict(zip(header, raw, strict=False))

        def cell_of(name: str) -> Any:
            try:
                return _cell(given.get(name, ""), schema.columns[name], point_may_group)
            except CellProblem as err:
                raise BadInput(err.what, f"{file}, row {line}, column {name}", err.remedy) from err

        values = dict(zip(schema.columns, all_of(cell_of, schema.columns), strict=True))
        row = Row(file, line, values, point_may_group)
        key = tuple(values[k] for k in schema.key)
        if key and key in seen:
            shown = ", ".join(f"{k} {v}" for k, v in zip(schema.key, key, strict=True))
            raise row.bad(schema.key[-1], f"{shown} stands already in row {seen[key]}", "keep one of the two rows")
        seen[key] = line
        return row

    return Seed(name, file, content, schema, tuple(all_of(row_of, lines)))


def shown_path(path: Path) -> str:
    """A path as messages call it."""
    return str(path.relative_to(PROJECT_ROOT)) if path.is_relative_to(PROJECT_ROOT) else str(path)


def read_seed(name: str, path: Path) -> Seed:
    """As :func:`parse_seed`, from a file."""
    shown = shown_path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as err:
        raise BadInput("is not there", shown, f"every deployment needs it: {load_schema()[name].title}") from err
    except OSError as err:
        raise BadInput(f"cannot be read: {err.strerror or err}", shown, "name a readable file") from err
    return parse_seed(name, content, shown)


class Built(Mapping[str, T]):
    """What rows of a seed stand for, by their ids, each made when it is first asked for.

    What is made of a bad one raises the error of that one, the same object. ``path``: the ids that are being made, the outermost first.
    """

    def __init__(self, seed: Seed, key: str, build: Callable[[Row], T]) -> None:
        self.path: list[str] = []
        self._rows = {row[key]: row for row in seed}
        self._build = build
        self._made: dict[str, T | BadInput] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            row = self._rows[name]
            self.path.append(name)
            try:
                self._made[name] = self._build(row)
            except BadInput as err:
                self._made[name] = err
            finally:
                self.path.pop()
        found = self._made[name]
        if isinstance(found, BadInput):
            raise found
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def check_references(seeds: Mapping[str, Seed]) -> None:
    """Every value of a column with ``references`` stands in the seed that it refers to."""

    def remedy(value: Any, seed: Seed, target: str) -> str:
        default = SCHEMA_FILE.with_name(f"{seed.name}.csv")
        if seed.file != shown_path(default) and value in {row[target] for row in read_seed(seed.name, default)}:
            return f"{shown_path(default)} has it, and a deployment's file takes the place of that one whole: begin yours with a copy of it"
        return close_match(str(value), sorted(row[target] for row in seed))

    def check(place: tuple[Seed, str, str]) -> None:
        seed, name, references = place
        other, _, target = references.partition(".")
        known = {row[target] for row in seeds[other]}

        def check_row(row: Row) -> None:
            value = row[name]
            if value is not None and value not in known:
                raise row.bad(name, f"{value!r} is not in {seeds[other].file}", remedy(value, seeds[other], target))

        all_of(check_row, seed)

    all_of(check, ((seed, name, c.references) for seed in seeds.values() for name, c in seed.schema.columns.items() if c.references))
