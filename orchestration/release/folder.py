"""The folder of one release as it lies there: whether it is whole, and whether its files are those that were released."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import Failed, Mismatch
from orchestration.ingest.files import sha256_file
from orchestration.ledger.readers import releases_in_catalog
from orchestration.ledger.store import Ledger

MANIFEST = "manifest.json"
FROM_A_BACKUP = "restore the release folder from a backup"


def release_folder(deployment: Deployment, release: str) -> Path:
    """Where the files of a release lie; Failed if they are gone."""
    folder = deployment.releases / release
    if not folder.is_dir():
        raise Failed("the files of this release are gone", str(folder), FROM_A_BACKUP)
    return folder


def is_there(deployment: Deployment, release: str) -> bool:
    """Whether all files of a release are there, with the size that they had. Quick: what is in them is not read."""
    folder = deployment.releases / release
    try:
        return all((folder / name).stat().st_size == item["bytes"] for name, item in read_manifest(folder)["files"].items())
    except (OSError, Failed):
        return False


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


def gate_of(release: Path) -> tuple[Any, Any] | None:
    """Number and hash of the entry that let a release pass, as its manifest has them; None for a folder that is no release."""
    try:
        gate = json.loads((release / MANIFEST).read_text(encoding="utf-8"))["gate"]
        return gate["seq"], gate["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(folder: Path, manifest_hash: str | None) -> bool:
    """Whether all files of a release are there, and those that were released."""
    try:
        return not changed_files(folder, manifest_hash)
    except (OSError, Failed):
        return False


def check_releases(deployment: Deployment, ledger: Ledger) -> None:
    """Mismatch if the files of a release are others than were released, if those that readers see are gone, or if a release passed a gate that
    the ledger does not record: a chain that was written anew from an entry on has no fault of its own. Reads every released file."""
    visible = set(releases_in_catalog(ledger).values())
    gates = {(entry.seq, entry.hash) for entry in ledger.entries("gate")}
    for entry in ledger.entries("release"):
        name, folder = entry.payload["release"], deployment.releases / entry.payload["release"]
        # Older ones may have been taken away to save space; nobody reads them.
        if not (folder / MANIFEST).is_file() and (folder.exists() or name in visible):
            raise Mismatch(f"release {name} is not there any more", str(folder), FROM_A_BACKUP)
        if not folder.exists():
            continue
        if not is_whole(folder, entry.payload.get("manifest_hash")):
            raise Mismatch(f"{name} was changed after it was released", str(folder), FROM_A_BACKUP)
        gate = gate_of(folder)
        if gate is not None and gate not in gates:
            raise Mismatch(
                f"release {name} passed a gate, entry {gate[0]}, that the ledger does not record",
                str(deployment.ledger),
                "the ledger was changed after it was written; restore it from a backup",
            )
