"""Exact numbers: quotients that are compared as products, and whole millionths. Nothing here divides before it compares."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Context, Decimal

# Products of a sum over everyone (38 digits) and a bar (18 digits) keep every digit.
_EXACT = Context(prec=120)
MILLION = 10**6
FULL_SCORE = 100 * MILLION
_AMOUNT_STEP = Decimal("0.0001")


@dataclass(frozen=True)
class Number:
    """``top × scale / bottom``; ``bottom`` is above zero. A plain number has 1 for both."""

    top: Decimal
    bottom: Decimal = Decimal(1)
    scale: int = 1

    @property
    def left(self) -> Decimal:
        """The side of a comparison that does not hold the bar."""
        return _EXACT.multiply(self.top, Decimal(self.scale))

    def bar(self, value: Decimal) -> Decimal:
        """The side of a comparison that holds the bar ``value``."""
        return _EXACT.multiply(value, self.bottom)

    def compare(self, value: Decimal) -> int:
        """-1, 0 or 1: whether the number is below, at or above ``value``."""
        return int(_EXACT.compare(self.left, self.bar(value)))

    def short_of(self, value: Decimal) -> Decimal:
        """How much more of ``top`` reaches ``value``, never less than enough; negative where it is above."""
        gap = _EXACT.subtract(self.bar(value), self.left)
        # A score has more decimals than an amount: like a quotient's, its gap is rounded up to the amount that is enough.
        if self.scale == 1 and gap == gap.quantize(_AMOUNT_STEP, ROUND_CEILING, _EXACT):
            return gap
        return _EXACT.divide(gap, Decimal(self.scale)).quantize(_AMOUNT_STEP, ROUND_CEILING, _EXACT)

    @property
    def value(self) -> Decimal:
        """The quotient, rounded to six places to be read; a plain number as it is."""
        if self.bottom == 1 and self.scale == 1:
            return self.top
        return self.to_places(6)

    def to_places(self, places: int) -> Decimal:
        """Rounded to so many places, to be read."""
        return _EXACT.divide(self.left, self.bottom).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _EXACT)

    @property
    def millionths(self) -> int:
        """In whole millionths, cut off towards zero."""
        top, bottom = int(self.top * 10_000) * self.scale * MILLION, int(self.bottom * 10_000)
        return top // bottom if top >= 0 else -(-top // bottom)


def millionths_of(value: Decimal) -> int:
    """A decimal in whole millionths, cut off towards zero."""
    return int(value.scaleb(6, _EXACT))


def as_score(millionths: int) -> Decimal:
    """Whole millionths as a number with six places."""
    return Decimal(millionths).scaleb(-6, _EXACT)


def min_max(value: int, low: int, high: int) -> int:
    """The way from ``low`` to ``high`` in millionths of a per cent, kept within 0 and 100; 0 where there is no way."""
    if high == low or value <= low:
        return 0
    return min(FULL_SCORE, (value - low) * FULL_SCORE // (high - low))


def total(values: list[Decimal]) -> Decimal:
    """An exact sum."""
    found = Decimal(0)
    for value in values:
        found = _EXACT.add(found, value)
    return found
