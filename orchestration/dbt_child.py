"""``tierhouse-dbt``: dbt as a child that dies with its parent, and the child that is ready before it is asked.

A run that is killed must not leave a dbt behind that goes on writing the warehouse: the lock would be free and the
next run would meet a second writer. On Linux the kernel sends the child SIGKILL when its parent ends; elsewhere the
next run finds the warehouse locked by DuckDB itself and says so.

Importing dbt takes seconds. A run starts :class:`ReadyDbt` first, which imports it beside what the run itself has to
import; ``tierhouse-dbt``, started by the same run, hands its arguments, environment and output to it. Without one that
is ready, or if it ends before it has said that it begins, it is dbt itself. This module imports nothing of the package:
it is read at every start.
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
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any

READY = "TIERHOUSE_DBT_READY"
_PR_SET_PDEATHSIG = 1
_STREAMS = (0, 1, 2)
# How often the one that waits looks whether who started it is still there, in seconds.
_LOOKS = 1.0
# What says where a warehouse is and how it is opened.
_OF_THE_PLACE = ("path", "config_options")
# What a build imports sooner or later; scipy is what the model of behaviour features asks for.
_IMPORTS = ("dbt.cli.main", "dbt.task.build", "dbt.adapters.duckdb", "dbt.adapters.duckdb.impl", "duckdb", "pyarrow", "scipy.stats")


def main() -> None:
    """Tie this process to its parent, then be dbt, or let the one that is ready be it."""
    if sys.argv[1:2] == ["--wait-at"]:
        _wait_at(Path(sys.argv[2]), parent=int(sys.argv[3]))
        return
    _die_with(os.getppid())
    address = os.environ.pop(READY, None)
    # It answers once, and what takes long is the build: a parse before it must not use it up.
    handed = _hand_over(address) if address and "build" in sys.argv and hasattr(socket, "AF_UNIX") else None
    if handed is not None:
        sys.exit(handed)
    _be_dbt()


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the run that started this dbt is gone")


def _be_dbt() -> None:
    from dbt.cli.main import cli

    _parse_once_for_any_warehouse()
    cli()


def _parse_once_for_any_warehouse() -> None:
    """Let what dbt has parsed serve every deployment: it throws it away where the connection is another, and then parses for seconds.

    Where the warehouse's file lies and how much memory it may take changes nothing of what is parsed; its name and schema do.
    """
    from dbt.adapters.duckdb.credentials import DuckDBCredentials

    # Private to the adapter: should it change, a first run gets slower, not wrong.
    if (keys := getattr(DuckDBCredentials, "_connection_keys", None)) is not None:
        DuckDBCredentials._connection_keys = lambda of: tuple(key for key in keys(of) if key not in _OF_THE_PLACE)


def _wait_at(address: Path, parent: int) -> None:
    """Import dbt, wait for one call at ``address``, be it, and answer with the exit code."""
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(address))
            door.listen(1)
            for name in _IMPORTS:
                # What is missing or broken is for dbt to report, when and where it needs it.
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
            call = _first_call(door, parent)
    finally:
        # A run that was killed cannot do it.
        shutil.rmtree(address.parent, ignore_errors=True)
    if call is None:
        return
    _die_with(parent)
    with Connection(call.detach()) as answers:
        try:
            asked = json.loads(answers.recv_bytes())
            given = [recv_handle(answers) for _ in _STREAMS]
            # From here on who called waits for the exit code.
            answers.send_bytes(str(os.getpid()).encode())
        except (OSError, EOFError):
            return  # and is gone
        for stream, theirs in zip(_STREAMS, given, strict=True):
            os.dup2(theirs, stream)
            os.close(theirs)
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
            answers.send_bytes(bytes([code & 0xFF]))


def _first_call(door: socket.socket, parent: int) -> socket.socket | None:
    """The first who calls; None once the parent is gone."""
    door.settimeout(_LOOKS)
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            return door.accept()[0]
    return None


def _hand_over(address: str) -> int | None:
    """The exit code of the dbt that is ready at ``address``; None if none is, or none any more."""
    message = json.dumps({"arguments": sys.argv, "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
    try:
        call = Client(address, "AF_UNIX")
        call.send_bytes(message)
        for stream in _STREAMS:
            send_handle(call, stream, None)
        worker = int(call.recv_bytes())
    except (OSError, EOFError):
        return None

    def pass_on(number: int, _frame: Any) -> None:
        os.kill(worker, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    with call:
        try:
            return call.recv_bytes()[0]
        except (OSError, EOFError):
            return 1


class ReadyDbt:
    """A dbt that is imported while the caller does other things; within the block, ``tierhouse-dbt`` is answered by it once.

    Only a help: where it cannot be started, or ends too early, dbt is started when it is needed.
    """

    def __enter__(self) -> ReadyDbt:
        self.folder = Path(tempfile.mkdtemp(prefix="tierhouse-dbt-"))
        door = str(self.folder / "door")
        self.child = subprocess.Popen(
            # -P: nothing is imported from the folder in which the run was started.
            [sys.executable, "-P", "-c", "from orchestration.dbt_child import main; main()", "--wait-at", door, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # What interrupts the run reaches it by way of who called it, once.
            start_new_session=True,
        )
        os.environ[READY] = door
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop(READY, None)
        self.child.kill()
        self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
