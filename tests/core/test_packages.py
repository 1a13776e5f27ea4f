"""Domain code imports neither Dagster nor the command line, so that each function can be called and tested alone (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from orchestration.deployment import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "orchestration"


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_dagster_is_imported_by_the_wiring_alone_and_the_wiring_by_the_command_line() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).parts[0]
        if place in ("wiring", "definitions.py"):
            continue
        forbidden = ["dagster"] if place == "cli" else ["dagster", "orchestration.wiring", "orchestration.definitions", "orchestration.cli"]
        found += [(str(path.relative_to(PACKAGE)), name) for name in imports(path) if name.startswith(tuple(forbidden))]
    assert found == []


def test_the_folder_names_that_the_architecture_tells_are_the_packages() -> None:
    told = (PROJECT_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {path.parent.relative_to(PROJECT_ROOT).as_posix() for path in PACKAGE.glob("*/__init__.py")}
    assert [name for name in sorted(packages) if f"`{name}`" not in told] == []
