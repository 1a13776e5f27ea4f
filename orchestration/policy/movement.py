"""Why shown levels changed, as SQL: inputs of the month before are replaced by those of this month, one group after the other.

What was known and what is known now are the evidence of two decisions about one subject. The rules are asked again after each
substitution; the first one after which the shown level is another than the month before is the cause. Only subjects whose level
changed are looked at. What the choices made here mean for a reader is in the description of int_movement_causes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from textwrap import indent

from orchestration.policy import inputs, sql
from orchestration.policy.both_windows import WINDOWS, is_idle, is_looked_up, window_relation, windowed_metrics
from orchestration.policy.compile import evaluation_order, matched
from orchestration.policy.model import Policies, Program, Version
from orchestration.policy.operands import operands, scores
from orchestration.policy.relations import TARGETS
from orchestration.policy.substitution import ASKED, AT, POLICY, inputs_at_steps, of_placed_portions

# The month that showed a level last, of decisions d: the one before, or an earlier one of who was not evaluated in it.
_SHOWN_LAST = "coalesce(d.previous_period_index, d.period_index - 1)"

CAUSE_COLUMNS = {
    "program_id": "varchar", "subject_type": "varchar", "subject_id": "varchar", "period": "varchar", "movement_cause": "varchar",
    "previous_level_id": "varchar", "previous_level_rank": "integer", "level_id": "varchar", "level_rank": "integer",
    "start_level_rank": "integer", "qualified_level_rank": "integer", "end_qualified_rank": "integer", "step_ranks": "varchar",
    "evidence_before": "varchar", "evidence": "varchar",
}  # fmt: skip


def movement_causes(policies: Policies, periods: Collection[str] | None, missing: frozenset[str]) -> str:
    """One row per subject and target period whose shown level differs from the month before: the columns of CAUSE_COLUMNS."""
    # Whoever was not evaluated for a while is compared with a month of long ago, and that with a version of before.
    last = None if periods is None else max(periods, default="")
    graded = [
        (program, _rules_only(version.without(missing)))
        for program in policies.enabled()
        if program.row["clock"] != "event"
        for version in program.versions
        if (last is None or version.valid_from <= last) and not inputs.lacking(version, missing)
    ]
    if not graded:
        return sql.no_rows(CAUSE_COLUMNS)
    windows = []
    for kind, name in WINDOWS.items():
        of_kind = [o for program, version in graded if program.subject_type == kind for o in operands(version.attributes)]
        if any(is_looked_up(kind, o) for o in of_kind):
            windows.append(sql.cte(name, window_relation(kind, windowed_metrics(kind, of_kind), asks_idle=any(map(is_idle, of_kind)))))
    parts = "\n\nunion all\n\n".join(_asked(program, version) for program, version in graded)
    names = {program.program_id: program for program, _ in graded}
    ctes = [sql.cte("pairs", _pairs(names)), *windows, sql.cte("asked", parts), sql.cte("told", _told()), sql.cte("covered", _covered())]
    return "with " + ",\n\n".join(ctes) + "\n\n" + _final()


def _rules_only(version: Version) -> Version:
    """Who is graded and what caps are in force is known from the decisions: only the rules are asked again."""
    return replace(version, scope_rules=(), caps=())


def _where_moved(program_ids: Iterable[str]) -> list[str]:
    """Lines of the WHERE of decisions d of this run that show another level than the one shown last."""
    known = ", ".join(sql.literal(name) for name in program_ids)
    return [
        f"where d.period in (select period from {TARGETS})",
        f"    and d.program_id in ({known})",
        # The first is in the second, and leaves rows of a first month unread.
        "    and d.previous_level_id is not null and d.level_id <> d.previous_level_id",
    ]


def _pairs(program_ids: Iterable[str]) -> str:
    """Decisions whose level differs from the month before, with the decision of that month, or of the one that showed a level last.

    After months that were not evaluated, that one may have been run again since, and show another level or none: of what was known when it
    showed this one the level is left, and no more.
    """
    ranks = ("held_level_rank", "cap_level_rank", "at_least_level_rank", "set_level_rank")
    known = ("policy_version", "policy_hash", "evidence")
    # Ranks are compared with those of today, so that a level that was put between others moves nobody. A level that is gone has the one it had.
    levels = {name: name.removesuffix("_rank") for name in ranks}
    before = {name: f"coalesce(cast({level}.rank as integer), b.{name})" for name, level in levels.items()}
    # A level that is all that is known was held, for all that is known.
    before["held_level_rank"] = f"case when b.level_id is null then d.previous_level_rank else {before['held_level_rank']} end"
    columns = [
        "d.program_id",
        "d.subject_type",
        "d.subject_id",
        "d.period",
        "d.period_index",
        "d.level_id",
        "d.level_rank",
        "d.previous_level_id",
    ]
    columns += ["d.qualified_level_rank", f"{_SHOWN_LAST} as before_index", "d.previous_level_rank as before_level_rank"]
    columns += [f"d.{name}" for name in (*ranks, *known)]
    columns += [f"{value} as before_{name}" for name, value in before.items()]
    columns += [f"b.{name} as before_{name}" for name in known]
    columns += [f"coalesce({alias}.validity_months, 0) > 0 as {name}" for alias, name in (("v", "has_review"), ("w", "had_review"))]
    # What was held without validity ends by no review: a version that brings one reviews it at once.
    columns.append("b.level_id is not null and b.valid_until_period is null as was_unbound")
    moved = _where_moved(program_ids)
    return "\n".join(
        [
            "select",
            sql.columns(columns),
            f"from {sql.DECISIONS_PLACEHOLDER} as d",
            "left join (",
            f"    select * from {sql.DECISIONS_PLACEHOLDER}",
            # Of the months before, only those that are asked for are read.
            f"    where period_index in (select {_SHOWN_LAST} from {sql.DECISIONS_PLACEHOLDER} as d",
            *indent("\n".join(moved), "        ").splitlines(),
            "    )",
            ") as b",
            "    on d.program_id = b.program_id and d.subject_type = b.subject_type and d.subject_id = b.subject_id",
            f"        and {_SHOWN_LAST} = b.period_index and d.previous_level_id = b.level_id",
            "left join policy.policy_versions as v on d.program_id = v.program_id and d.policy_version = v.version",
            "left join policy.policy_versions as w on b.program_id = w.program_id and b.policy_version = w.version",
            *(
                f"left join policy.levels as {level} on b.program_id = {level}.program_id and b.{level}_id = {level}.level_id"
                for level in levels.values()
            ),
            *moved,
        ]
    )


def _asked(program: Program, version: Version) -> str:
    """What the rules of one version say of its subjects' inputs after each substitution."""
    ranks = [
        f"    when {sql.literal(rule.rule_id)} then {program.level(rule.level_id).rank}" for rule in evaluation_order(program, version)
    ]
    undecided = ["    when b.rules_that_hold > 1 then null"] if program.hit_policy == "unique" else []
    if scores(version.attributes):
        undecided.append("    when b.refused_reason is not null then null")
    rank = "\n".join(["case b.first_rule_id", *ranks, "end"])
    if undecided:
        rank = "\n".join(["case", *undecided, "    else", indent(rank, "    "), "end"])
    name = sql.literal(program.program_id)
    columns = [f"{name} as program_id", "b.subject_id", "b.period", "b.step", f"cast({rank} as integer) as qualified_rank"]
    rows = matched(program, of_placed_portions(version), inputs_at_steps(program, version))
    return f"-- program {program.program_id}, version {version.version}\n{sql.select(columns, rows, 'b')}"


def _told() -> str:
    """One row per mover with the qualified rank after each step; where no rule decides a mixture, that of the step before."""
    asked = [f"max(case when a.step = {step} then a.qualified_rank end) as q{step}" for step in ASKED]
    carried = [f"coalesce({', '.join(f's.q{earlier}' for earlier in range(step, -1, -1))}) as q{step}" for step in ASKED]
    return "\n".join(
        [
            "select",
            "    p.*,",
            sql.columns(carried),
            "from pairs as p",
            "left join (",
            "    select a.program_id, a.subject_id, a.period,",
            indent(sql.columns(asked), "    "),
            "    from asked as a",
            "    group by a.program_id, a.subject_id, a.period",
            ") as s on p.program_id = s.program_id and p.subject_id = s.subject_id and p.period = s.period",
        ]
    )


def _covered() -> str:
    """The rank of the shown level after each step."""
    columns = []
    for step in (0, *AT.values()):
        if step == AT["validity"]:
            columns.append(f"t.level_rank as l{step}")
            continue
        qualified = f"t.q{min(step, AT['nomination'])}"
        # Without the rules of the month before, nothing is known to have moved before the new policy.
        unknown = "t.q0 is null" if step < POLICY else f"{qualified} is null"
        reviewed = "t.had_review" if step < POLICY else "t.has_review"
        override = "" if step >= AT["nomination"] else "before_"
        cap = "" if step >= AT["cap"] else "before_"
        held = f"case when {reviewed} and not t.was_unbound then greatest({qualified}, t.before_held_level_rank) else {qualified} end"
        shown = f"coalesce(t.{override}set_level_rank, greatest(least({held}, t.{cap}cap_level_rank), t.{override}at_least_level_rank))"
        columns.append(f"case when {unknown} then t.before_level_rank else {shown} end as l{step}")
    return "\n".join(["select", "    t.*,", sql.columns(columns), "from told as t"])


def _final() -> str:
    changed = [f"    when c.l{number} <> c.before_level_rank then {sql.literal(name)}" for name, number in AT.items()]
    ranks = sql.json_object([("before", "c.l0"), *((name, f"c.l{number}") for name, number in AT.items())])
    # A level that goes by another name at the same rank was renamed by its policy.
    cause = "\n".join(["case", *changed, f"    else {sql.literal('policy')}", "end"])
    columns = [
        "c.program_id", "c.subject_type", "c.subject_id", "c.period", f"cast({cause} as varchar) as movement_cause",
        "c.previous_level_id", "c.before_level_rank as previous_level_rank", "c.level_id", "c.level_rank", "case when c.q0 is not null then c.l0 end as start_level_rank",
        "c.qualified_level_rank", f"c.q{AT['nomination']} as end_qualified_rank", f"{ranks} as step_ranks", "c.before_evidence as evidence_before", "c.evidence",
    ]  # fmt: skip
    return "\n".join(["select", sql.columns(columns), "from covered as c"])
