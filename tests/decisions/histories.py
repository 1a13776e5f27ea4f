"""Random histories of programs, subjects and requests, and what the life cycle makes of them, said again in plain Python.

The reference shares nothing with the model's SQL: months are numbers, a level is its rank, one subject is followed at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

FIRST_MONTH = 2025 * 12 + 8  # September 2025, so that histories cross a year
PEOPLE = ("ann", 'b"o\\b')


def period_of(index: int) -> str:
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def first_day(index: int) -> date:
    return date(index // 12, index % 12 + 1, 1)


def last_day(index: int) -> date:
    return first_day(index + 1) - timedelta(days=1)


@dataclass(frozen=True)
class Version:
    """``ranks``: of the levels that its rules give, from the lowest; empty: of all that the program's rules give."""

    name: str
    validity: int | None
    grace: int | None
    fall: str | None
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Program:
    """``versions``: the one of each month, None after the program has ended; ``ranks``: those of the levels that its rules give, from the
    lowest; ``others``: of levels that only an override gives."""

    program_id: str
    is_event: bool
    ranks: tuple[int, ...]
    versions: tuple[Version | None, ...]
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fact:
    """What the rules said of a subject in a month."""

    status: str
    rank: int | None = None
    cap: int | None = None


@dataclass(frozen=True)
class Request:
    nomination_id: str
    program_id: str
    subject_id: str
    kind: str
    rank: int
    requester: str
    approver: str | None
    approved: date | None
    start: date
    end: date

    def counts_in(self, index: int) -> bool:
        if self.approver in (None, self.requester) or self.approved is None:
            return False
        return max(self.approved, self.start) < first_day(index + 1) and first_day(index) <= self.end


@dataclass(frozen=True)
class History:
    """``facts``: (program, subject) → one fact a month, None where there is no row."""

    programs: tuple[Program, ...]
    facts: dict[tuple[str, str], tuple[Fact | None, ...]]
    requests: tuple[Request, ...]
    months: int

    @property
    def indexes(self) -> range:
        return range(FIRST_MONTH, FIRST_MONTH + self.months)


@st.composite
def histories(draw: st.DrawFn, months: int = 6, subjects: int = 5) -> History:
    """Two programs with gaps between their ranks, one of them at times of events; a second version half way, of levels of its own, and at
    times an end."""
    programs: list[Program] = []
    facts: dict[tuple[str, str], tuple[Fact | None, ...]] = {}
    versions = st.builds(
        Version,
        name=st.just(""),
        validity=st.sampled_from([1, 2, 3, 3, 0, None]),
        grace=st.sampled_from([None, 0, 1, 2]),
        fall=st.sampled_from([None, "to_qualified", "one_level"]),
    )
    for number in range(2):
        ranks = tuple(sorted(draw(st.sets(st.integers(1, 9), min_size=3, max_size=5))))
        given = [tuple(sorted(draw(st.sets(st.sampled_from(ranks), min_size=2)))) for _ in range(2)]
        one, two = (replace(draw(versions), name=f"v{n}", ranks=given[n - 1]) for n in (1, 2))
        turn, end = draw(st.integers(2, months + 2)), draw(st.sampled_from([*range(3, months + 1), *[months] * 6]))
        others = tuple(sorted(draw(st.sets(st.integers(1, 9), max_size=3)) - set(ranks)))
        is_event, of_months = (
            bool(number) and draw(st.booleans()),
            tuple(None if m >= end else one if m < turn else two for m in range(months)),
        )
        program = Program(f"p{number}", is_event, ranks, of_months, others)
        programs.append(program)
        for subject in range(subjects):
            facts[program.program_id, f"s{subject}"] = tuple(draw(_facts(version, ranks)) for version in of_months)
    days = st.integers(-40, 31 * months).map(lambda n: first_day(FIRST_MONTH) + timedelta(days=n))
    requests = st.builds(
        lambda number, program, subject, kind, rank, requester, approver, approved, start, length: Request(
            f'N"{number}', program, subject, kind, rank, requester, approver, approved, start, start + timedelta(days=length)
        ),
        st.integers(1, 30),
        st.sampled_from([p.program_id for p in programs]),
        st.sampled_from([f"s{n}" for n in range(subjects)]),
        st.sampled_from(["at_least", "set", "nominate"]),
        st.integers(1, 9),
        st.sampled_from(PEOPLE),
        st.sampled_from([*PEOPLE, *PEOPLE, None]),
        st.one_of(days, days, st.none()),
        days,
        st.integers(-5, 80),
    )
    asked = draw(st.lists(requests, max_size=14, unique_by=lambda r: r.nomination_id))
    return History(tuple(programs), facts, tuple(asked), months)


def _facts(version: Version | None, ranks: tuple[int, ...]) -> st.SearchStrategy[Fact | None]:
    if version is None:
        return st.sampled_from([None, Fact("not_evaluated"), Fact("not_evaluated")])
    decided = st.builds(Fact, st.just("decided"), st.sampled_from(version.ranks), st.sampled_from([None, None, None, *ranks]))
    other = st.sampled_from([None, Fact("out_of_scope"), Fact("not_evaluated"), Fact("not_evaluated", cap=ranks[0])])
    return st.one_of(decided, decided, decided, decided, other)


@dataclass
class State:
    held: int
    since: int
    until: int | None


def expected_rows(history: History) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(program, subject, period) → the columns that the life cycle decides."""
    return {
        (row["program_id"], row["subject_id"], row["period"]): row for program in history.programs for row in _program(history, program)
    }


def _program(history: History, program: Program) -> Iterator[dict[str, Any]]:
    states: dict[str, State] = {}
    shown: dict[str, int] = {}
    shown_in: dict[str, int] = {}
    for number, index in enumerate(history.indexes):
        was_graded = bool(states or shown)
        states_now: dict[str, State] = {}
        shown_now: dict[str, int] = {}
        for (program_id, subject), facts in history.facts.items():
            if program_id != program.program_id:
                continue
            fact, before, previous = facts[number], states.get(subject), shown.get(subject)
            row: dict[str, Any] = {"program_id": program_id, "subject_id": subject, "period": period_of(index), "previous": previous}
            row["previous_in"] = None if previous is None else shown_in[subject]
            if fact is None and previous is None:
                continue
            if fact is None or fact.status == "out_of_scope":
                why = "left" if fact is None else "gate"
                row |= {"status": "out_of_scope", "movement": None if previous is None else "left"}
                row["steps"] = [_step("scope", None, None, why), _step("qualified", None, None, "not in scope")]
            elif fact.status == "not_evaluated":
                row |= {
                    "status": "not_evaluated",
                    "steps": [_step("scope", None, None, "in scope"), _step("qualified", None, None, "lacks")],
                }
                if before is not None:
                    states_now[subject] = before
                    row |= {"held": before.held, "since": before.since, "until": before.until}
                if previous is not None and program.versions[number] is not None:
                    shown_now[subject] = previous
            else:
                version = program.versions[number]
                assert version is not None
                state, review = _reviewed(program, version, fact, before, index)
                level, steps, covers = _covered(history, program, subject, fact, state.held, index)
                row |= {
                    "status": "decided",
                    "held": state.held,
                    "since": state.since,
                    "until": state.until,
                    "review": review,
                    "level": level,
                }
                row |= covers | {"movement": _movement(level, previous, was_graded)}
                why = _why(review, state, version)
                told = [] if why is None else [_step("review", fact.rank, state.held, why)]
                row["steps"] = [_step("scope", None, None, "in scope"), _step("qualified", None, fact.rank, f"r{fact.rank}"), *told, *steps]
                if not program.is_event:
                    states_now[subject], shown_now[subject], shown_in[subject] = state, level, index
            yield row
        states, shown = states_now, shown_now


def _reviewed(program: Program, version: Version, fact: Fact, before: State | None, index: int) -> tuple[State, str]:
    assert fact.rank is not None
    if program.is_event or not version.validity:
        same = before is not None and before.held == fact.rank
        return State(fact.rank, before.since if before and same else index, None), "follows"
    until = index + version.validity - 1
    if before is None:
        return State(fact.rank, index, until), "first"
    if fact.rank > before.held:
        return State(fact.rank, index, until), "rose"
    ends = before.until if before.until is not None else -1
    if index <= ends:
        return before, "held"
    if fact.rank == before.held:
        return State(before.held, before.since, until), "renewed"
    if index <= ends + (version.grace or 0):
        return before, "grace"
    if version.fall == "one_level":
        return State(max(rank for rank in version.ranks or program.ranks if rank < before.held), index, until), "fell_one_level"
    return State(fact.rank, index, until), "fell_to_qualified"


def _covered(
    history: History, program: Program, subject: str, fact: Fact, held: int, index: int
) -> tuple[int, list[dict[str, Any]], dict[str, int]]:
    level, steps, covers = held, [], {}
    if fact.cap is not None:
        covers["cap"] = fact.cap
        if fact.cap < level:
            steps.append(_step("cap", level, fact.cap, "c"))
            level = fact.cap
    mine = [
        r
        for r in history.requests
        if (r.program_id, r.subject_id) == (program.program_id, subject) and r.rank in (*program.ranks, *program.others)
    ]
    for kind in ("at_least", "set"):
        found = [r for r in mine if r.kind == kind and r.counts_in(index)]
        if not found:
            continue
        if kind == "set":
            chosen = max(found, key=lambda r: (r.approved, r.nomination_id))
        else:
            highest = max(r.rank for r in found)
            chosen = min((r for r in found if r.rank == highest), key=lambda r: r.nomination_id)
        covers[kind] = chosen.rank
        if kind == "set" or chosen.rank > level:
            steps.append(_step(kind, level, chosen.rank, chosen.nomination_id))
            level = chosen.rank
    return level, steps, covers


def _movement(level: int, previous: int | None, was_graded: bool) -> str:
    if previous is None:
        return "joined" if was_graded else "first"
    return "same" if level == previous else "rose" if level > previous else "fell"


def _why(review: str, state: State, version: Version) -> str | None:
    if review == "follows":
        return None
    if review in ("held", "renewed", "grace"):
        assert state.until is not None
        return f"{review} until {period_of(state.until + ((version.grace or 0) if review == 'grace' else 0))}"
    return review.replace("_", " ")


def _step(step: str, from_rank: int | None, to_rank: int | None, why: str) -> dict[str, Any]:
    return {"step": step, "from": from_rank and f"l{from_rank}", "to": to_rank and f"l{to_rank}", "why": why}


def row_as_expected(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the model with the reference's names; what is null is left out, as the reference does."""
    index = {"since": "held_since_period", "until": "valid_until_period"}
    ranks = {
        "level": "level_rank", "held": "held_level_rank", "previous": "previous_level_rank",
        "cap": "cap_level_rank", "at_least": "at_least_level_rank", "set": "set_level_rank",
        "previous_in": "previous_period_index",
    }  # fmt: skip
    found = {name: row[name] for name in ("program_id", "subject_id", "period", "status", "movement", "review")}
    found |= {name: row[column] for name, column in ranks.items()}
    found |= {name: row[column] and int(row[column][:4]) * 12 + int(row[column][5:]) - 1 for name, column in index.items()}
    found["steps"] = json.loads(row["steps"])
    return {name: value for name, value in found.items() if value is not None}
