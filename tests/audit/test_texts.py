"""The two languages say the same."""

from __future__ import annotations

import re
import string
from decimal import Decimal

import pytest

from orchestration.audit.sections.words import amount
from orchestration.audit.texts import TEXTS


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_have_the_text_with_the_same_placeholders(key: str) -> None:
    assert _placeholders(TEXTS[key]["en"]) == _placeholders(TEXTS[key]["zh"])
    assert not re.search(r"[\u4e00-\u9fff]", TEXTS[key]["en"])
    has_words = re.search(r"[A-Za-z]", re.sub(r"\{\w+\}", "", TEXTS[key]["en"]))
    assert not has_words or re.search(r"[\u4e00-\u9fff]", TEXTS[key]["zh"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1930.0000", "1,930"), ("79.9950", "79.995"), ("0.1000", "0.10"), ("-20.0000", "-20"), ("15000", "15,000"), ("0.0000", "0")],
)
def test_amounts_show_every_digit_that_matters(value: str, shown: str) -> None:
    assert amount(Decimal(value)) == shown
