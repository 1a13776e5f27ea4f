"""How a decision that contradicts what it rests on is told."""

from __future__ import annotations

from orchestration.errors import Mismatch


def mismatch(what: str, where: str, changed: str = "the release") -> Mismatch:
    """The error to raise. ``where``: release and subject; ``changed``: what somebody may have changed."""
    return Mismatch(what, where, f"{changed} was changed, or there is a defect: run `tierhouse ledger verify` and report it")
