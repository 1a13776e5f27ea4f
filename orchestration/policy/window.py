"""A window of months as seeds write it: which months it holds, asked as numbers and as SQL, and how far back it looks.

The one reading of ``6m``, ``previous_6m``, ``ytd``, ``last_year`` and ``total``. What is added up in it is for ``sql``; ``audit`` reads
windows again for itself, because it is to find what is wrong here.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.policy.cells import WINDOW


@dataclass(frozen=True)
class Bound:
    """A month ``back`` months before the month that is asked for, or before the January of its year."""

    back: int
    of_january: bool = False

    def month(self, index: int) -> int:
        """The month index, where ``index`` is asked for."""
        return (index - index % 12 if self.of_january else index) - self.back

    def sql(self, index: str) -> str:
        """As :meth:`month`, over an SQL expression."""
        start = f"{index} - {index} % 12" if self.of_january else index
        return f"{start} - {self.back}" if self.back else start

    @property
    def farthest(self) -> int:
        """How many months before the month that is asked for it can be."""
        return self.back + (11 if self.of_january else 0)


@dataclass(frozen=True)
class Window:
    """First and last month of a window; None for ``total``, which begins with the first month there is.

    ``length``: months that it holds at most; None for ``total``.
    """

    first: Bound | None
    last: Bound
    length: int | None

    @classmethod
    def of(cls, text: str) -> Window:
        """Of a window as :func:`cells.parse_window` gives it."""
        if text == "total":
            return cls(None, Bound(0), None)
        if text == "ytd":
            return cls(Bound(0, of_january=True), Bound(0), 12)
        if text == "last_year":
            return cls(Bound(12, of_january=True), Bound(1, of_january=True), 12)
        found = WINDOW.fullmatch(text)
        if found is None or found[2] is None:
            raise ValueError(f"{text!r} is no window")
        length = int(found[2])
        before = length if found[1] else 0
        return cls(Bound(before + length - 1), Bound(before), length)

    @property
    def is_trailing(self) -> bool:
        """Whether it holds a fixed number of months that ends with the one that is asked for: ``6m``."""
        return self.first is not None and not self.first.of_january and self.last == Bound(0)

    @property
    def reach(self) -> int:
        """Months that it looks back at most, the month that is asked for included; 1 for ``total``, which is carried."""
        return 1 + self.first.farthest if self.first else 1

    def months(self, index: int) -> tuple[int, int]:
        """First and last month index where month ``index`` is asked for; not of ``total``."""
        if self.first is None:
            raise ValueError("total has no first month")
        return self.first.month(index), self.last.month(index)

    def sql_range(self, index: str, until: str | None = None) -> tuple[str, str]:
        """As :meth:`months`, over SQL. With ``until``: to the last month of the window where that month is asked for."""
        if self.first is None:
            raise ValueError("total has no first month")
        return self.first.sql(index), self.last.sql(until or index)
