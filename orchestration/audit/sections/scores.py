"""Scores: a table of dimensions with the number found, its scaled value, weight, contribution and rule for what is missing."""

from __future__ import annotations

from decimal import Decimal

from orchestration.audit.explain import Explanation
from orchestration.audit.numbers import Number
from orchestration.audit.readings import DimensionReading, Reading
from orchestration.audit.sections import words
from orchestration.audit.texts import Lang, text
from orchestration.policy.model import Dimension


def scores(e: Explanation, lang: Lang) -> list[str]:
    """Every score that the conditions rest on."""
    lines: list[str] = []
    for reading in e.readings:
        if reading.attribute.kind == "score":
            lines += [*([""] if lines else []), *_score(e, reading, lang)]
    return lines


def _score(e: Explanation, reading: Reading, lang: Lang) -> list[str]:
    title = words.name(reading.attribute, lang)
    if isinstance(reading.value, Decimal):
        head = text(lang, "score", name=title, value=words.amount(reading.value))
    else:
        head = text(lang, "score_none", name=title)
    rows = [
        [
            words.name(d.dimension, lang),
            _number(e, d, lang),
            text(lang, "nothing") if d.scaled is None else words.amount(d.scaled),
            words.amount(d.dimension.weight),
            text(lang, "nothing") if d.contribution is None else words.rounded(Number(d.contribution)),
            f"{_scaling(d.dimension, lang)}; {text(lang, f'missing_{d.dimension.missing}')}",
        ]
        for d in reading.dimensions
    ]
    return [head, *words.table(lang, "score_head", rows, right=(1, 2, 3, 4))]


def _number(e: Explanation, d: DimensionReading, lang: Lang) -> str:
    number = d.reading.number
    if number is None:
        return text(lang, "nothing")
    # Beside the score of a band the number is on its side of the bounds.
    bars = [below for below, _ in d.dimension.bands if below is not None]
    shown = words.amount(number.top) if number.bottom == number.scale == 1 else words.rounded(number, bars)
    return shown + words.unit(d.reading.attribute.unit, e.unit, lang, number.value)


def _scaling(dimension: Dimension, lang: Lang) -> str:
    if dimension.scaling != "min_max":
        return text(lang, f"scaling_{dimension.scaling}")
    low = text(lang, "scaling_lowest") if dimension.low is None else words.amount(dimension.low)
    high = text(lang, "scaling_highest") if dimension.high is None else words.amount(dimension.high)
    return text(lang, "scaling_min_max", low=low, high=high)
