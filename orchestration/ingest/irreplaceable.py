"""What ingest keeps beside the ledger and nothing can make again: the key of the pseudonyms, and the vault.

Both are made once. To make them anew where rows have landed would go unnoticed and ruin what lands from then on: bills of
known numbers would belong to nobody, and feeds would go out without the personal columns of everybody who landed before.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.files import place_privately
from orchestration.ledger.readers import KEY_KIND
from orchestration.ledger.store import Ledger


def salt(deployment: Deployment, ledger: Ledger) -> str:
    """What keeps pseudonyms from being guessed by hashing every number: a key that never leaves the data folder.

    Made at the first ingest. Failed if rows have landed and it is gone, or is another than the one they were hashed with.
    """
    path = deployment.data / "pseudonym.key"
    recorded = ledger.last(KEY_KIND)
    key = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    if not key:
        if recorded or ledger.last("drop_landed"):
            raise Failed(
                f"the key of the pseudonyms is {'empty' if path.is_file() else 'gone'}",
                str(path),
                "restore it from a backup: with another key every number that is landed would be hashed to an unknown one",
            )
        made = deployment.scratch / "pseudonym.key"
        key = secrets.token_hex(32)
        made.write_text(key, encoding="utf-8")
        place_privately(made, path)
    text = f"{deployment.name}:{key}:"
    if recorded and recorded.payload["sha256"] != _digest(text):
        raise Failed(
            "this is not the key that the landed rows were hashed with, or `name` in tierhouse.yaml, which is hashed with it, has changed",
            str(path),
            "restore the key from a backup, and the name",
        )
    return text


def record_key(deployment: Deployment, ledger: Ledger, text: str) -> None:
    """Record which salt the rows are hashed with, and whose they are, once; the salt by its hash, which tells nothing of a random key.

    Once more where an older version recorded the hash alone: :func:`salt` has shown that the name belongs to it.
    """
    recorded = ledger.last(KEY_KIND)
    if recorded is None or "deployment" not in recorded.payload:
        ledger.append(KEY_KIND, {"sha256": _digest(text), "deployment": deployment.name})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def require_vault(deployment: Deployment, drops: Iterable[dict[str, Any]]) -> None:
    """Failed if the vault is gone although some of ``drops`` (payloads of landed ones) have put personal columns there."""
    if deployment.vault.is_file() and deployment.vault.stat().st_size:
        return
    contracts = load_contracts()
    lost = sorted({drop["entity"] for drop in drops if drop["entity"] in contracts and contracts[drop["entity"]].personal})
    if lost:
        raise Failed(
            f"the vault is gone, and with it the personal columns of {', '.join(lost)}",
            str(deployment.vault),
            "restore it from a backup; nothing else in the data folder holds them",
        )
