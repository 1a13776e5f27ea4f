"""Draws the pictures of docs/schemes.md from released months: ``python -m docs.pictures``.

Reads the Parquet files that readers see, through the catalog of each deployment, and writes SVG files to ``docs/schemes``. A
deployment without a release is left out and named. Where its data lie elsewhere: ``python -m docs.pictures telecom=/path/to/data``.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import duckdb

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "schemes"
WIDTH = 640
ROW = 30
TOP = 64
SIDE = 16
LABELS = 220
INK, GREY, LINE, BAR = "#1f2933", "#52606d", "#cbd2d9", "#3e7cb1"
FONT = "'Noto Sans','Noto Sans CJK SC','PingFang SC','Microsoft YaHei',Helvetica,Arial,sans-serif"

# Deployment → programs that are drawn as bars; of those on the clock of events all released months are counted together.
BARS = {
    "telecom": (
        "six_star",
        "group_value",
        "customer_pyramid",
        "contribution_layers",
        "activity_layers",
        "vip_score",
        "vip_threshold",
        "staff_grade",
    ),
    "bank": ("quality_customer",),
    "hotel": ("vip_reception",),
    "prospects": ("relationship",),
}


class Released:
    """The months of a deployment that readers see."""

    def __init__(self, data: Path) -> None:
        periods = json.loads((data / "catalogs" / "current.json").read_text(encoding="utf-8"))["periods"]
        self.folders = {period: data / "releases" / release for period, release in sorted(periods.items())}
        self.newest = max(self.folders)

    def rows(self, mart: str, query: str, periods: Sequence[str] = (), **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query over ``rows``: a mart in the given released months, without any in the newest."""
        files = [str(self.folders[period] / f"{mart}.parquet") for period in periods or [self.newest]]
        with duckdb.connect() as con:
            con.read_parquet(str(self.folders[self.newest] / "dim_levels.parquet")).create_view("levels")
            return con.execute(f"with rows as (select * from read_parquet($files)) {query}", {"files": files, **parameters}).fetchall()


def text(x: float, y: float, words: str, size: int = 13, anchor: str = "start", colour: str = INK, weight: str = "normal") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>'
    )


def drawing(height: float, title: str, subtitle: str, body: Sequence[str]) -> str:
    """A whole SVG on a white ground, so that it can be read on dark pages too."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" font-family="{FONT}">'
    frame = [head, f"<title>{escape(title)}</title>", f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>']
    return "\n".join([*frame, text(SIDE, 26, title, 16, weight="bold"), text(SIDE, 46, subtitle, 12, colour=GREY), *body, "</svg>\n"])


def width_of(words: str) -> float:
    """About how many pixels a label takes in any of the fonts; Chinese letters are as wide as they are high."""
    return sum(13 if unicodedata.east_asian_width(letter) in "WF" else 6.2 for letter in words)


def bars(title: str, subtitle: str, rows: Sequence[tuple[str, int]]) -> str:
    """Horizontal bars with counts and their share of all; the labels beside them, above them where one is too long for that."""
    total, most = sum(count for _, count in rows) or 1, max((count for _, count in rows), default=0) or 1
    is_beside = all(width_of(label) <= LABELS - 10 for label, _ in rows)
    left, above = (LABELS, 0) if is_beside else (SIDE, 20)
    body = []
    for place, (label, count) in enumerate(rows):
        y = TOP + place * (ROW + above) + above
        length = (WIDTH - left - 130) * count / most
        body += [
            text(left - 10, y + 19, label, anchor="end") if is_beside else text(left, y, label),
            f'<rect x="{left}" y="{y + 5}" width="{length:.1f}" height="{ROW - 10}" fill="{BAR}"/>',
            text(left + length + 8, y + 19, f"{count:,}  ({100 * count / total:.1f} %)", 12, colour=GREY),
        ]
    return drawing(TOP + len(rows) * (ROW + above) + 14, title, subtitle, body)


def curve(title: str, subtitle: str, points: Sequence[tuple[float, float]], marks: Sequence[tuple[float, float, str]]) -> str:
    """Share of subjects against share of what they bring, both 0 to 1; ``marks``: points with a word."""
    left, top, side = 70.0, 66.0, 330.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + side * x, top + side * (1 - y)

    body = [f'<rect x="{left:g}" y="{top:g}" width="{side:g}" height="{side:g}" fill="none" stroke="{LINE}"/>']
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        (x, _), (_, y) = at(tick, 0), at(0, tick)
        body += [
            f'<path d="M{x:.1f} {top:g}V{top + side:g}M{left:g} {y:.1f}H{left + side:g}" stroke="{LINE}" stroke-width="0.5"/>',
            text(x, top + side + 18, f"{100 * tick:.0f} %", 11, "middle", GREY),
            text(left - 8, y + 4, f"{100 * tick:.0f} %", 11, "end", GREY),
        ]
    path = " ".join(f"{'M' if place == 0 else 'L'}{x:.1f} {y:.1f}" for place, (x, y) in enumerate(at(*p) for p in [(0.0, 0.0), *points]))
    body += [
        f'<path d="{path}" fill="none" stroke="{BAR}" stroke-width="2.5"/>',
        text(left + side / 2, top + side + 38, "customers, from the highest contribution down", 12, "middle", GREY),
        text(left + side + 24, top + 16, "top customers bring", 12, weight="bold"),
    ]
    for place, (share, brought, word) in enumerate(marks):
        x, y = at(share, brought)
        line = top + 40 + 22 * place
        body += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{BAR}"/>',
            text(left + side + 24, line, word, 12),
        ]
    return drawing(top + side + 54, title, subtitle, body)


def heat(title: str, subtitle: str, rows: Sequence[str], columns: Sequence[str], counts: dict[tuple[int, int], tuple[str, int]]) -> str:
    """A table of cells, darker where more subjects are; ``counts`` by (row, column) with the cell's name."""
    left, top, width, height = 190.0, 92.0, 140.0, 72.0
    most = max((count for _, count in counts.values()), default=0) or 1
    body = [text(left + width * (c + 0.5), top - 10, name, 12, "middle", GREY) for c, name in enumerate(columns)]
    body += [text(left - 12, top + height * (r + 0.5) + 4, name, 12, "end", GREY) for r, name in enumerate(rows)]
    for (r, c), (name, count) in counts.items():
        strength = count / most
        x, y = left + width * c, top + height * r
        fill = "#{:02x}{:02x}{:02x}".format(*(round(255 - (255 - full) * strength * 0.85) for full in (0x3E, 0x7C, 0xB1)))
        colour = "#ffffff" if strength > 0.75 else INK
        body += [
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="#ffffff" stroke-width="2"/>',
            text(x + width / 2, y + height / 2 + 8, f"{count:,}", 20, "middle", colour, "bold"),
            text(x + 8, y + 18, name, 11, colour=colour),
        ]
    return drawing(top + height * len(rows) + 16, title, subtitle, body)


def level_bars(released: Released, program: str) -> str:
    ((name, clock),) = released.rows("dim_programs", "select name_en || ' · ' || name_zh, clock from rows where program_id = $p", p=program)
    periods = list(released.folders) if clock == "event" else [released.newest]
    counts = released.rows(
        "fct_level_counts",
        "select any_value(l.name_en || case when l.name_zh = l.name_en then '' else ' · ' || l.name_zh end), sum(c.subjects)::bigint from rows as c"
        " inner join levels as l using (program_id, level_id) where c.program_id = $p and list_contains($months, c.period)"
        " group by c.level_id, c.level_rank order by c.level_rank desc",
        periods,
        p=program,
        months=periods,
    )
    when = f"{periods[0]} to {periods[-1]}" if len(periods) > 1 else periods[0]
    kind = "decisions" if clock == "event" else "graded"
    return bars(name, f"{when}: {sum(count for _, count in counts):,} {kind}", counts)


def pareto(released: Released, program: str) -> str:
    points = released.rows(
        "fct_pareto_curve",
        "select subjects_share::double, contribution_share::double from rows"
        " where program_id = $p and period = $m and point_kind = 'per_cent' order by subjects_pct",
        p=program,
        m=released.newest,
    )
    shown = [(s, c, f"{100 * s:.0f} %: {100 * c:.1f} % of the contribution") for s, c in (points[place - 1] for place in (1, 20, 50))]
    return curve(
        "Pareto curve of the customer pyramid 帕累托曲线", f"{released.newest}: profit where it is known, else net spend", points, shown
    )


def nine_grid(released: Released, program: str) -> str:
    counts = dict(released.rows("fct_level_counts", "select level_id, subjects from rows where program_id = $p and period = $m", p=program, m=released.newest))  # fmt: skip
    cells = {(r, c): (f"{a}{n}", counts.get(f"{a.lower()}{n}", 0)) for r, a in enumerate("ABC") for c, n in enumerate("123")}
    rows = ("A: 30,000 and more", "B: 10,000 to 30,000", "C: less, or not known")
    columns = ("1: 50 % and more", "2: 20 % to 50 %", "3: less, or not known")
    words = f"{released.newest}: {sum(counts.values()):,} clinics by potential a month (down) and our share of it (across)"
    return heat("Nine-grid 九宫格", words, rows, columns, cells)


def main(arguments: Sequence[str]) -> None:
    """Draw what is released."""
    elsewhere = dict(argument.split("=", 1) for argument in arguments)
    OUT.mkdir(exist_ok=True)
    for deployment in (*BARS, "sales_force"):
        data = Path(elsewhere.get(deployment, ROOT / "var" / deployment))
        if not (data / "catalogs" / "current.json").exists():
            print(f"{deployment}: nothing released in {data}")
            continue
        released = Released(data)
        pictures = {program: level_bars(released, program) for program in BARS.get(deployment, ())}
        if deployment == "telecom":
            pictures["pareto_curve"] = pareto(released, "customer_pyramid")
        if deployment == "sales_force":
            pictures["nine_grid"] = nine_grid(released, "nine_grid")
        for name, picture in pictures.items():
            (OUT / f"{name}.svg").write_text(picture, encoding="utf-8")
            print(f"docs/schemes/{name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
