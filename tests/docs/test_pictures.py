"""The pictures of the schemes are drawings that a browser can read, whatever names and counts they get."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from docs import pictures

SVG = "{http://www.w3.org/2000/svg}"


def shown(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_bars_show_each_level_with_count_and_share() -> None:
    assert shown(pictures.bars("A & B", "<2026-06>", [("high", 30), ("low", 10), ("none", 0)])) == [
        "A & B",
        "<2026-06>",
        "high",
        "30  (75.0 %)",
        "low",
        "10  (25.0 %)",
        "none",
        "0  (0.0 %)",
    ]


def test_labels_of_bars_begin_inside_the_picture() -> None:
    files = sorted(pictures.OUT.glob("*.svg"))
    assert len(files) > 10
    for file in files:
        for node in ElementTree.parse(file).iter(f"{SVG}text"):
            width = pictures.width_of(node.text or "") if node.get("text-anchor") == "end" else 0
            assert float(node.get("x", 0)) - width >= 0, f"{file.name}: {node.text}"
    picture = ElementTree.fromstring(pictures.bars("title", "words", [("far, " * 12 + "· 尚远", 30), ("close", 10)]))
    assert {node.get("text-anchor") for node in picture.iter(f"{SVG}text")} == {"start"}


@pytest.mark.parametrize("rows", [[], [("nobody", 0)]])
def test_nobody_is_no_error(rows: list[tuple[str, int]]) -> None:
    assert shown(pictures.bars("title", "words", rows))[:2] == ["title", "words"]


def test_a_curve_begins_at_nothing_and_ends_at_all() -> None:
    picture = pictures.curve("title", "words", [(0.5, 0.8), (1.0, 1.0)], [(0.5, 0.8, "half bring 80 %")])
    assert 'd="M70.0 396.0 L235.0 132.0 L400.0 66.0"' in picture
    assert "half bring 80 %" in shown(picture)


def test_a_table_of_cells_shows_every_count() -> None:
    found = shown(pictures.heat("title", "words", ["A", "B"], ["1"], {(0, 0): ("A1", 7), (1, 0): ("B1", 0)}))
    assert {"A1", "7", "B1", "0"} <= set(found)
