"""Models of models/ as plain SQL over tables of a test: the macros that they use are rendered from the project's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import yaml

from orchestration.deployment import PROJECT_ROOT


def rendered(model: str, *, compiled: dict[str, str] | None = None) -> str:
    """The SELECT of a model, built for the first time; refs and sources are tables of their bare name."""
    path = next((PROJECT_ROOT / "models").rglob(f"{model}.sql"))
    settings = yaml.safe_load((PROJECT_ROOT / "dbt_project" / "dbt_project.yml").read_text())
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    relations: dict[str, Any] = {"ref": lambda name: name, "source": lambda _, name: name}
    names: dict[str, Any] = {
        **relations,
        **_macros(environment, PROJECT_ROOT / "dbt_project" / "macros" / "dialect.sql", relations),
        **_macros(environment, PROJECT_ROOT / "dbt_project" / "macros" / "levels.sql", relations),
        "config": lambda **_: "",
        "var": lambda name: settings["vars"][name],
        "is_incremental": lambda: False,
        "compiled_relation": lambda name: (compiled or {})[name],
        "compiled_columns": lambda name: f", {(compiled or {})[name]}",
        "plain_storage": lambda _: "",
    }
    return environment.from_string(path.read_text()).render(names)


def _macros(environment: jinja2.Environment, path: Path, relations: dict[str, Any]) -> dict[str, Any]:
    """The macros of a file, dispatched to DuckDB's."""
    module: Any = None

    def returned(value: str) -> str:
        return value

    def dispatch(name: str) -> Any:
        return getattr(module, f"duckdb__{name}")

    environment.globals.update({"adapter": SimpleNamespace(dispatch=dispatch), "return": returned})
    module = environment.from_string(path.read_text().replace("return(", "returned(")).make_module(
        {**relations, "returned": returned, "adapter": SimpleNamespace(dispatch=dispatch)}
    )
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
