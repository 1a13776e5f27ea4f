"""The command line as a part of a pipeline."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.support import PROJECT_ROOT, TIERHOUSE, Cli


@pytest.mark.parametrize("command", ["status", "policy check", "ledger verify"])
def test_a_reader_that_has_read_enough_is_no_fault_of_the_disk(make_cli: Callable[..., Cli], command: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [str(TIERHOUSE), *command.split()],
            env=make_cli().environment(),
            cwd=PROJECT_ROOT,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")
