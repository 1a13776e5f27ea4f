"""What a person reads at the end of a command: tables built from reports, the ledger and the released files."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import duckdb
from rich.table import Table

from orchestration.cli.base import Context, relative
from orchestration.errors import Held
from orchestration.ingest.parts import Landed, standing_drops
from orchestration.ingest.quarantine import corrected_since, quarantined_rows
from orchestration.periods import ranges
from orchestration.release import held_periods, release_folder
from orchestration.wording import counted, one_line

if TYPE_CHECKING:
    from orchestration.ingest import IngestReport
    from orchestration.policy.model import Program
    from orchestration.wiring.launch import PeriodOutcome


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(reasons.items(), key=lambda item: -item[1]))


def print_ingest(context: Context, report: IngestReport) -> None:
    """One line a source and entity, then the reasons for quarantine and the files that were refused."""
    for name, rows in report.readmitted.items():
        click.echo(f"Admitted from quarantine, because what they refer to is known now: {counted(rows, 'row')} of {name}")
    for name, rows in report.set_aside.items():
        click.echo(f"Moved to quarantine, because what they refer to is known no more: {counted(rows, 'row')} of {name}")
    for name in report.replaced:
        click.echo(f"Replaced by another file, so that none of its rows counts any more: {name}")
    if report.control_totals and not report.new_files:
        odd = [name for name, agrees in report.control_totals.items() if not agrees]
        names = f"; not as they say: {', '.join(odd)}" if odd else ""
        click.echo(f"Taken: {counted(len(report.control_totals), 'control total')}{names}")
    if report.new_files:
        _print_landed(context, report)
    elif not report.refused:
        if report.known_files:
            did_else = report.readmitted or report.set_aside or report.replaced or report.control_totals or report.copies
            click.echo(f"No new drop{'' if did_else else ': every one is already landed'}.")
        else:
            click.echo(
                f"No drop found in {relative(context.deployment.drops)}; the mappings in {relative(context.deployment.sources)} say what is looked for."
            )
    print_refused(report.refused)
    if report.without_files:
        click.echo(f"No file has come yet, and none in the drops folder fits, for: {', '.join(report.without_files)}")


def print_refused(refused: list[dict[str, str]]) -> None:
    """A line for each file that did not land as it lies there."""
    for each in refused:
        click.echo(f"Refused whole: {each['file']}: {each['message']}")


def _print_landed(context: Context, report: IngestReport) -> None:
    groups: dict[tuple[str, str], Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for file in report.files:
        totals = groups.setdefault((file.source, file.entity), Counter())
        totals.update(files=1, rows_in=file.rows_in, landed=file.landed, quarantined=file.quarantined)
        reasons.update(file.reasons)
    table = Table("source", "entity", "files", "rows in", "landed", "quarantined")
    for (source, entity), t in sorted(groups.items()):
        table.add_row(source, entity, str(t["files"]), f"{t['rows_in']:,}", f"{t['landed']:,}", f"{t['quarantined']:,}")
    context.out.print(table)
    if reasons:
        click.echo(f"Quarantined, by reason (a row may have several): {_reasons(reasons)}")
        click.echo(f"See them with their text: {context.command('quarantine')}")


def print_balance(context: Context, rows: list[dict[str, Any]]) -> None:
    """The row balance, a line a file, with totals. Unattributed rows are among the landed ones, rows of other entities stand where there are any."""
    other = ("not_for_entity",) if any(row["not_for_entity"] for row in rows) else ()
    shown = ("rows_in", "landed", "quarantined", "superseded", *other, "unattributed")
    titles = {"not_for_entity": "of others"}
    table = Table("source", "entity", "file", *(titles.get(name, name.replace("_", " ")) for name in shown))
    totals: Counter[str] = Counter()
    for row in rows:
        counts = {k: int(row[k]) for k in shown}
        totals.update(counts)
        table.add_row(row["source"], row["entity"], row["file"], *(f"{n:,}" for n in counts.values()))
    table.add_section()
    table.add_row("all", "", counted(len(rows), "file"), *(f"{totals[k]:,}" for k in shown))
    context.out.print(table)


def quarantine_listing(context: Context, limit: int) -> list[dict[str, Any]]:
    """Per drop with rejected rows: counts by reason and up to ``limit`` rows with line, reasons and original text.
    ``is_replaced``: another drop has taken its place, and nothing is to be done about its rows. ``corrected``: how many of them a later
    drop has brought right; null without rows.
    """
    listing = []
    drops = [drop for drop in standing_drops(context.ledger) if drop.payload["quarantined"]]
    mended = _corrected(context, [drop.payload for drop in drops if drop.payload["quarantine"]]) if limit else {}
    for drop in drops:
        payload = drop.payload
        rows: list[dict[str, Any]] = []
        corrected = None
        if limit and payload["quarantine"]:
            found = quarantined_rows(context.deployment, payload, limit)
            corrected = mended.get((payload["source"], payload["entity"], payload["file_id"]), 0)
            rows = [{"line": line, "reasons": reasons, "text": text} for line, reasons, text in found]
        listing.append(
            {
                "file": payload["file"],
                "entity": payload["entity"],
                "quarantined": payload["quarantined"],
                "is_replaced": drop.is_replaced,
                "corrected": corrected,
                "reasons": payload["reasons"],
                "rows": rows,
            }
        )
    return listing


def _corrected(context: Context, drops: list[dict[str, Any]]) -> dict[tuple[str, str, str], int]:
    """Source, entity and file id of each of ``drops`` → :func:`corrected_since`, feed by feed."""
    known = Landed(context.deployment, context.ledger).load()
    feeds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for drop in drops:
        feeds.setdefault((drop["source"], drop["entity"]), []).append(drop)
    con = duckdb.default_connection()
    return {
        (*feed, file_id): rows
        for feed, of_feed in feeds.items()
        for file_id, rows in corrected_since(con, context.deployment, known, of_feed).items()
    }


def print_quarantine(context: Context, listing: list[dict[str, Any]]) -> None:
    """The quarantine listing as text."""
    if not listing:
        click.echo("The quarantine is empty.")
    for item in listing:
        over = f"; {item['corrected']:,} of them corrected by later files" if item["corrected"] else ""
        if item["is_replaced"]:
            over = "; another file has replaced this one, nothing is to be done"
        click.echo(f"{item['file']} ({item['entity']}): {counted(item['quarantined'], 'row')}: {_reasons(item['reasons'])}{over}")
        for row in item["rows"]:
            click.echo(f"  line {row['line']}: {', '.join(row['reasons'])}: {one_line(row['text'] or '')[:160]}")


def print_catalogs(context: Context, catalogs: list[dict[str, Any]]) -> None:
    """A line a catalog: what it changed of the one before, and what made it."""
    table = Table("catalog", "published at (UTC)", "periods", "changed", "made by")
    for row in catalogs:
        cause = row["cause"]
        made_by = (
            f"rollback to catalog {cause['to']}, by {cause['requested_by']}: {cause['reason']}"
            if cause["kind"] == "rollback"
            else cause["kind"]
        )
        changed = ", ".join(row["periods"].get(period, f"{period} taken out") for period in row["changed"])
        table.add_row(str(row["catalog"]), row["at"], str(len(row["periods"])), changed, made_by)
    context.out.print(table)


def report_run(context: Context, periods: list[str]) -> None:
    """Run the periods through Dagster and print the summary; raise Held at the end if a gate held any of them."""
    from orchestration.cli.levels import level_counts, not_evaluated, print_levels, programs_of
    from orchestration.wiring.launch import run_months

    outcome = run_months(context.deployment, periods, say=context.say)
    visible = {p.period: p.release for p in outcome.periods if p.release}
    counts, without = level_counts(context, visible), not_evaluated(context, visible)
    programs = programs_of(context, visible)
    tags = tags_not_evaluated(context, visible)
    nobodys = unattributed(context, visible)
    landed = [drop.payload for drop in standing_drops(context.ledger)]
    reasons: Counter[str] = Counter()
    for drop in landed:
        reasons.update(drop["reasons"])
    value = {
        **outcome.as_json(),
        "levels": counts,
        "not_evaluated": without,
        "tags_not_evaluated": tags,
        "unattributed": nobodys,
        "quarantine": {"rows": sum(drop["quarantined"] for drop in landed), "reasons": dict(reasons)},
    }

    def render() -> None:
        if outcome.nothing_new:
            click.echo("Nothing new: no drop, policy or code changed since these periods were released. Nothing was written.")
        print_levels(context, programs, counts, without)
        print_tags(tags)
        for period in outcome.periods:
            print_outcome(context, period)
        print_unattributed(context, nobodys)
        print_refused((outcome.ingest or {}).get("refused", []))
        click.echo(f"Quarantined: {counted(value['quarantine']['rows'], 'row')}: {_reasons(reasons) or 'none'}")
        _print_places(context)
        print_next(context, visible, programs)

    held = [p.period for p in outcome.periods if p.status == "held"]
    error = None
    if held:
        error = Held(
            f"{', '.join(ranges(held))} held: nothing downstream changed for {'it' if len(held) == 1 else 'them'}",
            str(context.deployment.gates),
            "mend what the failed checks above name (their keys are in the files); docs/held-release.md",
        )
    context.result(value, render, error)


def print_outcome(context: Context, period: PeriodOutcome) -> None:
    """What became of a period, and the checks that did not pass."""
    failed = [check for check in period.checks if not check["passed"]]
    gate = f"{len(period.checks) - len(failed)} of {len(period.checks)} checks passed" if period.checks else "not run again"
    if period.status == "rolled_back":
        seen = f"readers see {period.release or 'nothing of it'}"
        click.echo(f"{period.period}: rolled back, {seen}; catalogs to go back to: {context.command('releases')}")
        return
    status = "released again, seen by readers once more," if period.status == "released_again" else period.status
    click.echo(f"{period.period}: {status}{f' as {period.release}' if period.release else ''}; gate: {gate}")
    # A warning holds nothing: where there is nothing else, the release is held for another reason.
    if period.status == "held" and all(check["severity"] == "warning" for check in failed):
        earlier = [other for other in held_periods(context.ledger, context.deployment.config.first_period) if other < period.period]
        click.echo(f"    held because {earlier[0]} is held" if earlier else "    held because its gate did not run to the end")
    for check in failed:
        word = "warning" if check["severity"] == "warning" else "failed"
        keys = context.deployment.data / check["failing_keys_file"] if check.get("failing_keys_file") else None
        rows = counted(check["failing_rows"], "failing row")
        seen = "" if check["observed"] == rows else f", observed {check['observed']}"
        where = f"; keys in {relative(keys)}" if keys else ""
        click.echo(f"    {word} {check['check']}: {rows}{seen}, expected {check['expected']}{where}")
        for row in _first_rows(keys, 3) if keys else []:
            click.echo(f"      {row}")


def _first_rows(keys: Path, limit: int) -> list[str]:
    """The first of the failing keys, a line each, with what each value is; none where the file is gone since."""
    try:
        with keys.open(encoding="utf-8", newline="") as file:
            rows = list(islice(csv.DictReader(file), limit))
    except FileNotFoundError:
        return []
    return [one_line(", ".join(f"{name} {value}" for name, value in row.items() if value)) for row in rows]


def unattributed(context: Context, releases: dict[str, str]) -> list[dict[str, str]]:
    """Released periods with money of no customer, and how much: declared so, or of a number that nobody held then."""
    files = [str(context.deployment.releases / releases[period] / "fct_conservation.parquet") for period in sorted(releases)]
    files = [file for file in files if Path(file).is_file()]
    if not files:
        return []
    found = duckdb.execute(
        "select period, unattributed_amount::varchar, landed_amount::varchar from read_parquet(?, union_by_name = true) "
        "where unattributed_amount <> 0 order by period",
        [files],
    ).fetchall()
    return [dict(zip(("period", "unattributed_amount", "landed_amount"), row, strict=True)) for row in found]


def tags_not_evaluated(context: Context, releases: dict[str, str]) -> list[dict[str, str]]:
    """The tags that nobody has in the newest released period because no source delivers what they rest on: ``tag_id``, ``reason``."""
    if not releases:
        return []
    file = [str(release_folder(context.deployment, releases[max(releases)]) / "dim_tags.parquet")]
    columns = {row[0] for row in duckdb.execute("describe select * from read_parquet(?)", file).fetchall()}
    if "status" not in columns:
        # Released before tags said so.
        return []
    found = duckdb.execute(
        "select tag_id, status_reason from read_parquet(?) where status = 'not_evaluated' order by 2, 1", file
    ).fetchall()
    return [{"tag_id": tag_id, "reason": reason} for tag_id, reason in found]


def print_tags(found: list[dict[str, str]]) -> None:
    """A line for each reason why tags are not evaluated."""
    for reason in dict.fromkeys(item["reason"] for item in found):
        click.echo(f"Tags not evaluated: {', '.join(item['tag_id'] for item in found if item['reason'] == reason)}: {reason}")


def print_unattributed(context: Context, found: list[dict[str, str]]) -> None:
    """A line for each period with money of no customer."""
    for item in found:
        nobodys, landed = (f"{Decimal(item[name]):,.2f}" for name in ("unattributed_amount", "landed_amount"))
        click.echo(f"{item['period']}: {nobodys} of {landed} {context.deployment.config.currency} belong to no customer")


def _print_places(context: Context) -> None:
    deployment = context.deployment
    places: list[tuple[str, Path]] = [
        ("releases", deployment.releases),
        ("channel files", deployment.channels),
        ("quarantine", deployment.quarantine),
        ("gate results", deployment.gates),
        ("ledger", deployment.ledger),
    ]
    click.echo("Where things lie: " + "; ".join(f"{name} {relative(path)}" for name, path in places))


def print_next(context: Context, visible: dict[str, str], programs: list[Program]) -> None:
    """Commands to go on with, for the newest period that readers see."""
    if not visible:
        return
    period = max(visible)
    file = release_folder(context.deployment, visible[period]) / "fct_decisions.parquet"
    lines = []
    # Of the first program a subject that rose, and of the first of each other method one of the highest level.
    for program in {p.method: p for p in reversed(programs)}.values():
        found = duckdb.execute(
            "select subject_id from read_parquet(?) where program_id = ? and level_id is not null "
            "order by movement = 'rose' desc nulls last, level_rank desc, subject_id limit 1",
            [str(file), program.program_id],
        ).fetchall()
        lines += [
            (
                program.program_id != programs[0].program_id,
                f"  {context.command(f'explain {shlex.quote(subject)} --program {program.program_id} --period {period}')}",
            )
            for (subject,) in found
        ]
    if lines:
        click.echo("Try next:")
        for _, line in sorted(lines):
            click.echo(line)
        others = [context.command(name) for name in ("status", "quarantine", "balance", "releases")]
        click.echo("  " + ("\n  " if context.folder else "    ").join(others))
        click.echo(f"  {context.ui_command()}   (the Dagster UI)")
