"""The two languages say the same."""

from __future__ import annotations

import csv
import re
import string
from decimal import Decimal

import pytest

from orchestration.audit.numbers import Number
from orchestration.audit.sections.words import amount, rounded, unit
from orchestration.audit.texts import TEXTS, Lang, of_count, text
from orchestration.deployment import PROJECT_ROOT
from orchestration.ingest.contracts import load_contracts
from orchestration.policy.model import APPLICATION_STATES
from orchestration.policy.reader import load_schema


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_have_the_text_with_the_same_placeholders(key: str) -> None:
    assert _placeholders(TEXTS[key]["en"]) == _placeholders(TEXTS[key]["zh"])
    assert not re.search(r"[\u4e00-\u9fff]", TEXTS[key]["en"])
    has_words = re.search(r"[A-Za-z]", re.sub(r"\{\w+\}", "", TEXTS[key]["en"]))
    assert not has_words or re.search(r"[\u4e00-\u9fff]", TEXTS[key]["zh"])


def test_chinese_texts_of_policies_have_chinese_commas() -> None:
    """They stand in explanations beside texts that have them."""
    wrong = []
    for folder in (PROJECT_ROOT / "seeds", *(PROJECT_ROOT / "examples").glob("*/policies")):
        for path in sorted(folder.glob("*.csv")):
            with path.open(encoding="utf-8-sig") as file:
                texts = [value for row in csv.DictReader(file) for name, value in row.items() if name and name.endswith("_zh") and value]
            wrong += [(path.name, value) for value in texts if re.search(r"[\u4e00-\u9fff][,;:!?]", value)]
    assert wrong == []


def _units() -> set[str]:
    """Words of units in the seeds of the project and of every example."""
    found = set()
    for folder in (PROJECT_ROOT / "seeds", *(PROJECT_ROOT / "examples").glob("*/policies")):
        for name in ("attributes", "metrics", "measures"):
            if (folder / f"{name}.csv").is_file():
                with (folder / f"{name}.csv").open(encoding="utf-8-sig") as file:
                    found |= {word for row in csv.DictReader(file) for word in row["unit"].split("/") if word}
    return found - {"currency"}


def test_every_unit_of_the_seeds_has_a_word_in_both_languages() -> None:
    units = _units()
    assert "points" in units
    assert {unit for unit in units if f"unit_{unit}" not in TEXTS} == set()


@pytest.mark.parametrize(
    ("words", "lang", "number", "shown"),
    [
        ("months", "en", "1", " month"),
        ("months", "en", "1.0000", " month"),
        ("months", "en", "0", " months"),
        ("months", "en", "1.5", " months"),
        ("months", "zh", "1", " 个月"),
        ("points/month", "en", "1", " point/month"),
        ("currency/month", "en", "1", " CNY/month"),
        ("%", "en", "1", " %"),
        # A unit that a deployment made up stands as it is.
        ("boxes", "en", "1", " boxes"),
    ],
)
def test_a_unit_is_that_of_its_number(words: str, lang: Lang, number: str, shown: str) -> None:
    assert unit(words, "CNY", lang, Decimal(number)) == shown


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    said = {count: text("en", of_count("found_average", count), top="10", bottom=count, value="10") for count in (1, 2)}
    assert said == {1: "the sum is 10 over 1 month in service (10 a month)", 2: "the sum is 10 over 2 months in service (10 a month)"}
    assert {key for key in TEXTS if key.endswith("_one") and key.removesuffix("_one") not in TEXTS} == set()


def test_every_choice_that_a_decision_may_hold_has_a_text() -> None:
    schema = load_schema()
    methods = schema["programs"].columns["method"].choices
    kinds = schema["programs"].columns["subject_type"].choices
    dimensions = schema["score_dimensions"].columns
    wanted = [f"method_{m}" for m in methods] + [f"kind_{k}" for k in kinds]
    wanted += [f"scaling_{s}" for s in dimensions["scaling"].choices] + [f"missing_{m}" for m in dimensions["missing"].choices]
    wanted += [f"rule_{h}" for h in schema["programs"].columns["hit_policy"].choices]
    wanted += [f"fall_{f}" for f in schema["policy_versions"].columns["fall"].choices] + [f"state_{s}" for s in APPLICATION_STATES]
    wanted += [f"nomination_{k}" for k in load_contracts()["nominations"].columns["kind"].allowed or []]
    wanted += [f"app_{s}" for s in load_contracts()["applications"].columns["step"].allowed or []]
    wanted += [f"review_{r}" for r in ("first", "rose", "held", "renewed", "grace", "fell_one_level", "fell_to_qualified")]
    causes = "attributes bill_corrections new_spend window_roll_off points population policy nomination cap validity joined left"
    wanted += [f"cause_{c}" for c in causes.split()]
    assert len(wanted) > 40
    assert [key for key in wanted if key not in TEXTS] == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1930.0000", "1,930"), ("79.9950", "79.995"), ("0.1000", "0.10"), ("-20.0000", "-20"), ("15000", "15,000"), ("0.0000", "0")],
)
def test_amounts_show_every_digit_that_matters(value: str, shown: str) -> None:
    assert amount(Decimal(value)) == shown


@pytest.mark.parametrize(
    ("top", "bottom", "scale", "bars", "shown"),
    [
        ("9999999", "1000000000", 100, ["1"], "0.9999999"),
        ("1000000001", "100000000000", 100, ["1"], "1.000000001"),
        ("10000000", "1000000000", 100, ["1"], "1.00"),
        ("1", "8", 1, ["0.125"], "0.125"),
        ("22.498", "5", 1, ["4.5", "5"], "4.4996"),
        ("22.498", "5", 1, [], "4.50"),
    ],
)
def test_a_quotient_is_shown_on_its_side_of_every_bar(top: str, bottom: str, scale: int, bars: list[str], shown: str) -> None:
    assert rounded(Number(Decimal(top), Decimal(bottom), scale), [Decimal(bar) for bar in bars]) == shown
