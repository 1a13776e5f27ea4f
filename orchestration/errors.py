"""Errors that a person is meant to read, with the exit code each one ends a command with.

Only these cross the command line: any other exception is a defect of ours and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# More errors than a person reads at a time; ``--json`` has all.
MOST_SHOWN = 50

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_HELD = 3
EXIT_MISMATCH = 4
EXIT_BUSY = 5


@dataclass
class TierhouseError(Exception):
    """What is wrong, where, and what to do about it.

    ``where`` names file, line (row) and column as far as known, e.g. ``seeds/levels.csv, row 3, column rank``. ``also``: what else is
    wrong of the same kind; see :func:`all_of`.
    """

    what: str
    where: str = ""
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    also: list[TierhouseError] = field(default_factory=list)

    exit_code: ClassVar[int] = EXIT_FAILED

    def __str__(self) -> str:
        text = self.what if not self.where else f"{self.where}: {self.what}"
        shown = [f"{text}\n  To do: {self.remedy}" if self.remedy else text, *map(str, self.also[:MOST_SHOWN])]
        left = len(self.also) - MOST_SHOWN
        return "\n".join([*shown, f"and {left} more: --json lists all"] if left > 0 else shown)

    def as_json(self) -> dict[str, Any]:
        """Shape of the ``error`` object that every command prints under ``--json``."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
            **({"details": self.details} if self.details else {}),
            **({"also": [other.as_json() for other in self.also]} if self.also else {}),
        }


class Failed(TierhouseError):
    """The environment failed: a full disk, an unreadable file, a read-only folder."""

    exit_code = EXIT_FAILED


class BadInput(TierhouseError):
    """Wrong use or bad input; nothing was changed but the quarantine."""

    exit_code = EXIT_BAD_INPUT


class Held(TierhouseError):
    """A gate or an open period holds the release; nothing downstream changed."""

    exit_code = EXIT_HELD


class Mismatch(TierhouseError):
    """A recomputation or a hash does not agree with what was recorded."""

    exit_code = EXIT_MISMATCH


class Busy(TierhouseError):
    """Another run holds the deployment's lock."""

    exit_code = EXIT_BUSY


def all_of(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What ``function`` gives of each item. Bad input in several of them is one error: the first, with the others in ``also``.

    What one item raises and another raises again, because it is made of that one, is told once.
    """
    results: list[R] = []
    problems: list[TierhouseError] = []
    for item in items:
        try:
            results.append(function(item))
        except BadInput as err:
            problems += [found for found in (err, *err.also) if not any(found is known for known in problems)]
            err.also = []
    if problems:
        problems[0].also = problems[1:]
        raise problems[0]
    return results
