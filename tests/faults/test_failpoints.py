"""Every durable step has a failpoint, every failpoint is in the list, and every one of the list is killed at in some test."""

from __future__ import annotations

import re
from collections import Counter

from orchestration.deployment import PROJECT_ROOT
from orchestration.failpoints import FAILPOINTS
from tests.faults import test_kill_points
from tests.ingest import (
    test_changed_mapping,
    test_copies,
    test_credit_notes,
    test_files,
    test_lost_references,
    test_readmission,
    test_replacements,
)


def test_the_list_names_the_failpoints_of_the_code_each_once() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "orchestration").rglob("*.py")]
    in_code = Counter(name for text in sources for name in re.findall(r"""failpoint\(["']([^"']+)["']\)""", text))
    assert in_code == Counter(FAILPOINTS)


def test_every_failpoint_is_killed_at() -> None:
    killed = {
        *(point for chain in test_kill_points.CHAINS.values() for point in chain),
        *test_files.KILLED_AT,
        *test_copies.KILLED_AT,
        *test_readmission.KILLED_AT,
        *test_lost_references.KILLED_AT,
        *test_credit_notes.KILLED_AT,
        *test_changed_mapping.KILLED_AT,
        *test_replacements.KILLED_AT,
    }
    assert {point.partition(":")[0] for point in killed} == set(FAILPOINTS)
