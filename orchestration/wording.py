"""Numbers with their nouns, as messages write them. The words of explanations, which are Chinese too, are in ``audit.texts``."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``1,234 rows``; ``many`` where it is not ``one`` and an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
