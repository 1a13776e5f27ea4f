"""What marts and their columns are, as their models say it: for the release's files and the reference page.

The one declaration is the YAML beside each model; nothing here is written by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import yaml

from orchestration.deployment import PROJECT_ROOT

# Ten times as fast, where it is there.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Description:
    """One mart: what is said of it (grain, purpose, nuance, key), and of its columns by name, with their types as declared."""

    folder: str
    text: str
    columns: dict[str, str]
    types: dict[str, str]


@cache
def mart_descriptions() -> dict[str, Description]:
    """Mart → what it is, by folder and name."""
    models = PROJECT_ROOT / "models"
    blocks: dict[str, str] = {}
    for page in models.rglob("*.md"):
        blocks.update(re.findall(r"{% docs (\w+) %}\s*(.*?)\s*{% enddocs %}", page.read_text(encoding="utf-8"), re.DOTALL))

    def whole(text: str) -> str:
        """With the texts that models share put in (``doc`` of dbt)."""
        return re.sub(r"""{{ *doc\(["'](\w+)["']\) *}}""", lambda match: blocks[match[1]], str(text)).strip()

    found = {}
    for path in sorted((models / "marts").glob("*/*.yml")):
        for model in yaml.load(path.read_text(encoding="utf-8"), _LOADER).get("models", []):
            columns = {column["name"]: whole(column["description"]) for column in model["columns"]}
            types = {column["name"]: str(column["data_type"]) for column in model["columns"]}
            found[model["name"]] = Description(path.parent.name, whole(model["description"]), columns, types)
    return found
