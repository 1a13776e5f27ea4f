"""``tierhouse-dbt``: dbt as a child that dies with its parent.

A run that is killed must not leave a dbt behind that goes on writing the warehouse: the lock would be free and the
next run would meet a second writer. On Linux the kernel sends the child SIGKILL when its parent ends; elsewhere the
next run finds the warehouse locked by DuckDB itself and says so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then be dbt."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the run that started this dbt is gone")
    from dbt.cli.main import cli

    cli()


if __name__ == "__main__":
    main()
