"""The generated reference pages are current and say everything that the code reads."""

from __future__ import annotations

import re

import pytest

from docs.generate import DOCS, ENVIRONMENT, PAGES
from orchestration.deployment import PROJECT_ROOT, Config
from orchestration.ingest.contracts import load_contracts


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_generator_gives(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs` and commit the result"


def test_configuration_page_names_every_key_with_its_meaning() -> None:
    page = PAGES["reference/configuration.md"]()
    for name, field in Config.model_fields.items():
        assert f"| `{name}` |" in page
        assert field.description or name in ("title",), f"{name} has no description"


def test_contracts_page_names_every_column() -> None:
    page = PAGES["reference/contracts.md"]()
    for entity, contract in load_contracts().items():
        section = page.split(f"\n## {entity}\n")[1].split("\n## ")[0]
        assert all(f"| `{column}` |" in section for column in contract.columns)


def test_every_environment_variable_that_the_code_reads_is_documented() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "orchestration").rglob("*.py"))
    assert set(re.findall(r"TIERHOUSE_[A-Z_]+", code)) <= set(ENVIRONMENT)
