"""Numbers with their nouns, as messages write them, and text of sources as it may stand in one. The words of explanations, which are Chinese
too, are in ``audit.texts``."""

from __future__ import annotations

import unicodedata


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``1,234 rows``; ``many`` where it is not ``one`` and an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def one_line(text: str) -> str:
    """Text of a source for a terminal: what would move its cursor, change its colours or turn the line round stands as its number."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Cf") else c for c in text)
