"""The folder of one release as it lies there: whether it is whole, and whether its files are those that were released."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.files import sha256_file

MANIFEST = "manifest.json"
FROM_A_BACKUP = "restore the release folder from a backup"


def release_folder(deployment: Deployment, release: str) -> Path:
    """Where the files of a release lie; Failed if they are gone."""
    folder = deployment.releases / release
    if not folder.is_dir():
        raise Failed("the files of this release are gone", str(folder), FROM_A_BACKUP)
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a release; Failed if it is gone or is none, and with it what the release was."""
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise Failed(f"the manifest cannot be read: {err}", str(file), FROM_A_BACKUP) from err
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise Failed("this is no manifest of a release", str(file), FROM_A_BACKUP)
    return manifest


def mart_files(folder: Path) -> dict[str, Path]:
    """Mart → its file in a release, as the manifest names them; Failed if one of them is gone."""
    files = {Path(name).stem: folder / name for name in read_manifest(folder)["files"] if name.endswith(".parquet")}
    for file in files.values():
        if not file.is_file():
            raise Failed("the released file is gone", str(file), FROM_A_BACKUP)
    return files


def changed_files(folder: Path, manifest_hash: str | None, is_asked: Callable[[str], bool] = lambda name: True) -> list[str]:
    """Names of the files of a release, of those asked for, that are gone or others than were released. ``manifest_hash``: as the ledger has it."""
    changed = [] if sha256_file(folder / MANIFEST) == manifest_hash else [MANIFEST]
    files = {name: item["sha256"] for name, item in sorted(read_manifest(folder)["files"].items()) if is_asked(name)}
    return changed + [name for name, sha256 in files.items() if not (folder / name).is_file() or sha256_file(folder / name) != sha256]
