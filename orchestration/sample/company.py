"""The sample company's drops, month by month, and the file that says what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestration.errors import BadInput, Failed
from orchestration.periods import parse_period, period_index
from orchestration.sample.billing import Billing
from orchestration.sample.commerce import Finance, Marketing, Rewards
from orchestration.sample.crm import Crm
from orchestration.sample.drops import Drops
from orchestration.sample.service import Service
from orchestration.sample.world import OLD_BILLING_SHARE, World
from orchestration.wording import counted

SOURCES = (Crm, Billing, Rewards, Service, Marketing, Finance)
# What a run needs, and what else a source promises every month: left out, its files are there without rows, so that a month can be closed.
_NEEDED = frozenset({"customers", "bill_lines"})
_PROMISED = frozenset({"lines", "points"})
ENTITIES: tuple[str, ...] = tuple(sorted(frozenset().union(*(source.entities for source in SOURCES))))
LAST_PERIOD = "2026-06"
TRUTH = "truth.json"
MOST_CUSTOMERS = 20_000_000
MOST_MONTHS = 120
MOST_SEED = 2**31


class _Source(Protocol):
    def month(self, month: int) -> None: ...


def write_sample(
    out: Path,
    *,
    customers: int,
    months: int,
    seed: int,
    entities: Sequence[str] | None = None,
    last_period: str = LAST_PERIOD,
    defects: bool = True,
    old_billing_share: float | None = None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Write the drops of a company of ``customers`` over the ``months`` up to ``last_period`` into ``out``.

    ``entities`` limits what is written (None: everything); with customers and bill_lines among them it can be run: files that a source
    promises every month are there without rows. Without ``defects`` no bad row and no cut file is planted;
    late bills, credit notes, corrections and repeated files stay. ``old_billing_share`` (None: :data:`OLD_BILLING_SHARE`, without
    lines 0) 0: the old billing system's files have no rows. Returns what ``out/truth.json`` says: rows by file,
    planted defects by kind, file and reason, and the other things done on purpose. Raises BadInput on values out of
    range and on an ``out`` that holds other files; Failed where the disk refuses.
    """
    if old_billing_share is None:
        # Its bills know numbers only: without lines they would be of nobody.
        old_billing_share = OLD_BILLING_SHARE if entities is None or "lines" in entities else 0.0
    wanted = _checked(out, customers, months, seed, entities, last_period, old_billing_share)
    empty = _PROMISED - wanted if wanted >= _NEEDED else frozenset()
    _clear(out)
    say(f"sample company: {counted(customers, 'customer')}, {counted(months, 'month')} up to {last_period}, seed {seed}")
    world = World(customers, months, seed, last_period, old_billing_share)
    drops = Drops(out, world, wanted, empty, defects=defects, say=say)
    sources: list[_Source] = [source(world, drops) for source in SOURCES if source.entities & (wanted | empty)]
    for month in range(months):
        for source in sources:
            source.month(month)
        say(f"  {world.period(month)} written ({month + 1} of {months})")
    drops.truth.events["recycled_numbers"] = world.recycled_numbers
    truth: dict[str, Any] = {
        "customers": customers,
        "months": months,
        "seed": seed,
        "periods": world.periods,
        "defects_planted": defects,
        "old_billing_share": old_billing_share,
        "entities": sorted(wanted),
        "rows": _rows_by_entity(drops),
        "files": dict(sorted(drops.truth.files.items())),
        "control_files": sorted(drops.truth.control_files),
        "defects": dict(sorted(drops.truth.defects.items())),
        "events": dict(sorted(drops.truth.events.items())),
    }
    try:
        (out / TRUTH).write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as err:
        raise Failed(f"cannot be written: {err}", str(out / TRUTH), "free space or choose another --out") from err
    bad_rows = sum(int(kind["rows"]) for kind in drops.truth.defects.values())
    say(
        f"sample company: {counted(len(drops.truth.files), 'file')}, {counted(sum(truth['rows'].values()), 'row')}, {counted(bad_rows, 'planted defect')}; see {out / TRUTH}"
    )
    return truth


def ensure_sample(out: Path, *, customers: int, months: int, seed: int, has_landed: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """The truth of the sample in ``out``, which is written unless it is there already with these figures.

    Drops that came into the folder since then stay, and so does a sample that is there. BadInput where one with other figures
    has landed (``has_landed``): its files have the same names, so that both companies would be mixed.
    """
    _checked(out, customers, months, seed, None, LAST_PERIOD, OLD_BILLING_SHARE)
    wanted = {"customers": customers, "months": months, "seed": seed, "entities": list(ENTITIES), "defects_planted": True}
    try:
        truth = json.loads((out / TRUTH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        truth = {}
    if isinstance(truth, dict) and wanted.items() <= truth.items():
        say(f"sample company: already in {out}")
        return truth
    if has_landed:
        raise BadInput(
            "files of another sample company have landed, and this one would be mixed with it",
            str(out),
            "name the same figures, or a place of its own: TIERHOUSE_DATA=DIR TIERHOUSE_DROPS=DIR/drops before the command",
        )
    return write_sample(out, customers=customers, months=months, seed=seed, say=say)


def _checked(
    out: Path, customers: int, months: int, seed: int, entities: Sequence[str] | None, last_period: str, share: float
) -> frozenset[str]:
    parse_period(last_period, "--last-period")
    for name, value, low, high in (
        ("--customers", customers, 1, MOST_CUSTOMERS),
        ("--months", months, 1, MOST_MONTHS),
        ("--seed", seed, 0, MOST_SEED),
    ):
        if not low <= value <= high:
            raise BadInput(f"{value:,} is out of range", name, f"write a whole number from {low:,} to {high:,}")
    if period_index(last_period) - months < 1990 * 12:
        raise BadInput(
            f"{counted(months, 'month')} up to {last_period} {'begins' if months == 1 else 'begin'} before 1990",
            "--months",
            "write fewer months or a later --last-period",
        )
    if not 0 <= share <= 1:
        raise BadInput(f"{share} is out of range", "--old-billing-share", "write a share from 0 to 1")
    unknown = sorted(set(entities or ()) - set(ENTITIES))
    if unknown:
        raise BadInput(f"unknown entities: {', '.join(unknown)}", "--entities", f"known ones: {', '.join(ENTITIES)}")
    if entities is not None and not entities:
        raise BadInput("names no entity", "--entities", f"known ones: {', '.join(ENTITIES)}")
    if out.exists() and not out.is_dir():
        raise BadInput("is a file, not a folder", str(out), "name a folder: --out DIR")
    if out.is_dir() and any(out.iterdir()) and not (out / TRUTH).is_file():
        raise BadInput("holds files that no sample wrote", str(out), "name an empty folder, so that nothing of yours is mixed with it")
    return frozenset(entities) if entities is not None else frozenset(ENTITIES)


def _clear(out: Path) -> None:
    """Make ``out``, or remove what an earlier sample wrote there (its own files only)."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / TRUTH).is_file():
            earlier = json.loads((out / TRUTH).read_text(encoding="utf-8"))
            for name in [*earlier.get("files", {}), *earlier.get("control_files", [])]:
                path = (out / name).resolve()
                if path.is_relative_to(out.resolve()):
                    path.unlink(missing_ok=True)
        # From here on the folder is known as a sample's, even if this run is cut short.
        (out / TRUTH).write_text("{}\n", encoding="utf-8")
    except (OSError, ValueError) as err:
        raise Failed(f"the folder cannot be prepared: {err}", str(out), "choose another --out") from err


def _rows_by_entity(drops: Drops) -> dict[str, int]:
    rows: dict[str, int] = {}
    for file in drops.truth.files.values():
        if "same_as" not in file:
            rows[file["entity"]] = rows.get(file["entity"], 0) + int(file["rows"])
    return dict(sorted(rows.items()))
