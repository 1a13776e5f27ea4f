"""A few customers month by month: what was known, what was decided, and a plain second reckoning of why levels changed.

Decisions and causes come from the compiled SQL; windows, review and the reckoning are written out here in Python, so that they
share nothing with it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb

from orchestration.policy import Policies, compile_policies, store_policies
from orchestration.policy.reader import load_schema
from tests.policy.conftest import SeedFolder

FIRST = 2026 * 12  # 2026-01
STEPS = [
    "attributes", "bill_corrections", "new_spend", "window_roll_off", "points", "population", "policy", "nomination", "cap", "validity",
]  # fmt: skip

DDL = """
create schema ctl; create schema landing;
create table ctl.target_periods (period varchar, period_index integer, first_day date, last_day date);
create table metrics (customer_id varchar, period varchar, period_index integer, is_in_scope boolean, scope_reason varchar, brand varchar,
    credit_class varchar, spend_6m_amount decimal(18, 4), service_6m_months bigint, base_points_last_year bigint, service_mask bigint,
    spend_total_amount decimal(18, 4), months_since_active integer);
create table months (customer_id varchar, period_index integer, spend_amount decimal(18, 4), bill_line_count bigint);
create table nominations (program_id varchar, subject_id varchar, period varchar, level_id varchar, level_rank integer);
create table held (program_id varchar, subject_type varchar, subject_id varchar, period varchar, period_index integer, level_id varchar,
    level_rank integer, qualified_level_rank integer, held_level_rank integer, cap_level_rank integer, at_least_level_rank integer,
    set_level_rank integer, policy_version varchar, policy_hash varchar, previous_level_id varchar, evidence varchar, rank_value decimal(24, 4),
    valid_until_period varchar, status varchar, held_level_id varchar, cap_level_id varchar, at_least_level_id varchar, set_level_id varchar,
    previous_period_index integer, previous_level_rank integer);
"""


def period_of(index: int) -> str:
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


@dataclass
class Customer:
    """What is true of a customer; ``bills`` as known at the moment."""

    bills: dict[int, Decimal] = field(default_factory=dict)
    service: set[int] = field(default_factory=set)
    brand: str | None = "easyown"
    credit_class: str | None = "good"
    points: int = 0
    nominated: str | None = None
    at_least: int | None = None
    set_level: int | None = None

    def window(self, first: int, last: int) -> tuple[Decimal, int]:
        """(sum, months in service) of the months first to last."""
        return sum((a for m, a in self.bills.items() if first <= m <= last), Decimal(0)), sum(first <= m <= last for m in self.service)

    def total(self, last: int) -> Decimal:
        """Spend since joining."""
        return sum((a for m, a in self.bills.items() if m <= last), Decimal(0))

    def idle(self, last: int) -> int | None:
        """Months since the last spend."""
        return min((last - m for m, a in self.bills.items() if m <= last and a > 0), default=None)


@dataclass(frozen=True)
class Rules:
    """The terms of a version, as the reckoning needs them: bars by rank, and the review."""

    version: str
    bars: tuple[int, int, int, int]
    validity: int = 0
    grace: int = 0
    one_level: bool = False


Inputs = dict[str, Any]


def six_star(rules: Rules, i: Inputs) -> int:
    """The rank that the six-star rules give, with the version's bars for five, four, three and two stars."""

    def at_least(bar: int) -> bool:
        return i["months"] > 0 and Fraction(i["spend"]) / i["months"] >= bar

    if (i["brand"] == "gotone" and i["points"] >= 15000) or i["nominated"] == "star_6":
        return 6
    five, four, three, two = rules.bars
    if at_least(five):
        return 5
    if i["brand"] == "gotone" or at_least(four):
        return 4
    return 3 if at_least(three) else 2 if at_least(two) else 1


def top_share(rules: Rules, i: Inputs) -> int:
    """The rank by position: below 25 per cent the third, below 50 per cent the second."""
    position = Fraction(100 * i["above"], i["population"])
    return 3 if position < 25 else 2 if position < 50 else 1


def lifetime(rules: Rules, i: Inputs) -> int:
    """The rank by spend since joining: 1,000 the third, 500 the second."""
    return 3 if i["total"] >= 1000 else 2 if i["total"] >= 500 else 1


def two_places(rules: Rules, i: Inputs) -> int:
    """The third rank for the upper half by spend and by points, the second for one of them."""
    return 1 + (Fraction(100 * i["above"], i["population"]) < 50) + (Fraction(100 * i["points_above"], i["population"]) < 50)


def portion(rules: Rules, i: Inputs) -> int:
    """The rank by the portion of all positive spend: 30 per cent the third, 20 per cent the second."""
    per_cent = Fraction(100 * max(i["own"], 0)) / Fraction(i["positive"]) if i["positive"] > 0 else 0
    return 3 if per_cent >= 30 else 2 if per_cent >= 20 else 1


def activity(rules: Rules, i: Inputs) -> int:
    """The third rank with spend in the month, the second with some in the two months before."""
    return 1 if i["idle"] is None else 3 if i["idle"] < 1 else 2 if i["idle"] < 3 else 1


DECIDE: dict[str, Callable[[Rules, Inputs], int]] = {
    "six_star": six_star,
    "top_share": top_share,
    "lifetime": lifetime,
    "two_places": two_places,
    "activity": activity,
    "portion": portion,
}


def cover(rank: int, cap: int | None, at_least: int | None, set_level: int | None) -> int:
    if cap is not None:
        rank = min(rank, cap)
    if at_least is not None:
        rank = max(rank, at_least)
    return rank if set_level is None else set_level


@dataclass
class Released:
    """What a month was released with, of one subject and program."""

    rules: Rules
    inputs: Inputs
    qualified: int
    held: int
    level: int
    valid_until: int | None
    cap: int | None
    at_least: int | None
    set_level: int | None


def add(seeds: SeedFolder, seed: str, rows: Iterable[dict[str, str]]) -> None:
    """Append rows given by column; columns that the file lacks are added to it."""
    known = seeds.rows(seed)
    head, body = known[0], [dict(zip(known[0], row, strict=True)) for row in known[1:]]
    rows = list(rows)
    head = [*head, *dict.fromkeys(c for row in rows for c in row if c not in head)]
    out = io.StringIO()
    writer = csv.DictWriter(out, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*body, *rows])
    seeds.path(seed).write_text(out.getvalue(), encoding="utf-8")


def policies_with(seeds: SeedFolder, versions: list[tuple[Rules, int]], *, further: bool = False) -> Policies:
    """six_star with versions that begin in a month each, a cap of three stars for bad credit; ``further``: programs of one position, of totals, of activity, of two positions, of a portion."""
    for name in load_schema():
        rows = seeds.rows(name)
        if "program_id" in rows[0]:
            seeds.write(name, [rows[0], *(row for row in rows[1:] if row[rows[0].index("program_id")] == "six_star")])
    heads = {name: seeds.rows(name) for name in ("policy_versions", "decision_rules", "decision_conditions")}
    for name in ("caps", "scope_rules"):
        seeds.write(name, [seeds.rows(name)[0]])
    for name, rows in heads.items():
        seeds.write(name, [rows[0]])
    for place, (rules, first) in enumerate(versions):
        ends = period_of(versions[place + 1][1] - 1) if place + 1 < len(versions) else ""
        life = {
            "validity_months": str(rules.validity),
            "grace_months": str(rules.grace or ""),
            "fall": "one_level" if rules.one_level else "",
        }
        add(
            seeds,
            "policy_versions",
            [
                {
                    "program_id": "six_star", "version": rules.version, "valid_from_period": period_of(first), "valid_to_period": ends,
                    "author": "a", "approver": "b", "approved_on": "2019-12-01", **(life if rules.validity else {}),
                }
            ],
        )  # fmt: skip
        for name in ("decision_rules", "decision_conditions"):
            add(seeds, name, [dict(zip(heads[name][0], row, strict=True)) | {"version": rules.version} for row in heads[name][1:]])
        rows = seeds.rows("decision_conditions")
        bars = dict(zip(("300", "120", "80", "40"), map(str, rules.bars), strict=True))
        place_of = {name: n for n, name in enumerate(rows[0])}
        for row in rows[1:]:
            if row[place_of["version"]] == rules.version and row[place_of["attribute"]] == "spend_avg_6m":
                row[place_of["value"]] = bars[row[place_of["value"]]]
        seeds.write("decision_conditions", rows)
        add(
            seeds,
            "caps",
            [
                {
                    "program_id": "six_star", "version": rules.version, "cap_id": "bad_credit", "level_id": "star_3", "attribute": "credit_class",
                    "operator": "=", "value": "bad", "description_en": "bad credit", "description_zh": "信用不良",
                }
            ],
        )  # fmt: skip
    if further:
        ranked = (
            ("position", "place_of_spend", "spend_6m"),
            ("position", "place_of_points", "points_last_year"),
            ("portion", "portion_of_spend", "spend_6m"),
        )
        for kind, name, amount in ranked:
            place = {"attribute_id": name, "subject_type": "customer", "kind": kind, "type": "decimal", "of_attributes": amount}
            add(seeds, "attributes", [place | {"may_be_null": "true", "name_en": name, "name_zh": name}])
        add_program(seeds, "top_share", "percentile", [[("place_of_spend", "<", "25")], [("place_of_spend", "<", "50")], []])
        add_program(seeds, "lifetime", "decision_table", [[("spend_total", ">=", "1000")], [("spend_total", ">=", "500")], []])
        add_program(seeds, "activity", "decision_table", [[("months_since_active", "<", "1")], [("months_since_active", "<", "3")], []])
        add_program(seeds, "portion", "decision_table", [[("portion_of_spend", ">=", "30")], [("portion_of_spend", ">=", "20")], []])
        halves = [("place_of_spend", "<", "50"), ("place_of_points", "<", "50")]
        add_program(seeds, "two_places", "percentile", [halves, halves[:1], halves[1:], []], "abbc")
    return seeds.load()


def add_program(seeds: SeedFolder, program_id: str, method: str, rules: list[list[tuple[str, str, str]]], levels: str = "abc") -> None:
    """Levels a, b and c from the top. ``rules``: the conditions (attribute, operator, value) of each; ``levels``: what each gives."""
    names = {"name_en": program_id, "name_zh": program_id}
    program = {"program_id": program_id}
    add(
        seeds,
        "programs",
        [program | names | {"subject_type": "customer", "method": method, "hit_policy": "first", "clock": "month", "enabled": "true"}],
    )
    add(seeds, "levels", [program | names | {"level_id": name, "rank": str(n)} for n, name in enumerate("cba", 1)])
    add(
        seeds,
        "policy_versions",
        [program | {"version": "v1", "valid_from_period": "2020-01", "author": "a", "approver": "b", "approved_on": "2019-12-01"}],
    )
    version = program | {"version": "v1"}
    add(
        seeds,
        "decision_rules",
        [
            version | {"rule_id": f"r_{n}", "rule_order": str(n), "level_id": level, "description_en": "x", "description_zh": "x"}
            for n, level in enumerate(levels, 1)
        ],
    )
    add(
        seeds,
        "decision_conditions",
        [
            version | {"rule_id": f"r_{n}", "attribute": attribute, "operator": operator, "value": value}
            for n, conditions in enumerate(rules, 1)
            for attribute, operator, value in conditions
        ],
    )


class World:
    """Months are run in order by :meth:`run`; between them a test changes :attr:`customers`."""

    def __init__(self, policies: Policies, versions: list[tuple[Rules, int]]) -> None:
        self.policies = policies
        plain = [(Rules("v1", (0, 0, 0, 0)), 0)]
        self.versions = {
            "six_star": versions,
            "top_share": plain,
            "lifetime": plain,
            "two_places": plain,
            "activity": plain,
            "portion": plain,
        }
        self.customers: dict[str, Customer] = {}
        self.con = duckdb.connect()
        self.con.execute(DDL)
        self.compiled = compile_policies(policies)
        store_policies(self.con, policies, self.compiled)
        self.released: dict[int, dict[tuple[str, str], Released]] = {}
        self.lost: dict[tuple[str, str], Released] = {}

    def run(self, month: int) -> dict[tuple[str, str], tuple[str, dict[str, int]]]:
        """Decide a month; (program, customer) → (cause, rank after each step) of each that moved, by the compiled SQL."""
        self._write(month)
        self._decide(month)
        rows = self.sql("movement_causes", "program_id, subject_id, movement_cause, step_ranks, start_level_rank, previous_level_rank, "
                        "end_qualified_rank, qualified_level_rank")  # fmt: skip
        for _, _, _, _, start, previous, end, qualified in rows:
            assert start in (None, previous)
            assert end == qualified
        found = {(row[0], row[1]): (row[2], json.loads(row[3])) for row in rows}
        assert len(found) == len(rows)
        return found

    def lose_july(self) -> None:
        """Nobody was evaluated in July: the level of June is the previous one of August."""
        self.con.execute(
            """update held set status = 'not_evaluated', level_id = null, level_rank = null, qualified_level_rank = null, cap_level_rank = null,
                at_least_level_rank = null, set_level_rank = null, evidence = '{}', rank_value = null where period = '2026-07'"""
        )
        self.lost = self.released[FIRST + 6] = self.released[FIRST + 5]

    def sql(self, fragment: str, columns: str) -> list[tuple[Any, ...]]:
        text = self.compiled[fragment]
        for name, table in {"METRICS": "metrics", "MONTHS": "months", "NOMINATIONS": "nominations", "DECISIONS": "held"}.items():
            text = text.replace(f"__{name}__", table)
        return self.con.execute(f"select {columns} from ({text}) as found").fetchall()

    def _write(self, month: int) -> None:
        con, period = self.con, period_of(month)
        for table in ("ctl.target_periods", "metrics", "months", "nominations"):
            con.execute(f"delete from {table}")
        con.execute("insert into ctl.target_periods values (?, ?, null, null)", [period, month])
        for name, c in self.customers.items():
            for at, amount in c.bills.items():
                if at <= month:
                    con.execute("insert into months values (?, ?, ?, 1)", [name, at, amount])
            if month not in c.service:
                continue
            spend, months = c.window(month - 5, month)
            mask = sum(1 << (month - at) for at in c.service if 0 <= month - at < 60)
            con.execute(
                "insert into metrics values (?, ?, ?, true, null, ?, ?, ?, ?, ?, ?, ?, ?)",
                [name, period, month, c.brand, c.credit_class, spend, months, c.points, mask, c.total(month), c.idle(month)],
            )
            if c.nominated:
                con.execute("insert into nominations values ('six_star', ?, ?, ?, ?)", [name, period, c.nominated, int(c.nominated[-1])])

    def _decide(self, month: int) -> None:
        before = self.released.get(month - 1, {})
        now = self.released[month] = {}
        columns = "program_id, subject_id, policy_version, policy_hash, qualified_rank, evidence, rank_value, cap_rank, status"
        there = [c for c in self.customers.values() if month in c.service]
        amounts, points = [c.window(month - 5, month)[0] for c in there], [Decimal(c.points) for c in there]
        for program, name, version, digest, qualified, evidence, value, cap, status in self.sql("decisions", columns):
            c = self.customers[name]
            rules = next(r for r, first in reversed(self.versions[program]) if first <= month)
            assert rules.version == version
            spend, months = c.window(month - 5, month)
            inputs = {"spend": spend, "months": months, "brand": c.brand, "points": c.points, "nominated": c.nominated}
            inputs |= {"above": above(spend, amounts), "points_above": above(Decimal(c.points), points), "population": len(there)}
            inputs |= {"total": c.total(month), "idle": c.idle(month), "own": spend, "positive": sum(max(a, Decimal(0)) for a in amounts)}
            assert DECIDE[program](rules, inputs) == qualified, (program, name, inputs)
            is_star = program == "six_star"
            at_least, set_level = (c.at_least, c.set_level) if is_star else (None, None)
            was = before.get((program, name))
            held, until = review(rules, qualified, was, month)
            level = cover(held, cap, at_least, set_level)
            now[program, name] = Released(rules, inputs, qualified, held, level, until, cap, at_least, set_level)
            ids = {level_.rank: level_.level_id for level_ in self.policies.programs[program].levels}
            self.con.execute(
                f"insert into held values ({', '.join('?' * 25)})",
                [program, "customer", name, period_of(month), month, ids[level], level, qualified, held, cap, at_least, set_level, version,
                 digest, ids[was.level] if was else None, evidence, value, period_of(until) if until else None, status,
                 *(rank and ids[rank] for rank in (held, cap, at_least, set_level)), was and (FIRST + 5 if was is self.lost.get((program, name)) else month - 1),
                 was and was.level],
            )  # fmt: skip

    def reckon(self, month: int) -> dict[tuple[str, str], tuple[str, dict[str, int]]]:
        """The same as :meth:`run` returns, reckoned anew from what was released and what is known now."""
        before, now = self.released.get(month - 1, {}), self.released[month]
        found = {}
        for key in before.keys() & now.keys():
            was, becomes = before[key], now[key]
            if was.level == becomes.level:
                continue
            ranks = {"before": was.level} | dict(zip(STEPS, self._steps(key, month, was, becomes), strict=True))
            found[key] = next(step for step in STEPS if ranks[step] != was.level), ranks
        return found

    def _steps(self, key: tuple[str, str], month: int, was: Released, becomes: Released) -> list[int]:
        program, name = key
        c = self.customers[name]
        others = [r.inputs for k, r in self.released[month - 1].items() if k[0] == program and k[1] != name]
        i = dict(was.inputs)

        def spent(first: int, last: int) -> None:
            i["spend"], i["months"] = c.window(first, last)

        def placed(amount: Decimal) -> None:
            if amount != was.inputs["spend"]:
                i["above"] = above(amount, [*(o["spend"] for o in others), amount])
            else:
                i["above"] = was.inputs["above"]
            i.update({"own": amount, "positive": sum(max(a, Decimal(0)) for a in [*(o["spend"] for o in others), amount])})

        def rank(rules: Rules, covers: Released, cap: int | None) -> int:
            qualified = DECIDE[program](rules, i)
            held = max(qualified, was.held) if rules.validity and was.valid_until is not None else qualified
            return cover(held, cap, covers.at_least, covers.set_level)

        ranks = []
        for step in STEPS[:6]:
            if step == "attributes":
                i["brand"] = becomes.inputs["brand"]
            elif step == "bill_corrections":
                spent(month - 6, month - 1)
                i["total"] = c.total(month - 1)
                i["idle"] = c.idle(month - 1)
            elif step == "new_spend":
                spent(month - 6, month)
                i |= {"total": c.total(month), "idle": c.idle(month)}
            elif step == "window_roll_off":
                spent(month - 5, month)
            elif step == "points":
                i["points"] = becomes.inputs["points"]
                if i["points"] != was.inputs["points"]:
                    i["points_above"] = above(Decimal(i["points"]), [*(Decimal(o["points"]) for o in others), Decimal(i["points"])])
            # Seven months have no place among six: new spend is what of them lies between the six of before and the six of now.
            both_sixes = c.window(month - 6, month - 1)[0], becomes.inputs["spend"]
            placed(sorted([*both_sixes, i["spend"]])[1] if step == "new_spend" else i["spend"])
            if step == "population":
                i |= {name: becomes.inputs[name] for name in ("above", "points_above", "population", "own", "positive")}
            ranks.append(rank(was.rules, was, was.cap))
        ranks.append(rank(becomes.rules, was, was.cap))
        i["nominated"] = becomes.inputs["nominated"]
        ranks.append(rank(becomes.rules, becomes, was.cap))
        ranks.append(rank(becomes.rules, becomes, becomes.cap))
        assert i == becomes.inputs
        ranks.append(becomes.level)
        return ranks


def above(own: Decimal, amounts: list[Decimal]) -> int:
    """Amounts strictly above one's own; of zero or less everybody is above."""
    return sum(a > own for a in amounts) if own > 0 else len(amounts)


def review(rules: Rules, qualified: int, was: Released | None, month: int) -> tuple[int, int | None]:
    """(held rank, month until which it is held)."""
    if not rules.validity:
        return qualified, None
    until = month + rules.validity - 1
    if was is None or qualified > was.held:
        return qualified, until
    if was.valid_until is not None and month <= was.valid_until:
        return was.held, was.valid_until
    if qualified == was.held:
        return was.held, until
    if was.valid_until is not None and month <= was.valid_until + rules.grace:
        return was.held, was.valid_until
    return (was.held - 1 if rules.one_level else qualified), until
