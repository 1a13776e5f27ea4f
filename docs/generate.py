"""Writes the reference pages that are made from code and data: ``make docs``, or ``python -m docs.generate``.

Each page is a pure function to text; ``tests/docs`` checks that what stands in ``docs/reference`` is what they give.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestration.deployment import Config

DOCS = Path(__file__).resolve().parent
CONTRACTS = DOCS.parent / "orchestration" / "ingest" / "contracts"
_MADE = "<!-- Made by `make docs`. Do not edit by hand. -->"

# What the code reads from the environment. A test checks that the code reads no other TIERHOUSE_ variable.
ENVIRONMENT = {
    "TIERHOUSE_DEPLOYMENT": "folder of the deployment, where `--deployment` is not given",
    "TIERHOUSE_DATA": "takes the place of `data:` in `tierhouse.yaml`; for tests and trials",
    "TIERHOUSE_DROPS": "takes the place of `drops:` in `tierhouse.yaml`; for tests and trials",
    "TIERHOUSE_FAILPOINT": "for tests only: kills the process at a named step (`orchestration/failpoints.py`)",
}

# The first three are what nearly every deployment delivers; the rest follow by name.
_FIRST = ("customers", "bill_lines", "lines")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    named = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
    if len(named) == 1 and typing.get_origin(annotation) is not list:
        return _type_name(named[0])
    if named:
        return str(annotation).replace("typing.", "")
    return {"str": "text", "float": "number", "int": "whole number", "bool": "`true` or `false`"}.get(
        annotation.__name__, annotation.__name__
    )


def model_rows(model: type[BaseModel]) -> list[list[str]]:
    """Key, type, default and meaning of every field of a configuration model."""
    rows = []
    for name, field in model.model_fields.items():
        if field.is_required():
            default = "required"
        elif field.default is None or field.default is PydanticUndefined:
            default = "none"
        else:
            default = f"`{field.default}`"
        rows.append([f"`{field.alias or name}`", _type_name(field.annotation), default, field.description or ""])
    return rows


def configuration_page() -> str:
    """The keys of ``tierhouse.yaml`` and the environment variables."""
    example = (DOCS.parent / "examples" / "telecom" / "tierhouse.yaml").read_text(encoding="utf-8").strip()
    return (
        "\n\n".join(
            [
                "# Configuration",
                _MADE,
                "A deployment is a folder with a file `tierhouse.yaml`. Paths in it are relative to that folder. "
                "An unknown key is an error that names the key which was probably meant.",
                "## tierhouse.yaml",
                table(["key", "type", "default", "meaning"], model_rows(Config)),
                "The sample company's file:",
                f"```yaml\n{example}\n```",
                "## Environment",
                table(["variable", "meaning"], [[f"`{name}`", meaning] for name, meaning in ENVIRONMENT.items()]),
                "Source mappings are described in [onboarding a source](../onboarding-a-source.md), the columns they fill in [contracts](contracts.md).",
            ]
        )
        + "\n"
    )


def _rules(column: dict[str, Any]) -> str:
    """What a value must satisfy, in words."""
    parts = ["required"] if column.get("required") else []
    if column.get("allowed"):
        parts.append("one of " + ", ".join(f"`{value}`" for value in column["allowed"]))
    if "minimum" in column:
        parts.append(f"at least {column['minimum']}")
    if "maximum" in column:
        parts.append(f"at most {column['maximum']}")
    if column.get("allowed_currency"):
        parts.append("the deployment's currency")
    if column.get("negative") == "credit_or_adjustment":
        parts.append("negative only on a credit note or an adjustment")
    if column.get("references"):
        parts.append(f"must exist in `{column['references']}`")
    if column.get("personal"):
        parts.append("**personal**: kept in the vault only")
    return "; ".join(parts)


def load_contract_files() -> dict[str, dict[str, Any]]:
    """The contract files by entity, the main ones first."""
    found = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CONTRACTS.glob("*.yaml"))}
    return {name: found[name] for name in [*_FIRST, *(n for n in found if n not in _FIRST)]}


def contracts_page() -> str:
    """Every entity that a source may deliver, with its columns."""
    contracts = load_contract_files()
    parts = [
        "# Contracts",
        _MADE,
        "An entity is a kind of data that a source may deliver. Only `customers` and `bill_lines` are required, and a deployment with "
        "`customers_from: bill_lines` needs no `customers`. A row that breaks a rule goes to quarantine with every reason.",
        table(["entity", "grain", "what"], [[f"[{n}](#{n})", c["grain"], c["description"]] for n, c in contracts.items()]),
    ]
    for name, contract in contracts.items():
        facts = [f"Grain: {contract['grain']}. Key: {', '.join(f'`{k}`' for k in contract['key'])}."]
        if contract.get("period_from"):
            facts.append(f"Period: from `{contract['period_from']}`.")
        if contract.get("history"):
            facts.append(f"Effective-dated by `{contract['history']}`.")
        rows = [[f"`{n}`", c["type"], _rules(c), c["description"]] for n, c in contract["columns"].items()]
        parts += [f"## {name}", contract["description"], " ".join(facts), table(["column", "type", "rules", "meaning"], rows)]
    return "\n\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/configuration.md": configuration_page,
    "reference/contracts.md": contracts_page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
