"""What a materialization shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb

from orchestration.wiring.metadata import feed_metadata, level_chart, level_counts, level_table, markdown_table, row_counts

COUNTS = [
    {"program_id": "six_star", "period": "2026-05", "level_id": "star_1", "subjects": 75},
    {"program_id": "six_star", "period": "2026-05", "level_id": "star_6", "subjects": 25},
    {"program_id": "six_star", "period": "2026-06", "level_id": "star_1", "subjects": 100},
]


def test_a_cell_with_a_bar_does_not_break_the_table() -> None:
    assert markdown_table(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_level_shares_are_of_the_period() -> None:
    table = level_table(COUNTS)
    assert "| 2026-05 | star_6 | 25 | 25.0 % | ██████ |" in table
    assert "| 2026-06 | star_1 | 100 | 100.0 % |" in table


def drawn(counts: list[dict[str, Any]]) -> list[ElementTree.Element]:
    """The shapes of a chart."""
    svg = base64.b64decode(level_chart(counts).removeprefix("![levels](data:image/svg+xml;base64,").removesuffix(")"))
    return list(ElementTree.fromstring(svg))


def named(shapes: list[ElementTree.Element], kind: str) -> list[ElementTree.Element]:
    return [shape for shape in shapes if shape.tag.endswith(kind)]


def test_the_chart_is_an_image_with_one_box_per_level() -> None:
    shapes = drawn(COUNTS)
    boxes = named(shapes, "rect")
    assert len(boxes) == 3
    assert float(boxes[0].attrib["width"]) == 3 * float(boxes[1].attrib["width"])
    assert [shape.text for shape in named(shapes, "text")] == ["six_star", "star_1", "star_6", "2026-05", "75", "25", "2026-06", "100"]
    assert boxes[0].attrib["fill"] == boxes[2].attrib["fill"] == named(shapes, "circle")[0].attrib["fill"], (
        "the colour of a level is explained"
    )


def test_a_chart_of_many_levels_stays_in_its_width() -> None:
    cells = [f"potential_{p}_business_{b}" for p in "abc" for b in "123"]
    counts = [{"program_id": "grid", "period": "2026-06", "level_id": cell, "subjects": place} for place, cell in enumerate(cells)]
    shapes = drawn(counts)
    assert len({dot.attrib["fill"] for dot in named(shapes, "circle")}) == 9, "a colour of its own for each of nine cells"
    assert len({dot.attrib["cy"] for dot in named(shapes, "circle")}) > 1, "the names need more than a line"
    assert all(float(box.attrib["x"]) + float(box.attrib["width"]) <= 640.1 for box in named(shapes, "rect"))
    assert all(float(text.attrib["x"]) + 6 * len(text.text or "") <= 640 for text in named(shapes, "text"))


def test_a_chart_of_nothing_is_empty() -> None:
    assert drawn([]) == []


def test_counts_are_read_from_the_marts_in_rank_order(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute("create schema marts")
        con.execute(
            "create table marts.dim_levels as select 'p' as program_id, unnest(['a', 'b']) as level_id, unnest([2, 1]) as level_rank"
        )
        con.execute(
            "create table marts.fct_level_counts as select 'p' as program_id, unnest(['2026-05', '2026-05', '2026-05', '2026-06']) as period, "
            "unnest(['a', 'b', null, 'a']) as level_id, unnest([1, 2, 3, 4]) as subjects"
        )
    found = level_counts(file, ["2026-05"])
    assert [(row["level_id"], row["subjects"]) for row in found] == [("no level", 3), ("b", 2), ("a", 1)]
    assert row_counts(file, [("marts", "dim_levels"), ("marts", "absent")]) == {("marts", "dim_levels"): 2}


def test_a_feed_shows_its_rows_and_why_some_were_rejected() -> None:
    files = [
        {"file": "a.csv", "rows_in": 10, "landed": 8, "quarantined": 2, "reasons": {"bad_date": 1, "duplicate_key": 2}},
        {"file": "b.csv", "rows_in": 5, "landed": 4, "quarantined": 1, "reasons": {"bad_date": 1}},
    ]
    found = feed_metadata(files)
    assert (found["rows_in"].value, found["dagster/row_count"].value, found["quarantined"].value) == (15, 12, 3)
    assert found["quarantine_by_reason"].value.splitlines()[2:] == ["| bad_date | 2 |", "| duplicate_key | 2 |"]
