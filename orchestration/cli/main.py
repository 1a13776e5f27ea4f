"""``tierhouse``: the commands. Imports inside the commands keep ``--help`` and small commands quick."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import Any, Literal

import click
from rich.table import Table

from orchestration.cli.base import Context, command, end_with, relative
from orchestration.cli.sample import CUSTOMERS, MONTHS, SEED, sample_command
from orchestration.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, BadInput, Failed, Mismatch
from orchestration.interruption import listen
from orchestration.periods import parse_period, parse_period_range, ranges
from orchestration.wording import counted

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
logging.getLogger("great_expectations").setLevel(logging.ERROR)


def run() -> None:
    """Entry point: run the command, then leave at once with its exit code.

    Without the interpreter's own teardown, because DuckDB's binding reports every object that other libraries still
    hold then as a leak, which is a page of noise behind each answer.
    """
    # A log that cannot be written (a full disk) must not print a traceback over the message that says so.
    logging.raiseExceptions = False
    # A terminal that cannot show a letter shows its number: names and explanations may be Chinese, wherever they are asked for.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    listen()
    code = call(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def call(arguments: list[str]) -> int:
    """Run one command line; its exit code. Wrong use, too, is one JSON value under ``--json``."""
    try:
        # Without a command click gives the exit code of --help and the like, with one whatever the command returns: nothing.
        return main(arguments, prog_name="tierhouse", standalone_mode=False) or EXIT_DONE
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_DONE if end.code is None else EXIT_FAILED
    except click.ClickException as err:
        return _wrong_use(err, "--json" in arguments)
    except (click.Abort, KeyboardInterrupt):
        return end_with(
            Failed("stopped by the keyboard or another signal", remedy="run the same command again: nothing was left half done"),
            "--json" in arguments,
        )


def _wrong_use(err: click.ClickException, as_json: bool) -> int:
    if not as_json:
        err.show()
        return EXIT_BAD_INPUT
    path = getattr(err, "ctx", None)
    where = path.command_path if path else "tierhouse"
    return end_with(BadInput(err.format_message(), where, f"see {where} --help"), as_json)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tierhouse")
def main() -> None:
    """Tierhouse: from raw bills to tiers that can be defended.

    Exit codes: 0 done, 1 failed, 2 wrong use or bad input, 3 held, 4 mismatch, 5 busy.
    """


@command(main, "ingest")
@click.option("--source", "sources", multiple=True, help="Only this source (may be repeated).")
@click.option("--again", is_flag=True, help="Land all files anew of the feeds whose mapping has changed.")
def ingest_command(context: Context, sources: tuple[str, ...], again: bool) -> None:
    """Land new drops. Good rows as typed copies, the rest in quarantine with reasons."""
    from orchestration.ingest import ingest
    from orchestration.release import require_whole

    require_whole(context.deployment, context.ledger)
    report = ingest(context.deployment, context.ledger, sources=list(sources) or None, again=again, say=context.say)

    def render() -> None:
        from orchestration.cli.summary import print_ingest

        print_ingest(context, report)

    context.result(report.as_json(), render, report.error())


@command(main, "run")
@click.option("--periods", required=True, help="A period or a range: 2026-06 or 2026-01..2026-06.")
def run_command(context: Context, periods: str) -> None:
    """Ingest, build, gate, release and deliver periods. All in one Dagster run."""
    from orchestration.cli.summary import report_run

    report_run(context, parse_period_range(periods))


@command(main, "demo")
@click.option("--customers", type=CUSTOMERS, default=20_000, show_default=True, help="Customers of the sample company.")
@click.option("--months", type=MONTHS, default=18, show_default=True, help="Months of the sample company.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Seed of the sample company.")
@click.option("--last", type=click.IntRange(min=1), default=6, show_default=True, help="How many of its last months to materialize.")
def demo_command(context: Context, customers: int, months: int, seed: int, last: int) -> None:
    """Make the sample company and run its last months. What is made already is kept."""
    from orchestration.cli.summary import report_run
    from orchestration.ingest import load_mappings, standing_drops
    from orchestration.sample import ensure_sample

    # The sample company's files have no place among the drops of another.
    if not {"billing_new", "crm"} <= {mapping.source for mapping in load_mappings(context.deployment)}:
        raise BadInput(
            "no mapping of this deployment reads the sample company's files",
            str(context.deployment.sources),
            "leave --deployment out, or name a copy of examples/telecom; a month of your own: `tierhouse run --periods YYYY-MM`",
        )
    has_landed = bool(standing_drops(context.ledger))
    truth = ensure_sample(context.deployment.drops, customers=customers, months=months, seed=seed, has_landed=has_landed, say=context.say)
    report_run(context, list(truth["periods"])[-last:])


@command(main, "explain")
@click.argument("subject")
@click.option("--program", default=None, help="Program id. Default: the first program that the deployment runs.")
@click.option("--period", required=True, help="Period, e.g. 2026-06.")
@click.option("--release", default=None, help="Release, e.g. 2026-06.r1. Default: the one that readers see.")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of the text.")
def explain_command(
    context: Context, subject: str, program: str | None, period: str, release: str | None, lang: Literal["en", "zh"]
) -> None:
    """Say why SUBJECT has its level. SUBJECT is the id of a customer, group, prospect, staff member or reception.

    The matched rule with every value, why not the level above, the steps of the life cycle, and the landed rows behind it all.
    Exit 4 if evidence, rules or landed rows give another result than was released, or if the release's files or what was delivered of it were changed.
    """
    from orchestration.audit import changed_deliveries, check_untouched, explain, render

    explanation = explain(context.deployment, context.ledger, subject, program, parse_period(period), release)
    check_untouched(context.deployment, explanation.release)
    changed = changed_deliveries(context.deployment, explanation.deliveries)
    context.result(explanation.as_json(), lambda: click.echo(render(explanation, lang)), changed)


@command(main, "releases")
def releases_command(context: Context) -> None:
    """List the releases and the catalogs. Readers see the newest catalog; a rollback goes back to one of them."""
    from orchestration.cli.summary import print_catalogs
    from orchestration.release import current_catalog, list_catalogs, list_releases

    catalog = current_catalog(context.deployment)
    rows = list_releases(context.deployment, context.ledger)
    catalogs = list_catalogs(context.ledger)

    def render() -> None:
        if catalog is None:
            click.echo(f"No release yet. Try: {context.command('run --periods YYYY-MM')}")
            return
        click.echo(f"catalog {catalog['catalog']}: what readers see now")
        table = Table("release", "period", "released at (UTC)", "cut-off", "in catalog", "folder")
        for row in rows:
            visible = catalog["periods"].get(row["period"]) == row["release"]
            folder = relative(context.deployment.releases / row["release"])
            table.add_row(row["release"], row["period"], row["at"], str(row["cutoff_seq"]), "yes" if visible else "", folder)
        context.out.print(table)
        print_catalogs(context, catalogs)

    context.result({"catalog": catalog, "releases": rows, "catalogs": catalogs}, render)


@command(main, "rollback")
@click.option(
    "--to", "to_catalog", type=click.IntRange(min=1), default=None, help="Catalog to go back to. Default: the one before the current."
)
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@click.option("--by", "requested_by", required=True, help="Who asks for it; kept in the ledger.")
def rollback_command(context: Context, to_catalog: int | None, reason: str, requested_by: str) -> None:
    """Let readers see an earlier catalog again. The ledger records it, and the channels get the older catalog's files."""
    from orchestration.release import rollback

    result = rollback(context.deployment, context.ledger, to_catalog, reason, requested_by, say=context.say)

    def render() -> None:
        click.echo(f"readers see catalog {result['catalog']} again as catalog {result['new_catalog']}")
        if result["finishes_earlier_one"]:
            click.echo(
                f"This is the rollback that {result['requested_by']} had asked for before ({result['reason']}), finished now: nothing went further "
                f"back.\nTo go further back name a catalog of {context.command('releases')}: "
                f"{context.command('rollback --to N --reason TEXT --by NAME')}"
            )

    context.result(result, render)


@command(main, "balance")
@click.option("--source", default=None, help="Only this source.")
@click.option("--entity", default=None, help="Only this entity.")
def balance_command(context: Context, source: str | None, entity: str | None) -> None:
    """Show what became of the rows of every file. Rows in = landed + quarantined + superseded + those of other entities (`where` of the mapping)."""
    from orchestration.ingest import balance

    every = balance(context.ledger)
    for option, wanted, key in (("--source", source, "source"), ("--entity", entity, "entity")):
        known = sorted({row[key] for row in every})
        if wanted is not None and wanted not in known:
            raise BadInput(
                f"nothing of the {key} {wanted!r} has landed", option, f"choose from {', '.join(known)}" if known else "ingest first"
            )
    rows = [r for r in every if source in (None, r["source"]) and entity in (None, r["entity"])]

    def render() -> None:
        from orchestration.cli.summary import print_balance

        print_balance(context, rows)

    context.result(rows, render)


@command(main, "quarantine")
@click.option("--limit", type=click.IntRange(min=0), default=5, show_default=True, help="Rows to show of each file; 0 for the counts only.")
def quarantine_command(context: Context, limit: int) -> None:
    """Show what was rejected, why, and the original text."""
    from orchestration.cli.summary import print_quarantine, quarantine_listing

    listing = quarantine_listing(context, limit)
    context.result(listing, lambda: print_quarantine(context, listing))


@command(main, "deliveries")
def deliveries_command(context: Context) -> None:
    """Show what each channel has been sent, and from which catalog."""
    rows = [{"at": e.at, **e.payload} for e in context.ledger.entries("delivery")]

    def render() -> None:
        if not rows:
            click.echo("Nothing has been delivered: no run has released anything yet, or the deployment has no channel.")
            return
        table = Table("channel", "catalog", "as of", "rows", "file", "at (UTC)")
        for row in rows:
            table.add_row(row["channel"], str(row["catalog"]), str(row["as_of_period"]), str(row["rows"]), str(row["path"]), row["at"])
        context.out.print(table)

    context.result(rows, render)


@main.group("ledger")
def ledger_group() -> None:
    """The hash-chained record of what happened."""


@command(ledger_group, "show")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many entries.")
def ledger_show_command(context: Context, last: int) -> None:
    """Show the newest entries."""
    entries = context.ledger.entries()[-last:]

    def render() -> None:
        table = Table("seq", "at (UTC)", "kind", "what", "hash")
        for e in entries:
            what = ", ".join(f"{k}={v}" for k, v in e.payload.items() if isinstance(v, str | int | bool) and len(str(v)) <= 40)
            table.add_row(str(e.seq), e.at, e.kind, what[:90], e.hash[:12])
        context.out.print(table)

    context.result([vars(e) for e in entries], render)


@command(ledger_group, "verify")
def ledger_verify_command(context: Context) -> None:
    """Recompute the hash chain. Exit 4 if an entry was changed, or if what landed, is released, seen or delivered is not what it records."""
    from orchestration.release import BEHIND_REMEDY, behind, check_pointer, check_recorded, check_releases

    # Looked at before the chain: a ledger that is gone or was cut off at its end has a chain without a fault.
    if problem := behind(context.deployment, context.ledger):
        raise Mismatch(problem, str(context.deployment.ledger), BEHIND_REMEDY)
    count = context.ledger.verify()
    check_pointer(context.deployment, context.ledger)
    check_releases(context.deployment, context.ledger)
    check_recorded(context.deployment, context.ledger)
    seq, head = context.ledger.head()
    context.result(
        {"entries": count, "head_seq": seq, "head": head},
        lambda: click.echo(f"{counted(count, 'entry', 'entries')}, chain intact, head {head}"),
    )


@main.group("policy")
def policy_group() -> None:
    """Policies: the seeds that say who gets which level."""


@command(policy_group, "check")
@click.option("--boundaries", type=click.Path(file_okay=False), default=None, help="Also write the boundary cases of every table here.")
def policy_check_command(context: Context, boundaries: str | None) -> None:
    """Prove that the policies are sound, before anything runs. Exit 2 on a finding of severity error."""
    from orchestration.policy import check_policies, load_policies
    from orchestration.release import policy_folders, released_policies

    policies, place = load_policies(context.deployment), context.deployment
    findings = check_policies(policies, released_policies(context.ledger), policy_folders(place, context.ledger), place.today())
    written: list[Path] = []
    if boundaries:
        from orchestration.policy.boundaries import write_boundary_cases

        written = write_boundary_cases(policies, Path(boundaries))

    programs = list(policies.enabled())
    versions = [version for program in programs for version in program.versions]
    errors = [f for f in findings if f.severity == "error"]

    def render() -> None:
        for finding in findings:
            click.echo(str(finding))
        for file in written:
            click.echo(f"boundary cases: {relative(file)}")
        for version in versions:
            until = version.valid_to or "on"
            click.echo(
                f"{version.program_id} {version.version}: {version.valid_from} {'to ' if version.valid_to else ''}{until}, policy hash {version.policy_hash[:12]}"
            )
        click.echo(
            f"{counted(len(programs), 'program')}, {counted(len(versions), 'version')} checked: "
            f"{counted(len(errors), 'error')}, {counted(len(findings) - len(errors), 'warning')}"
        )

    error = None
    if errors:
        # What to do stands at each finding already; a machine reads it here.
        remedy = errors[0].remedy if context.as_json else ""
        error = BadInput(f"{counted(len(errors), 'finding')} of severity error", errors[0].where, remedy)
    value = {
        "programs": len(programs),
        "versions": [
            {key: getattr(v, key) for key in ("program_id", "version", "valid_from", "valid_to", "policy_hash")} for v in versions
        ],
        "errors": len(errors),
        "warnings": len(findings) - len(errors),
        "findings": [f.as_json() for f in findings],
        "boundary_files": [str(f) for f in written],
    }
    context.result(value, render, error)


@command(main, "movements")
@click.option("--program", default=None, help="Program id. Default: the first program of the release.")
@click.option("--period", required=True, help="Released period, e.g. 2026-06.")
@click.option("--cause", default=None, help="Only this cause, e.g. new_spend.")
def movements_command(context: Context, program: str | None, period: str, cause: str | None) -> None:
    """Count who changed level, by cause and direction. The counts of a released period add up to all changes."""
    from orchestration.cli.movement import movements, print_movements

    value = movements(context, program, parse_period(period), cause)
    context.result(value, lambda: print_movements(context, value))


@command(main, "paths")
@click.option("--program", default=None, help="Program id. Default: the first program of the release.")
@click.option("--period", required=True, help="Released period, e.g. 2026-06.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Subjects to show of each list; 0 for all. JSON holds all."
)
def paths_command(context: Context, program: str | None, period: str, limit: int) -> None:
    """List who is about to rise or to fall. At the present pace, and at the next review."""
    from orchestration.cli.movement import paths, print_paths

    value = paths(context, program, parse_period(period))
    context.result(value, lambda: print_paths(value, context, limit))


@command(main, "status")
def status_command(context: Context) -> None:
    """Show what is landed, open, released, held and due again. Released periods whose input has changed since are due again."""
    from orchestration.channels import pending
    from orchestration.cli.late import as_json, print_late
    from orchestration.cli.summary import print_refused
    from orchestration.ingest import ANY_PERIOD, open_periods, refused_drops, standing_drops
    from orchestration.ledger import rolled_back
    from orchestration.release import current_catalog, held_periods
    from orchestration.warehouse.late import late_inputs

    landed = [drop.payload for drop in standing_drops(context.ledger)]
    opened = open_periods(context.deployment, context.ledger)
    refused = refused_drops(context.deployment, context.ledger)
    catalog = current_catalog(context.deployment)
    late = late_inputs(context.deployment, context.ledger)
    held = held_periods(context.ledger, context.deployment.config.first_period)
    back = rolled_back(context.ledger)
    try:
        outstanding = pending(context.deployment, context.ledger) if catalog else []
    except BadInput:
        # Who mends the policies asks for the rest meanwhile; `policy check` says what is wrong with them.
        outstanding = None
    value: dict[str, Any] = {
        "deployment": context.deployment.name,
        "files_landed": len(landed),
        "rows_landed": sum(drop["landed"] for drop in landed),
        "rows_quarantined": sum(drop["quarantined"] for drop in landed),
        "refused": refused,
        "open_periods": opened,
        "held_periods": held,
        "rolled_back": [{"period": period, "release": was, "readers_see": now} for period, (was, now) in back.items()],
        "catalog": catalog,
        "channels_outstanding": outstanding,
        "late_inputs": as_json(context, late),
    }

    def render() -> None:
        click.echo(
            f"{counted(value['files_landed'], 'file')}, {counted(value['rows_landed'], 'row')} landed, {value['rows_quarantined']:,} quarantined"
        )
        # Of a file whose name states its period the open period says it.
        told = [problem for problems in opened.values() for problem in problems]
        print_refused([each for each in refused if not any(f": {each['file']} was refused: " in problem for problem in told)])
        for period, problems in sorted(opened.items()):
            which = "no period is" if period == ANY_PERIOD else f"{period} is not"
            click.echo(f"{which} closed: {'; '.join(str(p) for p in problems)}")
        released = ", ".join(ranges(list(catalog["periods"]))) if catalog else "none"
        click.echo(f"released periods: {released}")
        if held:
            click.echo(f"held by the gate, and with them what comes after: {', '.join(ranges(held))}; see docs/held-release.md")
        for period, (was, now) in back.items():
            click.echo(f"rolled back: {was}, readers see {now or f'nothing of {period}'}; see docs/going-back.md")
        if outstanding is None:
            click.echo("which channels have the catalog is not known: the policies are refused, see `tierhouse policy check`")
        elif outstanding:
            click.echo(
                f"channels that have not got the catalog: {', '.join(outstanding)}; the next run, or the same rollback again, sends it"
            )
        print_late(context, late)

    context.result(value, render)


main.add_command(sample_command, "sample")
