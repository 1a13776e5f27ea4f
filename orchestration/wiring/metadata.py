"""What a materialization shows a person: counts, reasons, charts. Takes data, returns Dagster metadata; no personal data."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import dagster as dg
import duckdb

BAR_CELLS = 24
_COLOURS = ("#c9d1d9", "#a5c8e4", "#7ab0d8", "#4f97cc", "#2f78b3", "#1f5a8c", "#123d63", "#0a2540")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers with thousands separators, aligned right by their type."""

    def cell(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            return str("" if value is None else value).replace("|", "\\|").replace("\n", " ")
        return f"{value:,}"

    body = [[cell(value) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(header), ["---"] * len(header), *body])


def level_counts(database: Path, periods: Sequence[str]) -> list[dict[str, Any]]:
    """Subjects per program, period and level from ``marts.fct_level_counts`` of a DuckDB file, in rank order."""
    with duckdb.connect(str(database), read_only=True) as con:
        relation = con.execute(
            """
            select c.program_id, c.period, coalesce(c.level_id, 'no level') as level_id, c.subjects
            from marts.fct_level_counts as c
            left join marts.dim_levels as l using (program_id, level_id)
            where c.period in (select unnest(?::varchar[]))
            order by c.program_id, c.period, l.level_rank nulls first
            """,
            [list(periods)],
        )
        names = [column[0] for column in relation.description]
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


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
    """Markdown image (an SVG as a data address): one stacked bar per period and program."""
    width, height, left = 640, 20, 190
    bars = sorted({(row["program_id"], row["period"]) for row in counts})
    shapes: list[str] = []
    for line, (program, period) in enumerate(bars):
        rows = [row for row in counts if (row["program_id"], row["period"]) == (program, period)]
        total = sum(row["subjects"] for row in rows) or 1
        x, y = float(left), 4 + line * (height + 4)
        shapes.append(f'<text x="0" y="{y + 14}" font-size="12">{escape(f"{program} {period}")}</text>')
        for place, row in enumerate(rows):
            span = (width - left) * row["subjects"] / total
            colour = _COLOURS[min(place, len(_COLOURS) - 1)]
            title = escape(f"{row['level_id']}: {row['subjects']:,}")
            shapes.append(f'<rect x="{x:.1f}" y="{y}" width="{span:.1f}" height="{height}" fill="{colour}"><title>{title}</title></rect>')
            x += span
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{4 + len(bars) * (height + 4)}" font-family="sans-serif">'
        f"{''.join(shapes)}</svg>"
    )
    return f"![levels](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


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
    reasons: dict[str, int] = {}
    for file in files:
        for reason, rows in file["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + rows
    return {
        "dagster/row_count": dg.MetadataValue.int(sum(f["landed"] for f in files)),
        "new_files": dg.MetadataValue.int(len(files)),
        "rows_in": dg.MetadataValue.int(sum(f["rows_in"] for f in files)),
        "quarantined": dg.MetadataValue.int(sum(f["quarantined"] for f in files)),
        "quarantine_by_reason": dg.MetadataValue.md(
            markdown_table(["reason", "rows"], sorted(reasons.items(), key=lambda item: (-item[1], item[0]))) if reasons else "None."
        ),
        "files": dg.MetadataValue.md(
            markdown_table(
                ["file", "rows in", "landed", "quarantined"], [(f["file"], f["rows_in"], f["landed"], f["quarantined"]) for f in files]
            )
            if files
            else "No new drops."
        ),
    }
