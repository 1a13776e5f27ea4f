"""What every command shares: the deployment option, ``--json``, progress, and how errors become messages and exit codes."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from orchestration.deployment import PROJECT_ROOT, Deployment, load_deployment
from orchestration.errors import EXIT_FAILED, Failed, TierhouseError
from orchestration.interruption import is_interruption, stop_if_told
from orchestration.ledger import Ledger

_OS_REMEDIES = {
    errno.ENOSPC: "free space on that disk, then run the same command again: nothing was left half done",
    errno.EDQUOT: "free space within the quota, then run the same command again: nothing was left half done",
    errno.EACCES: "give this user the right to read and write there, then run the same command again",
    errno.EPERM: "give this user the right to read and write there, then run the same command again",
    errno.EROFS: "the folder is read-only: name another under `data:` in tierhouse.yaml",
}

_COMMAND = re.compile(r"`tierhouse ([^`]+)`")


def _tierhouse() -> str:
    """How this program is called from the current folder: by its name where the shell finds it, else by its path."""
    program = Path(sys.executable).parent / "tierhouse"
    on_path = shutil.which("tierhouse")
    return "tierhouse" if on_path and Path(on_path).resolve() == program.resolve() else shlex.quote(relative(program))


def _console() -> Console:
    # Into a file or a pipe there is no width to fit: tables keep their columns whole. Brackets and colons in names of files and levels
    # and in reasons are theirs, no markup.
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


@dataclass
class Context:
    """One call of the command line. ``deployment`` and ``ledger`` are loaded when first asked for."""

    as_json: bool
    folder: str | None
    out: Console = field(default_factory=_console)
    started: float = field(default_factory=time.monotonic)
    loaded: Deployment | None = None

    @property
    def deployment(self) -> Deployment:
        if self.loaded is None:
            self.loaded = load_deployment(self.folder)
        return self.loaded

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.deployment.ledger)

    def command(self, words: str) -> str:
        """A command for a person to copy: of this deployment, where that was named on the command line."""
        return f"{_tierhouse()} {words}" + (f" --deployment {shlex.quote(self.folder)}" if self.folder else "")

    def ui_command(self) -> str:
        """The command that opens the Dagster UI on this deployment, from the current folder."""
        deployment = f"TIERHOUSE_DEPLOYMENT={shlex.quote(str(Path(self.folder).expanduser().resolve()))} " if self.folder else ""
        project = "" if Path.cwd() == PROJECT_ROOT else f" -C {shlex.quote(str(PROJECT_ROOT))}"
        return f"{deployment}make{project} ui"

    def told(self, error: TierhouseError) -> TierhouseError:
        """``error``, the commands in its remedy as a person can copy them. Who raised it knows no command line."""
        error.remedy = _COMMAND.sub(lambda found: f"`{self.command(found[1])}`", error.remedy)
        return error

    def say(self, line: str) -> None:
        """One line of progress, on standard error so that ``--json`` output stays clean."""
        stop_if_told()
        click.echo(f"[{time.monotonic() - self.started:6.1f} s] {line}", err=True)

    def result(self, value: Any, render: Callable[[], None], error: TierhouseError | None = None) -> None:
        """Print ``value`` as JSON under ``--json``, else call ``render``; then end with ``error`` if there is one.

        JSON output is one value: an error that comes with a result is its key ``error``.
        """
        try:
            if self.as_json:
                whole = {**value, "error": self.told(error).as_json()} if error else value
                click.echo(json_text(whole))
            else:
                render()
        except BrokenPipeError:
            # `tierhouse … | head`: whoever read has read enough. Python flushes once more as it ends, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(error.exit_code if error else EXIT_FAILED)
        if error and self.as_json:
            sys.exit(error.exit_code)
        if error:
            raise error


def json_text(value: Any) -> str:
    """``value`` as JSON; in ASCII where standard output takes no Chinese."""
    takes_all = (sys.stdout.encoding or "").lower().replace("-", "").startswith(("utf", "gb18030"))
    return json.dumps(value, ensure_ascii=not takes_all, indent=2, default=str)


def end_with(error: TierhouseError, as_json: bool) -> int:
    """Print ``error``, as JSON on standard output or for a person on standard error; its exit code."""
    if as_json:
        click.echo(json_text(error.as_json()))
    else:
        click.echo(f"{type(error).__name__}: {error}", err=True)
    return error.exit_code


def _changed_ledger(context: Context) -> TierhouseError | None:
    """What is wrong with the ledger, if anything is: entries that somebody changed fit nothing that reads them."""
    try:
        if context.loaded is not None:
            context.ledger.verify()
    except TierhouseError as err:
        return err
    return None


def _log_defect(context: Context) -> str:
    """Write the traceback where it can be reported from; return where."""
    loaded = context.loaded
    if loaded is None:
        traceback.print_exc()
        return "what stands above"
    try:
        folder = loaded.data / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"defect-{datetime.now(UTC):%Y%m%dT%H%M%S}.txt"
        file.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        traceback.print_exc()
        return "what stands above"
    return str(file)


def command(group: click.Group, name: str, **kwargs: Any) -> Callable[[Callable[..., None]], click.Command]:
    """Register a function ``f(context, …)`` as a command of ``group`` with the options that every command has."""

    def register(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def call(deployment: str | None, as_json: bool, **options: Any) -> None:
            context = Context(as_json, deployment)
            try:
                function(context, **options)
            except TierhouseError as err:
                sys.exit(end_with(context.told(err), as_json))
            except OSError as err:
                remedy = _OS_REMEDIES.get(err.errno or 0, "check the disk and the rights on that path")
                sys.exit(end_with(Failed(str(err.strerror or err), str(err.filename or ""), remedy), as_json))
            except (KeyboardInterrupt, click.ClickException, click.exceptions.Exit):
                raise
            except Exception as err:
                # The last resort: a defect of ours must not look like bad input.
                if is_interruption(err):
                    raise KeyboardInterrupt from err
                if changed := _changed_ledger(context):
                    sys.exit(end_with(context.told(changed), as_json))
                what = f"a defect of Tierhouse: {type(err).__name__}: {err}"
                sys.exit(end_with(Failed(what, remedy=f"report it with {_log_defect(context)}"), as_json))

        wrapped: Callable[..., Any] = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(call)
        wrapped = click.option(
            "--deployment",
            "-d",
            type=click.Path(),
            default=None,
            help="Folder with tierhouse.yaml. Default: $TIERHOUSE_DEPLOYMENT, else the sample company.",
        )(wrapped)
        return group.command(name, **kwargs)(wrapped)

    return register


def relative(path: Path) -> str:
    """``path`` as a person in the current folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
