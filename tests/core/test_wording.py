"""Numbers stand with their nouns as a person would write them."""

from __future__ import annotations

import pytest

from orchestration.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (1234, ("failing row",), "1,234 failing rows"),
        (1, ("entry", "entries"), "1 entry"),
        (2, ("entry", "entries"), "2 entries"),
    ],
)
def test_a_noun_is_that_of_its_number(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text
