"""The dbt project as Dagster sees it: where it is, when its manifest is stale, and how its command line is started."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from dagster_dbt import DbtCliInvocation, DbtCliResource, DbtProject
from filelock import FileLock
from packaging.version import Version

from orchestration.deployment import PROJECT_ROOT, Deployment
from orchestration.errors import Failed
from orchestration.ingest.files import sha256_file
from orchestration.ledger.store import digest
from orchestration.warehouse import DBT_PROJECT, dbt_env
from orchestration.warehouse.plan import files_hash

RESULTS = "run_results.json"
_PARSED = (
    *("dbt_project/*.yml", "dbt_project/macros/**/*.sql", "dbt_project/tests/**/*.sql"),
    *("models/**/*.sql", "models/**/*.yml", "models/**/*.md"),
)


class QuickDbtCli(DbtCliResource):  # type: ignore[misc] # dagster-dbt is not typed for mypy
    """DbtCliResource without what it does before every call: ``dbt --version`` and an adapter of its own (5 s together).

    Both overrides are of private members; should they be renamed, runs get slower, not wrong. The version comes from
    the installed package; the adapter only serves ``fetch_row_counts`` and the like, which we read from DuckDB.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(installed_version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:
        return None


def dbt_project() -> DbtProject:
    """The project folder; its models and seeds stand beside it (see docs/adr)."""
    return DbtProject(project_dir=DBT_PROJECT)


def dbt_resource(project: DbtProject) -> DbtCliResource:
    """dbt as a child that dies with its parent, so that a killed run leaves no second writer."""
    return QuickDbtCli(project_dir=project, dbt_executable=str(Path(sys.executable).parent / "tierhouse-dbt"))


def parsed_hash(root: Path = PROJECT_ROOT) -> str:
    """Hash of all that dbt parses, and of the version that does: their times may be older than a manifest that was made of other files."""
    files = sorted({path for pattern in _PARSED for path in root.glob(pattern)})
    return digest([installed_version("dbt-core"), files_hash(files, root)])


def manifest_is_stale(manifest: Path, parsed: str) -> bool:
    """Whether the manifest is another than dbt would make of what hashes to ``parsed``, or was cut off while it was written."""
    try:
        return _made_from(manifest).read_text(encoding="utf-8") != _note(manifest, parsed)
    except OSError:
        return True


def _made_from(manifest: Path) -> Path:
    return manifest.with_suffix(".made_from")


def _note(manifest: Path, parsed: str) -> str:
    return f"{parsed} {sha256_file(manifest)}"


def load_manifest(deployment: Deployment, project: DbtProject) -> Mapping[str, Any]:
    """The dbt manifest, parsed anew if a model, macro, test or project file has changed since, or if it is not whole."""
    path = project.manifest_path
    path.parent.mkdir(parents=True, exist_ok=True)
    parsed = parsed_hash()
    with FileLock(path.with_suffix(".lock")):
        if manifest_is_stale(path, parsed):
            with environment(dbt_env(deployment)):
                (path.parent / RESULTS).unlink(missing_ok=True)
                parse = dbt_resource(project).cli(["parse", "--quiet"], target_path=path.parent, raise_on_error=False).wait()
            if not parse.is_successful():
                raise Failed(f"dbt cannot parse the project: {what_failed(parse)}", str(path.parent / "dbt.log"), "correct the file named")
            _made_from(path).write_text(_note(path, parsed), encoding="utf-8")
        manifest: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a child process that is started in the block (DbtCliResource takes none itself)."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def what_failed(invocation: DbtCliInvocation) -> str:
    """``<node>: <message>`` for each model or test that failed; else what dbt printed as its error."""
    try:
        results = json.loads((invocation.target_path / RESULTS).read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError):
        results = []
    failed = [result for result in results if result["status"] in {"error", "fail", "runtime error"}]
    texts = [f"{result['unique_id'].split('.')[2]}: {result.get('message') or result['status']}" for result in failed]
    if not texts:
        texts = [str(invocation.get_error()).rpartition("Errors parsed from dbt logs:")[2]]
    return "; ".join(" ".join(text.split())[:400] for text in texts)
