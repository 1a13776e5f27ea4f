"""Writing drops: the formats of the source systems, planted defects, and what the truth file says of them.

Files are the same bytes for the same seed: gzip without time and name, Parquet through one writer, rows in a stated order.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from orchestration.errors import Failed
from orchestration.sample.defects import BROKEN_MARK, CUT_MARK, Planting, plantings_for
from orchestration.sample.world import World, where

_CHUNK = 16 * 2**20


@dataclass(frozen=True)
class Format:
    """How a source writes a file; ``suffix`` completes the file's name."""

    suffix: str
    delimiter: str = ","
    encoding: str = "utf-8"
    bom: bool = False

    @property
    def is_gzip(self) -> bool:
        return self.suffix.endswith(".gz")


OLD_BILLING = Format(".csv", encoding="gb18030")
PARQUET = Format(".parquet")
CRM = Format(".csv.gz")
FINANCE = Format(".csv.gz", delimiter=";")
SERVICE = Format(".jsonl")
REWARDS = Format(".csv", bom=True)
PLAIN_CSV = Format(".csv")


@dataclass
class Truth:
    """What was written: rows by file, planted defects by kind and file, and what else happened on purpose."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    defects: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)
    control_files: list[str] = field(default_factory=list)

    def add_defects(self, kind: str, reason: str, file: str, rows: int) -> None:
        """``reason`` is the id under which ingest must report these rows."""
        entry = self.defects.setdefault(kind, {"rows": 0, "reasons": {}, "files": {}})
        entry["rows"] += rows
        entry["reasons"][reason] = entry["reasons"].get(reason, 0) + rows
        entry["files"].setdefault(file, {})[reason] = rows

    def count(self, event: str, rows: int) -> None:
        self.events[event] = self.events.get(event, 0) + rows


@dataclass(frozen=True)
class Written:
    """A drop as it lies on disk: its name under the drops folder and its frame with planted rows."""

    name: str
    frame: pl.DataFrame


class Drops:
    """The drops folder. ``wanted`` holds the entities to write, ``empty`` those of which the promised files are written without rows."""

    def __init__(
        self, out: Path, world: World, wanted: frozenset[str], empty: frozenset[str], *, defects: bool, say: Callable[[str], None]
    ) -> None:
        self.out = out
        self.world = world
        self.wanted = wanted
        self.empty = empty
        self.defects = defects
        self.say = say
        self.truth = Truth()

    def write(
        self, entity: str, stem: str, frame: pl.DataFrame, form: Format, *, month: int, even_if_empty: bool = False
    ) -> Written | None:
        """Write ``frame`` as ``stem`` (source folder and name without suffix), with the defects planned for it.

        A file without rows is not written, unless its source promises one every month.
        """
        if entity in self.empty:
            frame = frame.clear()
        if frame.is_empty() and not even_if_empty:
            return None
        name = stem + form.suffix
        planted: list[tuple[Planting, int]] = []
        if self.defects:
            frame, planted = self._plant(entity, stem, frame, month)
        data_cut = any(planting.kind == "truncated_last_line" for planting, _ in planted)
        self._save(name, frame, form, marked=bool(planted), cut_last=data_cut)
        self.truth.files[name] = {"entity": entity, "rows": frame.height}
        for planting, rows in planted:
            self.truth.add_defects(planting.kind, planting.reason, name, rows)
        return Written(name, frame)

    def write_cut(self, entity: str, stem: str, frame: pl.DataFrame, form: Format) -> Written:
        """Write a file whose transfer broke off in the middle of its last line."""
        name = stem + form.suffix
        self._save(name, frame, form, marked=False, cut_last=True)
        self.truth.files[name] = {"entity": entity, "rows": frame.height}
        return Written(name, frame)

    def write_control(self, stem: str, frame: pl.DataFrame, form: Format) -> None:
        """Write control totals; they are no drop of an entity."""
        self._save(stem + form.suffix, frame, form, marked=False, cut_last=False)
        self.truth.control_files.append(stem + form.suffix)

    def copy(self, name: str, again: str) -> None:
        """The same bytes under another name: a file that was sent twice."""
        with _saving(self.out / again):
            (self.out / again).write_bytes((self.out / name).read_bytes())
        self.truth.files[again] = {**self.truth.files[name], "same_as": name}

    def _plant(self, entity: str, stem: str, frame: pl.DataFrame, month: int) -> tuple[pl.DataFrame, list[tuple[Planting, int]]]:
        plantings = plantings_for(stem.split("/")[0], entity, month, self.world.months)
        # At most 1.5 % of a file, so that the share of bad rows never holds a run of the sample.
        room = int(frame.height * 0.015) // max(1, len(plantings))
        planted: list[tuple[Planting, int]] = []
        for planting in plantings:
            rows = min(planting.rows(frame.height), room)
            if rows == 0:
                continue
            if planting.kind != "truncated_last_line":
                frame = planting.plant(frame, rows, self.world.rng("defect", planting.kind, stem))
            planted.append((planting, rows))
        return frame, planted

    def _save(self, name: str, frame: pl.DataFrame, form: Format, *, marked: bool, cut_last: bool) -> None:
        path = self.out / name
        with _saving(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if form.suffix == ".parquet":
                frame.write_parquet(path, compression="zstd", compression_level=1, statistics=True)
                return
            text = io.BytesIO()
            if form.suffix == ".jsonl":
                frame.write_ndjson(text)
            else:
                frame.write_csv(text, separator=form.delimiter, datetime_format="%Y-%m-%d %H:%M:%S")
            view = text.getbuffer()
            if not marked and not cut_last and form.encoding == "utf-8":
                _save_bytes(path, view, form)
            else:
                _save_bytes(path, memoryview(_finish(view, form, marked=marked, cut_last=cut_last)), form)


def _finish(view: memoryview, form: Format, *, marked: bool, cut_last: bool) -> bytes:
    """Encode as the source does, then break what is planned to be broken in the bytes themselves."""
    data = bytes(view) if form.encoding == "utf-8" else b"".join(_encoded(view, form.encoding))
    if marked:
        data = data.replace(BROKEN_MARK.encode(), b"\xff\xff")
        data = re.sub(re.escape(form.delimiter + CUT_MARK).encode() + rb"[^\n]*", b"", data)
    if cut_last:
        start = data.rstrip(b"\n").rfind(b"\n") + 1
        data = data[: start + (len(data) - start) // 2]
    return data


def _encoded(view: memoryview, encoding: str) -> list[bytes]:
    """UTF-8 text in another encoding, in pieces that end at line ends."""
    pieces, start = [], 0
    while start < len(view):
        stop = min(start + _CHUNK, len(view))
        if stop < len(view):
            stop = start + bytes(view[start:stop]).rfind(b"\n") + 1
        pieces.append(bytes(view[start:stop]).decode("utf-8").encode(encoding))
        start = stop
    return pieces


def _save_bytes(path: Path, data: memoryview, form: Format) -> None:
    bom = b"\xef\xbb\xbf" if form.bom else b""
    with path.open("wb") as file:
        if form.is_gzip:
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=3, mtime=0) as packed:
                packed.write(bom)
                packed.write(data)
        else:
            file.write(bom)
            file.write(data)


@contextmanager
def _saving(path: Path) -> Iterator[None]:
    """Turn an OSError while a file is written into an error that says what to do."""
    try:
        yield
    except OSError as err:
        raise Failed(f"the sample cannot be written: {err}", str(path), "free space or choose another --out") from err


def total_units(column: pl.Series) -> str:
    """Exact sum of a decimal column as text, e.g. ``1234.5600``."""
    if column.is_empty():
        return "0.0000"
    return str(column.cast(pl.Decimal(38, 4)).sum())


def dates(values: np.ndarray, known: np.ndarray | None = None) -> pl.Series:
    """A date column; null where ``known`` is false."""
    column = pl.Series(values.astype("datetime64[D]"))
    return column if known is None else where(known, column)
