"""Numbers, names, units and tables as every section writes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from orchestration.audit.explain import NONE_HOLDS, NOT_IN_SERVICE, SEVERAL_HOLD, Explanation
from orchestration.audit.numbers import Number
from orchestration.audit.texts import TEXTS, Lang, of_count, text, text_if_any
from orchestration.policy.model import Attribute, Value, text_of

# More lines than a screen takes; all of them are in the JSON.
MAX_ROWS = 120
MAX_LISTED = 20
# A quotient of amounts that is not a bar differs from it before.
MAX_PLACES = 60
NO_VERSION = "no policy version holds for the period"


def amount(value: Decimal) -> str:
    """All digits that matter, with separators: ``1,930`` and ``79.995``, at least two places if any."""
    return f"{value:,.{places([value])}f}"


def rounded(number: Number, bars: Collection[Decimal] = ()) -> str:
    """Two places, to be read; what is compared is exact and stands beside it. As many more as put it on its own side of every bar."""
    shown = number.to_places(2)
    sides = [number.compare(bar) for bar in bars]
    if sides == [Number(shown).compare(bar) for bar in bars]:
        return f"{shown:,.2f}"
    finer = (number.to_places(n) for n in range(6, MAX_PLACES))
    return amount(next((n for n in finer if sides == [Number(n).compare(bar) for bar in bars]), number.value))


def places(values: Iterable[Decimal]) -> int:
    """Decimal places that show every value of a column in full: none for whole numbers, else at least two."""
    needed = max((-int(value.normalize().as_tuple().exponent) for value in values), default=0)
    return max(needed, 2) if needed > 0 else 0


def name(item: Any, lang: Lang) -> str:
    """The name of a level, attribute, metric, program, dimension or band."""
    return str(item.row[f"name_{lang}"])


def level(e: Explanation, level_id: str | None, lang: Lang) -> str:
    """The name of a level of the program."""
    known = {item.level_id: item for item in e.program.levels}
    return name(known[level_id], lang) if level_id in known else level_id or text(lang, "no_level")


def value_of(attribute: Attribute, value: Value | None, lang: Lang, e: Explanation) -> str:
    """A value as a person writes it: levels, bands and states by name, categories by their id."""
    if value is None:
        return text(lang, "nothing")
    if isinstance(value, bool):
        return text(lang, "true" if value else "false")
    if isinstance(value, int | Decimal):
        return amount(Decimal(value))
    if attribute.kind == "nomination":
        return level(e, str(value), lang)
    if attribute.kind == "application":
        return text_if_any(lang, f"state_{value}", str(value))
    if attribute.kind == "band":
        return next((name(band, lang) for band in attribute.bands if band.band_id == value), str(value))
    return text_of(value)


def unit(words: str | None, currency: str, lang: Lang, number: Decimal | None) -> str:
    """The unit of ``number`` with a space before it; nothing where there is none. What stands after a slash is of one."""
    if not words:
        return ""
    keys = [of_count(f"unit_{part}", None if place else number) for place, part in enumerate(words.split("/"))]
    parts = [currency if part == "currency" else text_if_any(lang, key, part) for part, key in zip(words.split("/"), keys, strict=True)]
    return " " + "/".join(parts)


def time(at: str) -> str:
    """``2026-07-03 06:12:40``"""
    return at[:19].replace("T", " ")


def reason(e: Explanation, lang: Lang) -> str:
    """Why a decision has no level."""
    found = str(e.decision["status_reason"] or "")
    rule = next((v for v in e.tables.scope if v.item_id == found), None)
    if rule is not None:
        return str(rule.row[f"description_{lang}"])
    if found.startswith("needs "):
        return text(lang, "reason_needs", what=found.removeprefix("needs "))
    keys = {
        "left": "reason_left",
        NOT_IN_SERVICE: "reason_not_in_service",
        SEVERAL_HOLD: "reason_several",
        NONE_HOLDS: "reason_none",
        NO_VERSION: "reason_version",
    }
    return text(lang, keys[found]) if found in keys else found


def operator(sign: str, lang: Lang) -> str:
    """An operator in words where it is no sign."""
    return TEXTS[f"op_{sign}"][lang] if f"op_{sign}" in TEXTS else sign


def day(value: date | None, lang: Lang) -> str:
    """A day, or that there is none."""
    return text(lang, "nothing") if value is None else value.isoformat()


def sentences(parts: list[str], lang: Lang) -> str:
    """Sentences in one line. Chinese ones stand without a space between them."""
    return ("" if lang == "zh" else " ").join(parts)


def limited(lines: list[str], whole: int, shown: int, lang: Lang) -> list[str]:
    """``lines`` with a last one that says how many rows it leaves out."""
    return [*lines, "  " + text(lang, "more", rows=f"{whole - shown:,}")] if whole > shown else lines


def table(lang: Lang, key: str, rows: list[list[str]], right: tuple[int, ...], before: Sequence[str] = ()) -> list[str]:
    """Aligned columns under the head of that key, with the heads ``before`` it; those of ``right`` to the right. Chinese characters take two
    places."""
    head = [*before, *text(lang, key).split("\t")]
    widths = [max(_width(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: list[str]) -> str:
        cells = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - _width(cell))
            cells.append(space + cell if i in right else cell + space)
        return ("  " + "  ".join(cells)).rstrip()

    return [line(head), *(line(row) for row in rows)]


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell)
