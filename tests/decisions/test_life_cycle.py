"""Laws of the life cycle: the compiled SQL of the model over random histories, and a few months through dbt itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestration.warehouse import dbt_args, dbt_target
from tests.decisions.histories import (
    FIRST_MONTH,
    Fact,
    History,
    Program,
    Request,
    Version,
    expected_rows,
    first_day,
    histories,
    last_day,
    period_of,
    row_as_expected,
)
from tests.warehouse.place import Place, call_dbt

MODELS = ("int_approved_requests", "int_approved_overrides", "int_held_decisions")
INPUTS = (
    "staging.stg_landing__nominations",
    "policy.programs",
    "policy.levels",
    "policy.policy_versions",
    "policy.decision_rules",
    "ctl.target_periods",
    "intermediate.int_program_decisions",
    "intermediate.int_held_decisions",
)
# A failing history is readable as it is, and shrinking one takes minutes.
laws = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def land_one_customer(place: Place) -> None:
    place.land("customers", [{"customer_id": "C1", "valid_from_date": "2025-01-01", "brand": "easyown", "joined_date": "2025-01-01"}])
    for number in range(1, 5):
        place.land("bill_lines", [place.bill(f"a{number}", "C1", f"2025-0{number}", "100")])


class Engine:
    """The compiled models on tables in memory. A month is run as dbt runs a batch: it sees its own rows and the month before."""

    def __init__(self, warehouse: Path, compiled: dict[str, str]) -> None:
        self.con = duckdb.connect()
        self.con.execute(f"attach '{warehouse}' as warehouse (read_only)")
        for schema in ("staging", "policy", "ctl", "intermediate"):
            self.con.execute(f"create schema {schema}")
        for name in INPUTS:
            self.con.execute(f"create table {name} as select * from warehouse.{name} limit 0")
        self.con.execute("detach warehouse")
        ours = {name: sql.replace('"warehouse".', "") for name, sql in compiled.items()}
        for name in MODELS[:2]:
            self.con.execute(f"create view intermediate.{name} as {ours[name]}")
        self.held = ours["int_held_decisions"]
        self.shuffle: random.Random | None = None

    def fill(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        rows = list(rows)
        if self.shuffle:
            self.shuffle.shuffle(rows)
        self.con.execute(f"delete from {name}")
        if rows:
            columns = sorted({column for row in rows for column in row})
            self.con.register("given_rows", pa.table({column: [row.get(column) for row in rows] for column in columns}))
            self.con.execute(f"insert into {name} by name select * from given_rows")
            self.con.unregister("given_rows")

    def load(self, history: History, shuffle: random.Random | None = None) -> None:
        """The inputs of a history, in another order with ``shuffle``, and nothing decided yet."""
        self.shuffle = shuffle
        programs = history.programs
        self.fill(
            "policy.programs",
            ({"program_id": p.program_id, "clock": "event" if p.is_event else "month", "enabled": True} for p in programs),
        )
        self.fill(
            "policy.levels",
            ({"program_id": p.program_id, "level_id": f"l{rank}", "rank": rank} for p in programs for rank in (*p.ranks, *p.others)),
        )
        self.fill(
            "policy.decision_rules",
            (
                {"program_id": p.program_id, "version": v.name, "rule_id": f"r{rank}", "level_id": f"l{rank}"}
                for p in programs
                for v in dict.fromkeys(p.versions)
                if v
                for rank in v.ranks or p.ranks
            ),
        )
        self.fill(
            "policy.policy_versions",
            (
                {"program_id": p.program_id, "version": v.name, "validity_months": v.validity, "grace_months": v.grace, "fall": v.fall}
                for p in programs
                for v in dict.fromkeys(p.versions)
                if v
            ),
        )
        self.fill(
            "staging.stg_landing__nominations",
            (
                {
                    "nomination_id": r.nomination_id, "program_id": r.program_id, "subject_id": r.subject_id, "kind": r.kind,
                    "level_id": f"l{r.rank}", "requester_id": r.requester, "approver_id": r.approver, "approved_date": r.approved,
                    "start_date": r.start, "end_date": r.end,
                }
                for r in history.requests
            ),
        )  # fmt: skip
        self.fill("intermediate.int_program_decisions", self._decisions(history))
        self.con.execute("delete from intermediate.int_held_decisions")

    def _decisions(self, history: History) -> Iterator[dict[str, Any]]:
        versions = {program.program_id: program.versions for program in history.programs}
        for (program, subject), facts in history.facts.items():
            for number, (index, fact) in enumerate(zip(history.indexes, facts, strict=True)):
                if fact is None:
                    continue
                version = versions[program][number]
                row = {
                    "program_id": program, "subject_type": "customer", "subject_id": subject, "period": period_of(index),
                    "period_date": first_day(index), "policy_version": version and version.name, "status": fact.status,
                }  # fmt: skip
                if fact.status == "decided":
                    row |= {"matched_rule_id": f"r{fact.rank}", "qualified_level_id": f"l{fact.rank}", "qualified_rank": fact.rank}
                else:
                    row["status_reason"] = {"out_of_scope": "gate", "not_evaluated": "lacks"}[fact.status]
                if fact.cap is not None:
                    row |= {"cap_id": "c", "cap_level_id": f"l{fact.cap}", "cap_rank": fact.cap}
                yield row

    def run(self, *indexes: int) -> None:
        """One start over months that follow one another."""
        self.fill(
            "ctl.target_periods",
            ({"period": period_of(i), "period_index": i, "first_day": first_day(i), "last_day": last_day(i)} for i in indexes),
        )
        for index in indexes:
            month = f"(select * from intermediate.int_program_decisions where period = '{period_of(index)}')"
            before = f"(select * from intermediate.int_held_decisions where period_index = {index - 1})"
            batch = self.held.replace('"intermediate"."int_program_decisions"', month)
            batch = batch.replace('"intermediate"."int_held_decisions"', before)
            self.con.execute(f"create or replace temp table batch as {batch}")
            self.con.execute(f"delete from intermediate.int_held_decisions where period_index = {index}")
            self.con.execute("insert into intermediate.int_held_decisions select * from batch")

    def rows(self) -> list[dict[str, Any]]:
        return self.con.sql("select * from intermediate.int_held_decisions order by all").to_arrow_table().to_pylist()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    place = Place(tmp_path_factory.mktemp("compiled"))
    land_one_customer(place)
    plan = place.prepare("2025-01")
    call_dbt(place.deployment, ["run", "--select", "+int_held_decisions", *dbt_args(plan)[3:]])
    call_dbt(place.deployment, ["compile", "--select", *MODELS])
    manifest = json.loads((dbt_target(place.deployment) / "manifest.json").read_text())
    compiled = {name: manifest["nodes"][f"model.tierhouse.{name}"]["compiled_code"] for name in MODELS}
    assert '"intermediate"."int_held_decisions"' in compiled["int_held_decisions"], "compiled as for a later month"
    return Engine(place.deployment.warehouse, compiled)


def found_rows(engine: Engine, history: History) -> dict[tuple[str, str, str], dict[str, Any]]:
    engine.load(history)
    engine.run(*history.indexes)
    return {(row["program_id"], row["subject_id"], row["period"]): row_as_expected(row) for row in engine.rows()}


def wanted_rows(history: History) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {key: {name: value for name, value in row.items() if value is not None} for key, row in expected_rows(history).items()}


@laws
@given(history=histories())
def test_the_model_does_what_the_plain_reference_does(engine: Engine, history: History) -> None:
    assert found_rows(engine, history) == wanted_rows(history)


@laws
@given(history=histories())
def test_a_level_falls_within_its_validity_only_by_a_cap_or_an_override(engine: Engine, history: History) -> None:
    engine.load(history)
    engine.run(*history.indexes)
    rows = {(row["program_id"], row["subject_id"], row["period_index"]): row for row in engine.rows()}
    for (program, subject, index), row in rows.items():
        before = rows.get((program, subject, index - 1))
        if row["status"] != "decided" or row["review"] == "follows" or before is None:
            continue
        if before["held_level_rank"] is None or (before["valid_until_period"] or "") < row["period"]:
            continue
        assert row["held_level_rank"] >= before["held_level_rank"]
        if before["level_rank"] is not None and row["level_rank"] < before["level_rank"]:
            capped_or_set = row["cap_level_rank"] is not None or row["set_level_rank"] is not None
            had_override = before["at_least_level_rank"] is not None or before["set_level_rank"] is not None
            assert capped_or_set or had_override


@laws
@given(history=histories())
def test_no_override_outlives_its_end(engine: Engine, history: History) -> None:
    engine.load(history)
    engine.run(*history.indexes)
    for row in engine.rows():
        for kind in ("at_least", "set"):
            in_force = [
                r
                for r in history.requests
                if (r.program_id, r.subject_id, r.kind) == (row["program_id"], row["subject_id"], kind)
                and r.end >= first_day(row["period_index"])
                and r.approver not in (None, r.requester)
            ]
            assert row[f"{kind}_level_rank"] is None or row[f"{kind}_level_rank"] in {r.rank for r in in_force}
            if not in_force:
                assert all(step["step"] != kind for step in json.loads(row["steps"]))
        if row["status"] == "decided" and row["at_least_level_rank"] is None and row["set_level_rank"] is None:
            cap = row["cap_level_rank"]
            assert row["level_rank"] == (row["held_level_rank"] if cap is None else min(cap, row["held_level_rank"]))


@laws
@given(history=histories(), shuffle=st.randoms(use_true_random=False))
def test_the_order_in_which_inputs_arrive_does_not_matter(engine: Engine, history: History, shuffle: random.Random) -> None:
    engine.load(history)
    engine.run(*history.indexes)
    rows = engine.rows()
    engine.load(history, shuffle)
    engine.run(*history.indexes)
    assert engine.rows() == rows


@laws
@given(history=histories(), data=st.data())
def test_a_month_run_twice_gives_the_same_rows(engine: Engine, history: History, data: st.DataObject) -> None:
    engine.load(history)
    engine.run(*history.indexes)
    rows = engine.rows()
    engine.run(data.draw(st.sampled_from(list(history.indexes)), label="run again"))
    assert engine.rows() == rows


@laws
@given(history=histories())
def test_a_range_in_one_start_is_the_months_one_by_one(engine: Engine, history: History) -> None:
    engine.load(history)
    engine.run(*history.indexes)
    rows = engine.rows()
    engine.load(history)
    for index in history.indexes:
        engine.run(index)
    assert engine.rows() == rows


@laws
@given(history=histories(), data=st.data())
def test_other_numbers_for_the_ranks_of_levels_move_nobody(engine: Engine, history: History, data: st.DataObject) -> None:
    """From some month on, levels are ranked in tens: as where a level was put between others."""
    engine.load(history)
    engine.run(*history.indexes)
    columns = "program_id, subject_id, period, level_id, held_level_id, previous_level_id, movement, review, valid_until_period, steps"
    shown = f"select {columns} from intermediate.int_held_decisions order by all"
    rows = engine.con.sql(shown).fetchall()
    engine.load(history)
    turn = data.draw(st.sampled_from(list(history.indexes)), label="ranked otherwise from")
    engine.run(*(index for index in history.indexes if index < turn))
    engine.con.execute("update policy.levels set rank = rank * 10")
    engine.con.execute("update intermediate.int_program_decisions set qualified_rank = qualified_rank * 10, cap_rank = cap_rank * 10")
    engine.run(*(index for index in history.indexes if index >= turn))
    assert engine.con.sql(shown).fetchall() == rows


BROKEN_RULES = {
    "a level that no rule gives is a step": (
        "rules.program_id = given.program_id and rules.level_id = given.level_id",
        "rules.program_id = given.program_id",
    ),
    "equal levels rise": ("met.qualified_level_rank > met.held_before_rank", "met.qualified_level_rank >= met.held_before_rank"),
    "validity ends a month early": ("met.period <= met.held_before_until_period", "met.period < met.held_before_until_period"),
    "grace ends a month early": (
        "met.held_before_until_period >= terms.first_period_in_grace",
        "met.held_before_until_period > terms.first_period_in_grace",
    ),
    "the cap looks at the qualified level": ("cap_level_rank < held_level_rank", "cap_level_rank < qualified_level_rank"),
    "at least looks below the cap": ("at_least_level_rank > capped_level_rank", "at_least_level_rank > held_level_rank"),
    "set comes before at least": ("coalesce(set_level_rank, raised_level_rank)", "coalesce(raised_level_rank, set_level_rank)"),
    "the month that showed a level is lost": (
        "previous_period_index else period_index end",
        "period_index - 1 else period_index end",
    ),
    "what is not evaluated is lost": ("when status = 'not_evaluated' then held_before_rank", "when false then held_before_rank"),
}


@pytest.mark.parametrize("broken", sorted(BROKEN_RULES))
def test_the_reference_notices_a_broken_rule(engine: Engine, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    version = Version("v1", validity=2, grace=1, fall="one_level")
    high, low, unsure = Fact("decided", 5), Fact("decided", 1), Fact("not_evaluated")
    facts = {("p0", "s0"): (high, high, high, high), ("p0", "s1"): (high, low, low, low), ("p0", "s2"): (high, unsure, low, low)}
    facts |= {("p0", subject): (high, Fact("decided", 1, 3), low, low) for subject in ("s3", "s4", "s5")}
    facts["p0", "s6"] = (high, unsure, unsure, low)
    span = {
        "requester": "ann",
        "approver": "bob",
        "approved": first_day(FIRST_MONTH),
        "start": first_day(FIRST_MONTH),
        "end": last_day(FIRST_MONTH + 1),
    }
    requests = (Request("N1", "p0", "s4", "at_least", 5, **span), Request("N2", "p0", "s5", "set", 1, **span))
    history = History((Program("p0", False, (1, 3, 5, 7), (version,) * 4, others=(4,)),), facts, requests, 4)
    kept, instead = BROKEN_RULES[broken]
    assert kept in engine.held
    assert found_rows(engine, history) == wanted_rows(history)
    monkeypatch.setattr(engine, "held", engine.held.replace(kept, instead))
    assert found_rows(engine, history) != wanted_rows(history)


# Months as numbers from January 2025: (subject, month, level, cap). Validity two months, grace one, fall by one level.
THROUGH_DBT = """
    select 'six_star' as program_id, 'customer' as subject_type, subject_id, '2025-0' || month as period, 'v1' as policy_version,
        'hash' as policy_hash, 'decided' as status, cast(null as varchar) as status_reason, 'rule' as matched_rule_id,
        'star_' || rank as qualified_level_id, rank as qualified_rank, '{}' as evidence, cast(null as varchar) as next_level_id,
        cast(null as varchar) as missing_attribute, cast(null as decimal(18, 4)) as missing_amount, cast(null as boolean) as is_amount_enough, cast(null as date) as event_date,
        cast(null as decimal(18, 6)) as score, cast(null as bigint) as population_size, cast(null as bigint) as population_rank,
        cast(null as decimal(24, 4)) as rank_value, case when cap is not null then 'cap' end as cap_id, 'star_' || cap as cap_level_id,
        cap as cap_rank
    from (values ('DOWN', 1, 5, null), ('DOWN', 2, 2, null), ('DOWN', 3, 2, null), ('DOWN', 4, 2, null), ('CAPPED', 1, 5, null),
        ('CAPPED', 2, 5, 3), ('CAPPED', 3, 5, null), ('CAPPED', 4, 5, null), ('SET', 1, 2, null), ('SET', 2, 2, null), ('SET', 3, 2, null),
        ('SET', 4, 2, null), ('LEAVES', 1, 2, null), ('LEAVES', 2, 2, null)) as t (subject_id, month, rank, cap)
    where '2025-0' || month in (select period from ctl.target_periods)
"""


def start(place: Place, *periods: str, is_released: bool = True) -> None:
    """One start of dbt over decisions that are given, with a version of the policy that has validity."""
    plan = place.prepare(*periods)
    with duckdb.connect(str(place.deployment.warehouse)) as con:
        con.execute(
            "update policy.policy_versions set validity_months = 2, grace_months = 1, fall = 'one_level' where program_id = 'six_star'"
        )
        con.execute("update ctl.compiled_sql set sql = ? where name = 'decisions'", [THROUGH_DBT])
    call_dbt(place.deployment, ["run", "--select", "+fct_decisions", *dbt_args(plan)[3:]])
    if is_released:
        place.release(plan)


def test_months_through_dbt_in_one_start_and_in_two(tmp_path: Path) -> None:
    request = {
        "program_id": "six_star",
        "subject_id": "SET",
        "kind": "set",
        "level_id": "star_6",
        "reason": "a promise",
        "requester_id": "A",
    }
    request |= {"approver_id": "B", "approved_date": "2025-01-31", "start_date": "2025-02-01", "end_date": "2025-03-01"}
    places = [Place(tmp_path / name) for name in ("range", "months")]
    for place in places:
        place.folder.mkdir(exist_ok=True)
        land_one_customer(place)
        place.land("nominations", [request | {"nomination_id": "N1", "_key": "N1"}])
    start(places[0], "2025-01", "2025-02", "2025-03", "2025-04")
    start(places[1], "2025-01", "2025-02")
    with duckdb.connect(str(places[1].deployment.warehouse)) as con:
        # As in a warehouse that was made before the model knew them: they are added, and the months go on.
        for column in ("cap_level_id", "at_least_level_id", "set_level_id"):
            con.execute(f"alter table intermediate.int_held_decisions drop column {column}")
    start(places[1], "2025-02", "2025-03", "2025-04")
    shown = "select * from marts.fct_decisions order by subject_id, period"
    assert places[0].query(shown) == places[1].query(shown)
    covers = (
        "select subject_id, period, cap_level_id, set_level_id from intermediate.int_held_decisions where period >= '2025-02' order by all"
    )
    assert places[0].query(covers) == places[1].query(covers)
    assert [row for row in places[0].query(covers) if any(row[2:])] == [
        ("CAPPED", "2025-02", "star_3", None), ("SET", "2025-02", None, "star_6"), ("SET", "2025-03", None, "star_6"),
    ]  # fmt: skip
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for subject, *row in places[0].query(
        "select subject_id, level_rank, review, movement from marts.fct_decisions order by subject_id, period"
    ):
        seen.setdefault(subject, []).append(tuple(row))
    assert seen == {
        "DOWN": [(5, "first", "first"), (5, "held", "same"), (5, "grace", "same"), (4, "fell_one_level", "fell")],
        "CAPPED": [(5, "first", "first"), (3, "held", "fell"), (5, "renewed", "rose"), (5, "held", "same")],
        "SET": [(2, "first", "first"), (6, "held", "rose"), (6, "renewed", "same"), (2, "held", "fell")],
        "LEAVES": [(2, "first", "first"), (2, "held", "same"), (None, None, "left")],
    }


@pytest.mark.slow
def test_what_a_run_that_was_never_released_left_is_no_level_to_go_on_from(tmp_path: Path) -> None:
    """As of a first try that was killed or held, before someone begins with a later month."""
    places = [Place(tmp_path / name) for name in ("after a try", "alone")]
    for place in places:
        place.folder.mkdir(exist_ok=True)
        land_one_customer(place)
    start(places[0], "2025-01", "2025-02", is_released=False)
    start(places[0], "2025-03", "2025-04")
    start(places[1], "2025-03", "2025-04")
    shown = "select * from marts.fct_decisions where period >= '2025-03' order by subject_id, period"
    assert places[0].query(shown) == places[1].query(shown)
    assert {row[0] for row in places[0].query("select distinct movement from marts.fct_decisions where period = '2025-03'")} == {"first"}
