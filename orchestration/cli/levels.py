"""Levels of every program of a run, as released: how many subjects have each, how many rose and fell, and who was not evaluated."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click
import duckdb
from rich.table import Table

from orchestration.cli.base import Context
from orchestration.periods import ranges
from orchestration.policy.load import load_policy_files
from orchestration.policy.model import Program
from orchestration.release import release_folder
from orchestration.wording import counted

# Programs that are shown month by month; with more of them the first is, and the others in two lines each.
MAX_WHOLE = 2
MOVES = ("rose", "fell", "joined")
SUBJECTS = {"customer": "customers", "group": "groups", "prospect": "prospects", "staff": "staff", "reception": "receptions"}


def level_counts(context: Context, releases: dict[str, str]) -> list[dict[str, Any]]:
    """Per program, released period and level: subjects, and how many rose, fell and joined.

    ``releases`` maps period to release id; read from the released Parquet, so it is what readers see.
    """
    if not releases:
        return []
    found = duckdb.execute(
        """
        select program_id, period, level_id, max(level_rank) as rank, count(*) as subjects,
            count(*) filter (where movement = 'rose') as rose, count(*) filter (where movement = 'fell') as fell,
            count(*) filter (where movement = 'joined') as joined
        from read_parquet(?, union_by_name = true) where level_id is not null
        group by all order by program_id, period, rank desc
        """,
        [_files(context, releases)],
    ).fetchall()
    names = ("program_id", "period", "level_id", "rank", "subjects", *MOVES)
    return [dict(zip(names, row, strict=True)) for row in found]


def not_evaluated(context: Context, releases: dict[str, str]) -> list[dict[str, Any]]:
    """Per program: subjects without a level although in scope, by the reason; of the newest period, and of each before it in which nobody
    got a level."""
    if not releases:
        return []
    found = duckdb.execute(
        """
        select program_id, period, status_reason as reason, count(*) as subjects from read_parquet(?, union_by_name = true)
        where status = 'not_evaluated' group by all order by program_id, period, subjects desc, reason
        """,
        [_files(context, releases)],
    ).fetchall()
    names = ("program_id", "period", "reason", "subjects")
    graded = {(row["program_id"], row["period"]) for row in level_counts(context, releases)}
    return [dict(zip(names, row, strict=True)) for row in found if row[1] == max(releases) or row[:2] not in graded]


def programs_of(context: Context, releases: dict[str, str]) -> list[Program]:
    """The programs that the newest release was run with, in the order of the seed."""
    return list(load_policy_files(release_folder(context.deployment, releases[max(releases)]) / "policy").enabled()) if releases else []


def _files(context: Context, releases: dict[str, str]) -> list[str]:
    return [str(release_folder(context.deployment, release) / "fct_decisions.parquet") for release in releases.values()]


def print_levels(context: Context, programs: list[Program], counts: list[dict[str, Any]], without: list[dict[str, Any]]) -> None:
    """The first programs month by month; every other one in two lines: levels in the newest period, rose and fell in each."""
    graded = [program for program in programs if any(row["program_id"] == program.program_id for row in counts)]
    whole = graded if len(graded) <= MAX_WHOLE else graded[:1]
    for program in whole:
        _print_whole(context, program, _of(counts, program))
    for program in graded:
        if program not in whole:
            _print_short(program, _of(counts, program))
    for program in programs:
        _print_without(program, _of(without, program), {row["period"] for row in _of(counts, program)})


def _of(rows: list[dict[str, Any]], program: Program) -> list[dict[str, Any]]:
    return [row for row in rows if row["program_id"] == program.program_id]


def _title(program: Program) -> str:
    return f"{program.row['name_en']} ({program.program_id})"


def _print_whole(context: Context, program: Program, rows: list[dict[str, Any]]) -> None:
    levels = [level for level in reversed(program.levels) if any(row["level_id"] == level.level_id for row in rows)]
    names = [str(level.row["name_en"]) for level in levels]
    table = Table("period", *names, *MOVES, title=f"{_title(program)}: {SUBJECTS[program.subject_type]} per level", title_justify="left")
    for period in sorted({row["period"] for row in rows}):
        of_period = {row["level_id"]: row for row in rows if row["period"] == period}
        cells = [f"{of_period[v.level_id]['subjects']:,}" if v.level_id in of_period else "-" for v in levels]
        table.add_row(period, *cells, *(f"{sum(r[k] for r in of_period.values()):,}" for k in MOVES))
    context.out.print(table)


def _print_short(program: Program, rows: list[dict[str, Any]]) -> None:
    periods = sorted({row["period"] for row in rows})
    newest = {row["level_id"]: row["subjects"] for row in rows if row["period"] == periods[-1]}
    levels = "; ".join(f"{level.row['name_en']} {newest.get(level.level_id, 0):,}" for level in reversed(program.levels))
    click.echo(f"{_title(program)}, {periods[-1]}: {levels}")
    moved = []
    for period in periods:
        totals: Counter[str] = Counter()
        for row in (r for r in rows if r["period"] == period):
            totals.update({name: row[name] for name in MOVES})
        moved.append(f"{period} {totals['rose']:,}/{totals['fell']:,}")
    click.echo(f"    rose/fell: {', '.join(moved)}")


def _print_without(program: Program, rows: list[dict[str, Any]], periods: set[str]) -> None:
    """Who has no level and why; of periods in which the program graded nobody, what it needs."""
    if not rows and not periods:
        click.echo(f"{_title(program)}: nobody to grade in these periods")
    whole: dict[str, list[str]] = {}
    for row in rows:
        if row["period"] not in periods:
            whole.setdefault(row["reason"], []).append(row["period"])
    for reason, found in whole.items():
        click.echo(f"{_title(program)}, {', '.join(ranges(found))}: not evaluated: {reason}")
    for row in rows:
        if row["period"] in periods:
            who = counted(row["subjects"], program.subject_type, SUBJECTS[program.subject_type])
            click.echo(f"{_title(program)}, {row['period']}: {who} not evaluated: {row['reason']}")
