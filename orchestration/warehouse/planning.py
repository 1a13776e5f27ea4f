"""How a run is planned: the months it reads again, whether there is anything to do, and whether its periods may go on from the months before.

Planning reads the ledger, the landed parts and what the warehouse says it holds; it writes nothing. What a month of the
warehouse was made from is known by a digest of its parts, so that a run that was killed half way is planned again in full:
a month counts as applied only after dbt has succeeded.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.ingest.copies import delivered
from orchestration.ingest.mapping import load_mappings
from orchestration.ingest.relanding import check_currency
from orchestration.ledger.readers import (
    begins_anew,
    begun,
    behind_the_month_before,
    goes_on_from_unseen,
    held_periods,
    last_computed,
    payloads_in_catalog,
    rolled_back,
    what_is_new,
)
from orchestration.ledger.store import Ledger, digest
from orchestration.periods import add_months, period_from_index, period_index, periods_between
from orchestration.policy.model import Policies
from orchestration.policy.subjects import SUBJECT_TYPES
from orchestration.policy.used import months_of_charge_types, months_reached
from orchestration.warehouse.database import Carried, carried_levels, lost_periods, read_held
from orchestration.warehouse.landed import Landed, landed_at
from orchestration.warehouse.plan import CARRIED, USUAL_REACH_MONTHS, RunPlan, code_version, months_version, window_months, windows_version


def plan_run(
    deployment: Deployment,
    ledger: Ledger,
    periods: list[str],
    policies: Policies,
    compiled: dict[str, str],
    undelivered: Collection[str],
    *,
    is_asked: bool = False,
) -> RunPlan:
    """The plan of a run over ``periods``; reads ledger, landing and warehouse, writes nothing. ``is_asked``: it is carried out though
    there may be nothing to do; BadInput where the periods would go on from rows that they may not go on from."""
    cutoff_seq, _ = ledger.head()
    landed = landed_at(deployment, ledger, cutoff_seq)
    check_currency(deployment, landed.known)
    kinds = {program.subject_type for program in policies.enabled()}
    if "customer" in kinds or not kinds:
        there = landed.periods("bill_lines")
        if there and periods[-1] > there[-1]:
            there += _months_without_bills(deployment, ledger, after=there[-1])
        check_periods(periods, deployment.config.first_period, there)
    else:
        newest = max((entry.at for entry in ledger.entries("drop_landed", upto=cutoff_seq)), default="")
        of = " or ".join(SUBJECT_TYPES[kind].entity for kind in sorted(kinds))
        there = landed.periods_of(kinds, deployment.config.timezone, newest)
        check_periods(periods, deployment.config.first_period, there, f"rows of {of}")
    held = read_held(deployment.warehouse)
    months = months_version(deployment, compiled)
    windows = windows_version(months, compiled)
    digests = landed.period_digests(periods[-1])
    input_periods = stale_periods(digests, held.digests if held.months_version == months else {})
    window_periods = held.window_periods if held.windows_version == windows else []
    base = choose_base(window_periods, min([*input_periods, *periods]))
    inputs_hash = digest([landed.hash(), deployment.config.timezone, deployment.config.currency, deployment.config.customers_from])
    made_from: dict[str, Any] = {
        "inputs_hash": inputs_hash,
        "policy_hash": policies.hash,
        "code_version": code_version(),
        "undelivered": sorted(undelivered),
    }
    new = news(ledger, periods, made_from, cutoff_seq)
    why = {**unsettled(ledger, periods), **new} or dict.fromkeys(
        lost_periods(deployment.warehouse, released_decisions(ledger, periods)), "the warehouse does not hold it any more"
    )
    if why or is_asked:
        _check_levels_go_on(deployment, ledger, periods, there[0], policies, new)
    plan = RunPlan(
        run_id=new_run_id(),
        periods=periods,
        input_periods=input_periods,
        cutoff_seq=cutoff_seq,
        nothing_new=not why,
        reasons=[f"{period}: {why[period]}" for period in periods if period in why],
        totals_base=base,
        extra_window_periods=extra_windows(periods, base),
        first_landed_period=min(digests, default=None),
        reach_months=max(USUAL_REACH_MONTHS, policies.reach_months),
        period_digests={period: digests[period] for period in input_periods},
        months_version=months,
        windows_version=windows,
        charge_periods=_charge_periods(periods, policies, landed),
        **made_from,
    )
    return replace(plan, points_periods=_points_periods(plan, policies, landed))


def _months_without_bills(deployment: Deployment, ledger: Ledger, after: str) -> list[str]:
    """Months ``after`` the last bills of which a promised file says that there are none: it has landed and holds no row."""
    feeds = {feed.source: feed for mapping in load_mappings(deployment) for feed in mapping.feeds if feed.entity == "bill_lines"}
    empty = [d for d in delivered(ledger) if d["entity"] == "bill_lines" and d["source"] in feeds and d["rows_in"] == d["not_for_entity"]]
    named = {period for drop in empty if (period := feeds[drop["source"]].period_of(drop["file"]))}
    return sorted(period for period in named if period > after)


def _points_periods(plan: RunPlan, policies: Policies, landed: Landed) -> list[str]:
    """The landed months of points that some metric in use reads in this run."""
    known = {period_index(period) for period in landed.periods("points")}
    read: set[int] = set()
    for target in {target for _, target, _ in window_months(plan)}:
        reached = known & {month for _, period, month in window_months(plan) if period == target}
        read |= months_reached(policies.used_metrics, "points", target, reached)
    return [period_from_index(index) for index in sorted(read)]


def _charge_periods(periods: list[str], policies: Policies, landed: Landed) -> dict[str, list[str]]:
    """Period → the landed months of bills in which some metric in use asks for charge types."""
    known = {period_index(period) for period in landed.periods("bill_lines")}
    return {
        period: [period_from_index(index) for index in sorted(months_of_charge_types(policies.used_metrics, period_index(period), known))]
        for period in periods
    }


def stale_periods(wanted: dict[str, str], held: dict[str, str]) -> list[str]:
    """Months whose digest is not the one that the warehouse holds, in order."""
    return sorted(period for period, made_from in wanted.items() if held.get(period) != made_from)


def choose_base(window_periods: list[str], changed_from: str) -> str | None:
    """The newest period with carried totals that no change of this run touches."""
    return max((period for period in window_periods if period < changed_from), default=None)


def extra_windows(periods: list[str], base: str | None) -> list[str]:
    """The month before the first target, where a correction has overtaken its totals: else each later run would reach further back."""
    before = add_months(periods[0], -1)
    return [before] if base is not None and base < before else []


def news(ledger: Ledger, periods: list[str], made_from: Mapping[str, Any], cutoff: int) -> dict[str, str]:
    """Those of the periods that would be computed from something new, and from what; see :func:`orchestration.ledger.readers.what_is_new`."""
    computed = last_computed(ledger, cutoff)
    found = {period: what_is_new(computed.get(period), made_from) for period in periods}
    return {period: new for period, new in found.items() if new}


def unsettled(ledger: Ledger, periods: list[str]) -> dict[str, str]:
    """Those of the periods that are to be computed again though nothing is new, and why."""
    held, behind = held_periods(ledger), behind_the_month_before(ledger)
    found: dict[str, str] = {}
    for period in periods:
        if period in held:
            # As when a policy was changed, held and changed back: the months after it wait for a gate that it passes.
            found[period] = "it was held since its release"
        elif _is_broken_off(ledger, period):
            # What the warehouse holds of it is not what was released, and the month after it would go on from that.
            found[period] = "it was computed since its release, and its rows were never released"
        elif period in behind:
            found[period] = "the month before it has been released anew since"
    return found


def check_periods(periods: list[str], first_allowed: str, landed: list[str], rows: str = "bill lines") -> None:
    """BadInput unless the periods follow one another and ``rows`` have landed for each month up to the last."""
    if not periods:
        raise BadInput("no period to run", "--periods", "name at least one, for example 2026-06")
    if periods != periods_between(periods[0], periods[-1]):
        raise BadInput(
            f"the periods {', '.join(periods)} do not follow one another", "--periods", "run them as ranges, one after the other"
        )
    if not landed:
        raise BadInput(
            f"no {rows} have landed, so there is nothing to decide", "--periods", "run `tierhouse ingest` on a deployment with drops"
        )
    first = max(first_allowed, landed[0])
    for period in (periods[0], periods[-1]):
        if not first <= period <= landed[-1]:
            raise BadInput(
                f"the period {period} is out of range: {rows} have landed for {landed[0]} to {landed[-1]}, first_period is {first_allowed}",
                "--periods",
                f"choose from {first} to {landed[-1]}",
            )


def programs_with_levels(policies: Policies) -> set[str]:
    """Ids of the programs of which a month goes on from the month before; events carry no level."""
    return {program.program_id for program in policies.enabled() if program.row["clock"] != "event"}


def _check_levels_go_on(
    deployment: Deployment, ledger: Ledger, periods: list[str], first_landed: str, policies: Policies, new: Collection[str]
) -> None:
    """The checks below, of what the ledger and the warehouse say."""
    enabled = programs_with_levels(policies)
    if not enabled:
        return
    check_no_run_was_broken_off(periods, ledger, deployment.config.first_period)
    check_readers_see_what_is_read(periods, rolled_back(ledger), new)
    released = {program: months for program, months in released_programs(ledger).items() if program in enabled and months[0] < periods[0]}
    carried = carried_levels(deployment.warehouse, add_months(periods[0], -1), released)
    check_levels_go_on(periods, max(deployment.config.first_period, first_landed), released, carried)


def check_levels_go_on(periods: list[str], first: str, released: Mapping[str, Sequence[str]], carried: Mapping[str, Carried]) -> None:
    """BadInput if levels would begin anew with the periods, because the month before them is not decided though an earlier one is released.

    A level is held from month to month, so that a month that is left out would end every validity without a word. ``first``: the
    first month that can be run, at which levels begin anew unless the month before it is released; ``released``: program → its released
    months, in order, of the programs that are run and carry levels; ``carried``: what the warehouse holds of them.
    """
    before = add_months(periods[0], -1)
    began = {program: earlier for program, months in released.items() if (earlier := [month for month in months if month < periods[0]])}
    since: dict[str, str] = {}
    for program, earlier in began.items():
        low = earlier[0] if add_months(first, -1) in earlier else first
        if before < low:
            continue
        held = carried.get(program)
        # A program whose last subject has left has nothing to carry on.
        is_over = held is not None and not held.has_levels and held.period > earlier[-1]
        if not is_over and (held is None or held.period != before):
            since[program] = max(low, add_months(held.period, 1) if held else earlier[0])
    if not since:
        return
    start = min(since.values())
    missing = start if start == before else f"{start} to {before}"
    whose = "all levels" if since.keys() == began.keys() else f"the levels of {', '.join(sorted(since))}"
    raise BadInput(
        f"{periods[0]} would begin {whose} anew: {missing} {'is' if start == before else 'are'} not decided in the warehouse, and earlier months are released",
        "--periods",
        f"run `tierhouse run --periods {start}..{periods[-1]}`: a level is held from month to month, and a month that is left out would end it"
        + ("" if start >= first else f"; first_period in tierhouse.yaml, now {first}, must be {start} or earlier for it"),
    )


def check_readers_see_what_is_read(periods: list[str], back: Mapping[str, tuple[str, str | None]], new: Collection[str]) -> None:
    """BadInput if a month was rolled back, stays so, and a month after it would go on from rows that readers do not see.

    ``back``: see :func:`orchestration.ledger.readers.rolled_back`; ``new``: those of the periods that something new is there for, which
    are released. The release asks again: a rollback may come between.
    """
    back = {period: releases for period, releases in back.items() if period not in new}
    after = next((p for p in periods if add_months(p, -1) in back and (p == periods[0] or p in new)), None)
    if after is not None:
        raise goes_on_from_unseen(after, periods[-1], back)


def check_no_run_was_broken_off(periods: list[str], ledger: Ledger, first: str = "") -> None:
    """BadInput if dbt wrote decisions of the month before the periods and nobody released them: the periods would go on from those.

    As after a run that was killed or failed between its computation and its release, after that model was built alone, or where a month
    before was held and released alone since. Nothing is refused where no month before was ever released, for then the periods begin anew,
    nor while a month before is held: the gate stops what comes after it. ``first``: the first period that may be run.
    """
    start = periods[0]
    if begins_anew(ledger, start) or any(period < start for period in held_periods(ledger, first)):
        return
    while _is_broken_off(ledger, before := add_months(start, -1)):
        start = before
    if start == periods[0]:
        return
    newest = add_months(periods[0], -1)
    raise BadInput(
        f"{periods[0]} would go on from rows that were never released: the last computation of {newest} ended before its release",
        "--periods",
        f"run `tierhouse run --periods {start}..{periods[-1]}`",
    )


def _is_broken_off(ledger: Ledger, period: str) -> bool:
    """Whether the newest run that had dbt decide the period neither released nor confirmed it since."""
    decided = [each for each in begun(ledger) if period in each.periods and each.writes(CARRIED)]
    if not decided:
        return False
    newest = decided[-1]
    return not any(
        (entry.payload["run_id"], entry.payload["period"]) == (newest.run_id, period)
        for entry in ledger.entries("release", "confirmation", after=newest.seq)
    )


def released_programs(ledger: Ledger) -> dict[str, list[str]]:
    """Program → the months in which readers see decisions of it, in order."""
    found: dict[str, set[str]] = {}
    for payload in payloads_in_catalog(ledger):
        for name in payload.get("policies", {}):
            found.setdefault(name.partition("/")[0], set()).add(payload["period"])
    return {program: sorted(months) for program, months in found.items()}


def released_decisions(ledger: Ledger, periods: list[str]) -> list[str]:
    """Those of the periods in which readers see any decision."""
    seen = payloads_in_catalog(ledger)
    return sorted(payload["period"] for payload in seen if payload["period"] in periods and payload["rows"].get("fct_decisions"))


def new_run_id() -> str:
    return uuid.uuid4().hex[:12]
