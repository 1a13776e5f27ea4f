"""Seeds that a test may change, and worlds over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.movement.world import FIRST, Rules, World, policies_with
from tests.policy.conftest import SeedFolder

USUAL = Rules("v1", (300, 120, 80, 40))


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    def make(*versions: tuple[Rules, int], further: bool = False) -> World:
        found = list(versions) or [(USUAL, FIRST - 600)]
        return World(policies_with(SeedFolder(tmp_path / "seeds"), found, further=further), found)

    return make
