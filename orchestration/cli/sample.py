"""``tierhouse sample``: write the drops of the sample company."""

from __future__ import annotations

from pathlib import Path

import click

from orchestration.cli.base import Context, command
from orchestration.sample.company import LAST_PERIOD, MOST_CUSTOMERS, MOST_MONTHS, MOST_SEED, write_sample
from orchestration.sample.world import OLD_BILLING_SHARE
from orchestration.wording import counted

CUSTOMERS = click.IntRange(1, MOST_CUSTOMERS)
MONTHS = click.IntRange(1, MOST_MONTHS)
SEED = click.IntRange(0, MOST_SEED)


@command(click.Group(), "sample")
@click.option("--customers", type=CUSTOMERS, default=20_000, show_default=True, help="How many customers the company ever has.")
@click.option("--months", type=MONTHS, default=18, show_default=True, help="How many monthly files each source sends.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="The same seed gives the same files, byte for byte.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the drops; empty, or an earlier sample.")
@click.option(
    "--entities",
    default=None,
    help="Only these entities, separated by commas (default: all). A run needs customers and bill_lines; of lines and points, where left out, the promised files have no rows.",
)
@click.option("--last-period", default=LAST_PERIOD, show_default=True, help="The last month.")
@click.option(
    "--old-billing-share",
    type=click.FloatRange(0, 1),
    default=None,
    help=f"Share of customers on the old billing system, whose bills know numbers only. Default: {OLD_BILLING_SHARE}, without lines 0.",
)
@click.option("--no-defects", is_flag=True, help="Plant no bad rows and no broken files.")
def sample_command(
    context: Context,
    customers: int,
    months: int,
    seed: int,
    out: Path,
    entities: str | None,
    last_period: str,
    old_billing_share: float | None,
    no_defects: bool,
) -> None:
    """Write the drops of the sample company. A telecom operator, with known defects, to try everything on."""
    truth = write_sample(
        out.resolve(),
        customers=customers,
        months=months,
        seed=seed,
        entities=None if entities is None else [name.strip() for name in entities.split(",") if name.strip()],
        last_period=last_period,
        defects=not no_defects,
        old_billing_share=old_billing_share,
        say=context.say,
    )
    rows = sum(truth["rows"].values())
    context.result(
        truth,
        lambda: click.echo(
            f"{counted(len(truth['files']), 'file')} with {counted(rows, 'row')} in {out}; truth.json there tells what is in them"
        ),
    )
