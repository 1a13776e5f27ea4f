"""What a materialization shows a person: counts, reasons, charts. Takes data, returns Dagster metadata; no personal data."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import dagster as dg
import duckdb

BAR_CELLS = 24
_COLOURS = ("#c9d1d9", "#a5c8e4", "#7ab0d8", "#4f97cc", "#2f78b3", "#1f5a8c", "#123d63", "#0a2540", "#000000")
_PALE = _COLOURS[:4]
# Pixels: what Dagster's window has room for, and about the width of a letter.
_WIDTH, _LETTER = 640, 7


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "") -> str:
    """A Markdown table; numbers with thousands separators, aligned right by their type. ``empty``: what stands there instead without rows."""

    def cell(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            return str("" if value is None else value).replace("|", "\\|").replace("\n", " ")
        return f"{value:,}"

    body = [[cell(value) for value in row] for row in rows]
    if empty and not body:
        return empty
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(header), ["---"] * len(header), *body])


def level_counts(database: Path, periods: Sequence[str]) -> list[dict[str, Any]]:
    """Subjects per program, period and level from ``marts.fct_level_counts`` of a DuckDB file, in rank order."""
    found: list[dict[str, Any]] = []
    with duckdb.connect(str(database), read_only=True) as con:
        # Month by month: the view reads one month of decisions for a period that is given, and all of them for a list.
        for period in sorted(set(periods)):
            relation = con.execute(
                """
                select c.program_id, c.period, coalesce(c.level_id, 'no level') as level_id, c.subjects
                from marts.fct_level_counts as c
                left join marts.dim_levels as l using (program_id, level_id)
                where c.period = ?
                order by c.program_id, l.level_rank nulls first
                """,
                [period],
            )
            names = [column[0] for column in relation.description]
            found += [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
    return sorted(found, key=lambda row: str(row["program_id"]))


def level_table(counts: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: one table per program with a bar for each level, shares within the period."""
    parts: list[str] = []
    for program in sorted({row["program_id"] for row in counts}):
        rows: list[list[Any]] = []
        of_program = [row for row in counts if row["program_id"] == program]
        for row in of_program:
            total = sum(other["subjects"] for other in of_program if other["period"] == row["period"])
            share = row["subjects"] / total if total else 0.0
            rows.append([row["period"], row["level_id"], row["subjects"], f"{100 * share:.1f} %", "█" * round(BAR_CELLS * share)])
        parts.append(f"**{program}**\n\n" + markdown_table(["period", "level", "subjects", "share", ""], rows))
    return "\n\n".join(parts) or "No decisions."


def level_chart(counts: Sequence[Mapping[str, Any]]) -> str:
    """Markdown image (an SVG as a data address): per program its levels with their colours, and one stacked bar per period."""
    shapes: list[str] = []
    y = 0
    for program in sorted({row["program_id"] for row in counts}):
        rows = [row for row in counts if row["program_id"] == program]
        colours = dict(zip(dict.fromkeys(row["level_id"] for row in rows), _COLOURS + _COLOURS[-1:] * len(rows), strict=False))
        shapes.append(_text(0, y + 14, program, 'font-weight="bold"'))
        legend, lines = _legend(colours, y + 18)
        shapes += legend
        y += 18 + 18 * lines
        for period in sorted({row["period"] for row in rows}):
            shapes += _bar(period, [row for row in rows if row["period"] == period], colours, y)
            y += 24
        y += 14
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{max(y - 14, 1)}" font-family="sans-serif" font-size="12" style="background:white">{"".join(shapes)}</svg>'
    return f"![levels](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" {more}>{escape(text)}</text>'


def _legend(colours: Mapping[str, str], y: int) -> tuple[list[str], int]:
    """A square and the name of each level, in as many lines as they need; the number of lines."""
    shapes: list[str] = []
    x, lines = 0.0, 1
    for level, colour in colours.items():
        width = 24 + _LETTER * len(level)
        if x and x + width > _WIDTH:
            x, lines = 0.0, lines + 1
        top = y + 18 * (lines - 1)
        shapes += [f'<circle cx="{x + 6:.1f}" cy="{top + 8}" r="5" fill="{colour}"/>', _text(x + 15, top + 12, level)]
        x += width
    return shapes, lines


def _bar(period: str, rows: Sequence[Mapping[str, Any]], colours: Mapping[str, str], y: int) -> list[str]:
    """The bar of one period, with the number of subjects in each box that is wide enough for it."""
    left, height = 60, 20
    shapes = [_text(0, y + 14, period)]
    total = sum(row["subjects"] for row in rows) or 1
    x = float(left)
    for row in rows:
        span = (_WIDTH - left) * row["subjects"] / total
        number, colour = f"{row['subjects']:,}", colours[row["level_id"]]
        shapes.append(f'<rect x="{x:.1f}" y="{y}" width="{span:.1f}" height="{height}" fill="{colour}"/>')
        if span > 8 + _LETTER * len(number):
            shapes.append(_text(x + 4, y + 14, number, f'fill="{"black" if colour in _PALE else "white"}"'))
        x += span
    return shapes


def level_metadata(counts: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue]:
    """Level distribution as a chart and as a table."""
    return {"levels": dg.MetadataValue.md(level_table(counts)), "level_chart": dg.MetadataValue.md(level_chart(counts))}


def row_counts(database: Path, relations: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Rows of each existing table among ``relations`` (schema, name). Views are left out: counting one computes it."""
    wanted = set(relations)
    with duckdb.connect(str(database), read_only=True) as con:
        tables = con.execute("select schema_name, table_name, estimated_size from duckdb_tables()").fetchall()
    return {(schema, name): int(rows) for schema, name, rows in tables if (schema, name) in wanted}


def feed_metadata(files: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue]:
    """What one feed's new drops brought. ``files``: FileReports as JSON, of one source and entity."""
    reasons: Counter[str] = Counter()
    for file in files:
        reasons.update(file["reasons"])
    by_reason = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    by_file = [(f["file"], f["rows_in"], f["landed"], f["quarantined"]) for f in files]
    return {
        "dagster/row_count": dg.MetadataValue.int(sum(f["landed"] for f in files)),
        "new_files": dg.MetadataValue.int(len(files)),
        "rows_in": dg.MetadataValue.int(sum(f["rows_in"] for f in files)),
        "quarantined": dg.MetadataValue.int(sum(f["quarantined"] for f in files)),
        "quarantine_by_reason": dg.MetadataValue.md(markdown_table(["reason", "rows"], by_reason, "None.")),
        "files": dg.MetadataValue.md(markdown_table(["file", "rows in", "landed", "quarantined"], by_file, "No new drops.")),
    }
