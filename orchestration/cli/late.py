"""Released periods with late input, as a person or a program reads them, with the command that computes them anew."""

from __future__ import annotations

from typing import Any

import click

from orchestration.cli.base import Context
from orchestration.periods import ranges
from orchestration.warehouse.late import LateInput


def commands(context: Context, late: list[LateInput]) -> list[str]:
    """The commands that compute the periods anew, one for each stretch of months."""
    return [context.command(f"run --periods {found}") for found in ranges([item.period for item in late])]


def as_json(context: Context, late: list[LateInput]) -> dict[str, Any]:
    """Shape of ``late_inputs``."""
    return {"periods": [item.as_json() for item in late], "commands": commands(context, late)}


def print_late(context: Context, late: list[LateInput]) -> None:
    """A line for each period with late rows of its own, one for all those that only read earlier months; then what to do."""
    if not late:
        return
    click.echo("Rows that landed or changed after these periods were computed:")
    for item in late:
        if item.rows:
            listed = ", ".join(f"{entity} {rows:,}" for entity, rows in sorted(item.rows.items()))
            click.echo(f"  {item.period} ({item.release}): {listed}")
    follow = [item.period for item in late if item.earlier and not item.rows]
    if follow:
        click.echo(f"  {', '.join(ranges(follow))}: none of their own, but of months before, which they read")
    behind = [item.period for item in late if item.is_behind and not item.rows and not item.earlier]
    if behind:
        click.echo(f"  {', '.join(ranges(behind))}: none, but the month before was released anew since, and levels are held from it")
    for command in commands(context, late):
        click.echo(f"To compute them anew: {command}")
