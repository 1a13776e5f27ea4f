"""``tierhouse-dbt``: dbt as a child that dies with its parent, and the child that is ready before it is asked.

A run that is killed must not leave a dbt behind that goes on writing the warehouse: the lock would be free and the
next run would meet a second writer. On Linux the kernel sends the child SIGKILL when its parent ends; elsewhere the
next run finds the warehouse locked by DuckDB itself and says so.

Importing dbt takes seconds. A run starts :class:`ReadyDbt` first, which imports it beside what the run itself has to
import; ``tierhouse-dbt``, started by the same run, hands its arguments, environment and output to it. Without one that
is ready, it is dbt itself. This module imports nothing of the package: it is read at every start.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

READY = "TIERHOUSE_DBT_READY"
_PR_SET_PDEATHSIG = 1
_STREAMS = (0, 1, 2)
# What a build imports sooner or later; scipy is what the model of behaviour features asks for.
_IMPORTS = ("dbt.cli.main", "dbt.task.build", "dbt.adapters.duckdb", "dbt.adapters.duckdb.impl", "duckdb", "pyarrow", "scipy.stats")


def main() -> None:
    """Tie this process to its parent, then be dbt, or let the one that is ready be it."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the run that started this dbt is gone")
    if sys.argv[1:2] == ["--wait-at"]:
        _wait_at(Path(sys.argv[2]))
        return
    address = os.environ.pop(READY, None)
    # It answers once, and what takes long is the build: a parse before it must not use it up.
    handed = _hand_over(Path(address)) if address and "build" in sys.argv and hasattr(socket, "AF_UNIX") else None
    if handed is not None:
        sys.exit(handed)
    _be_dbt()


def _be_dbt() -> None:
    from dbt.cli.main import cli

    cli()


def _wait_at(address: Path) -> None:
    """Import dbt, wait for one call at ``address``, be it, and answer with the exit code."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address))
        door.listen(1)
        for name in _IMPORTS:
            # What is missing or broken is for dbt to report, when and where it needs it.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        call, _ = door.accept()
    with call:
        message, streams, _, _ = socket.recv_fds(call, 1 << 20, len(_STREAMS))
        asked = json.loads(message)
        for stream, given in zip(_STREAMS, streams, strict=True):
            os.dup2(given, stream)
            os.close(given)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = asked["arguments"]
        code = 1
        try:
            _be_dbt()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            call.sendall(bytes([code & 0xFF]))


def _hand_over(address: Path) -> int | None:
    """The exit code of the dbt that is ready at ``address``; None if none is."""
    message = json.dumps({"arguments": sys.argv, "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
    with socket.socket(socket.AF_UNIX) as call:
        try:
            call.connect(str(address))
        except OSError:
            return None
        pid = int((address.parent / "pid").read_text())

        def pass_on(number: int, _frame: Any) -> None:
            os.kill(pid, number)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        socket.send_fds(call, [message], _STREAMS)
        answer = call.recv(1)
    return answer[0] if answer else 1


class ReadyDbt:
    """A dbt that is imported while the caller does other things; within the block, ``tierhouse-dbt`` is answered by it once.

    Only a help: where it cannot be started, dbt is started when it is needed.
    """

    def __enter__(self) -> ReadyDbt:
        self.folder = Path(tempfile.mkdtemp(prefix="tierhouse-dbt-"))
        self.child = subprocess.Popen(
            [sys.executable, "-c", "from orchestration.dbt_child import main; main()", "--wait-at", str(self.folder / "door")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # What interrupts the run reaches it by way of who called it, once.
            start_new_session=True,
        )
        (self.folder / "pid").write_text(str(self.child.pid))
        os.environ[READY] = str(self.folder / "door")
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop(READY, None)
        self.child.kill()
        self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
