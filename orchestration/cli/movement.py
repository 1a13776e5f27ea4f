"""What released periods say of movement: counts by cause, and who is about to rise or fall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import duckdb
from rich.table import Table

from orchestration.audit.released import find_program
from orchestration.cli.base import Context
from orchestration.errors import BadInput, Failed
from orchestration.periods import ranges
from orchestration.policy import load_policy_files
from orchestration.release import FROM_A_BACKUP, current_catalog, mart_files, release_folder
from orchestration.sqltext import literal
from orchestration.wording import counted


def print_movements(context: Context, value: dict[str, Any]) -> None:
    """Causes in the published order, a column a direction, and the sum."""
    rows = value["movements"]
    if not rows:
        click.echo(f"No movement of {value['program']} in {value['period']}{' by ' + value['cause'] if value['cause'] else ''}.")
        return
    table = Table("cause", "", "direction", "subjects", title=f"{value['program']}, {value['period']} ({value['release']})")
    for row in rows:
        table.add_row(row["cause"], row["name_en"], row["direction"], f"{row['subjects']:,}")
    table.add_section()
    table.add_row("all", "", "", f"{value['subjects']:,}")
    context.out.print(table)


def movements(context: Context, program_id: str | None, period: str, cause: str | None) -> dict[str, Any]:
    """Counts by cause and direction of one program and released period; ``subjects`` is their sum."""
    release, folder = _release(context, period)
    known = _rows(folder, "select movement_cause, cause_order, name_en, name_zh from {dim_movement_causes}")
    if cause is not None and cause not in {row["movement_cause"] for row in known}:
        names = ", ".join(row["movement_cause"] for row in sorted(known, key=lambda row: row["cause_order"]))
        raise BadInput(f"{cause!r} is no cause", "--cause", f"choose from {names}")
    program = _program(folder, program_id)
    counts = _rows(
        folder,
        "select c.movement_cause as cause, d.name_en, d.name_zh, c.direction, c.subjects from {fct_movement_counts} as c "
        "left join {dim_movement_causes} as d using (movement_cause) where c.program_id = $program and c.movement_cause = coalesce($cause, c.movement_cause) "
        "order by d.cause_order, c.direction",
        program=program,
        cause=cause,
    )
    total = sum(row["subjects"] for row in counts)
    return {"program": program, "period": period, "release": release, "cause": cause, "subjects": total, "movements": counts}


def paths(context: Context, program_id: str | None, period: str) -> dict[str, Any]:
    """Who is likely to rise and who is about to fall in one program, as of a released period."""
    release, folder = _release(context, period)
    program = _program(folder, program_id)
    rows = _rows(
        folder,
        "select subject_id, level_id, next_level_id, missing_attribute, missing_amount, pace_amount, months_to_next_level, is_likely_to_rise, "
        "falls_in_period, falls_to_level_id, months_to_review, is_about_to_fall from {fct_upgrade_paths} where program_id = $program "
        "order by months_to_next_level nulls last, missing_amount, subject_id",
        program=program,
    )
    rising = [_some(row, "next_level_id", "missing_attribute", "missing_amount", "pace_amount", "months_to_next_level") for row in rows if row["is_likely_to_rise"]]  # fmt: skip
    falling = [_some(row, "falls_in_period", "falls_to_level_id", "months_to_review") for row in rows if row["is_about_to_fall"]]
    falling.sort(key=lambda row: (row["falls_in_period"], row["subject_id"]))
    # Who is about to fall is looked for a few months ahead; these will be, if nothing changes.
    (protected,) = _rows(
        folder,
        "select count(*) as subjects, min(valid_until_period) as first_valid_until_period from {fct_decisions} "
        "where program_id = $program and qualified_level_rank < held_level_rank and valid_until_period is not null",
        program=program,
    )
    return {
        "program": program,
        "period": period,
        "release": release,
        "likely_to_rise": rising,
        "about_to_fall": falling,
        "held_above_qualified": protected,
    }


def print_paths(value: dict[str, Any], context: Context, limit: int) -> None:
    """Both lists, the nearest first, each up to ``limit`` rows (0: all)."""
    titles = (
        ("likely_to_rise", "close to the next level", ("subject_id", "level_id", "next_level_id", "missing_attribute", "missing_amount", "pace_amount", "months_to_next_level")),
        ("about_to_fall", "about to fall", ("subject_id", "level_id", "falls_to_level_id", "falls_in_period", "months_to_review")),
    )  # fmt: skip
    for key, title, columns in titles:
        rows = value[key]
        if not rows:
            click.echo(f"{value['program']}, {value['period']}: nobody is {title}")
            continue
        table = Table(
            *(name.removesuffix("_id").replace("_", " ") for name in columns),
            title=f"{value['program']}, {value['period']}: {len(rows):,} {title}",
        )
        for row in rows[: limit or None]:
            table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
        context.out.print(table)
        if limit and len(rows) > limit:
            click.echo(f"{len(rows) - limit:,} more: --limit 0")
    protected = value["held_above_qualified"]
    if protected["subjects"]:
        click.echo(
            f"{counted(protected['subjects'], 'subject holds', 'subjects hold')} a level above the one that the rules give now; the first validity ends with {protected['first_valid_until_period']}"
        )


def _some(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in ("subject_id", "level_id", *names)}


def _release(context: Context, period: str) -> tuple[str, Path]:
    catalog = current_catalog(context.deployment)
    if catalog is None or period not in catalog["periods"]:
        released = ", ".join(ranges(list(catalog["periods"]))) if catalog else "nothing"
        raise BadInput(f"{period} is not released; released: {released}", "--period", context.command(f"run --periods {period}"))
    release = catalog["periods"][period]
    return release, release_folder(context.deployment, release)


def _program(folder: Path, program_id: str | None) -> str:
    """The program of that id; without one the first that the release's own policies run."""
    known = [row["program_id"] for row in _rows(folder, "select program_id from {dim_programs} order by program_id")]
    if program_id is None:
        return find_program(load_policy_files(folder / "policy"), None).program_id
    if program_id not in known:
        raise BadInput(f"{program_id!r} is no program of this release", "--program", f"choose from {', '.join(known)}")
    return program_id


def _rows(folder: Path, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """Rows of a query in which ``{mart}`` stands for a mart of the release; Failed if its file or the manifest is gone or damaged."""
    marts = {mart: f"read_parquet({literal(str(file))})" for mart, file in mart_files(folder).items()}
    try:
        text = query.format_map(marts)
    except KeyError as err:
        raise BadInput(
            f"release {folder.name} has no {err.args[0]}: it was made before this was published",
            "--period",
            f"run the period again: `tierhouse run --periods {folder.name[:7]}`",
        ) from err
    try:
        with duckdb.connect() as con:
            found = con.execute(text, parameters or None)
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except (duckdb.IOException, duckdb.InvalidInputException) as err:
        raise Failed(f"the released files cannot be read: {err}", str(folder), FROM_A_BACKUP) from err
