"""Ranks and sums over everyone, counted again from the evidence of all subjects of the same release.

Not from the warehouse: what a decision says of its place among the others must follow from what their own decisions say.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.audit.mismatch import mismatch
from orchestration.audit.numbers import FULL_SCORE, as_score, millionths_of, min_max
from orchestration.audit.readings import DimensionReading, Reading
from orchestration.errors import Failed
from orchestration.policy.model import RANKED, Attribute
from orchestration.release import FROM_A_BACKUP


class Population:
    """The in-scope decisions of one program and period in a release."""

    def __init__(self, file: Path, program_id: str, period: str) -> None:
        self._file, self._program, self._period = file, program_id, period

    def _one(self, expressions: str, bind: dict[str, Any]) -> tuple[Any, ...]:
        # DuckDB refuses a value that the text does not name.
        used = {name: value for name, value in bind.items() if f"${name}" in expressions}
        query = f"""select {expressions} from read_parquet($file)
            where program_id = $program and period = $period and status <> 'out_of_scope'"""
        try:
            with duckdb.connect() as con:
                row = con.execute(query, {"file": str(self._file), "program": self._program, "period": self._period, **used}).fetchone()
        except duckdb.Error as err:
            raise Failed(f"the released decisions cannot be read: {str(err).splitlines()[0]}", str(self._file), FROM_A_BACKUP) from err
        assert row is not None  # an aggregate without groups gives a row
        return row

    def check(self, readings: Iterable[Reading], where: str) -> None:
        """Count every rank, share and relative score again; Mismatch where one differs."""
        for reading in readings:
            if reading.attribute.kind in RANKED:
                self._check_rank(reading, where)
            for dimension in reading.dimensions:
                self._check_dimension(reading, dimension, where)
            self._check_undelivered(reading, where)

    def _check_rank(self, reading: Reading, where: str) -> None:
        value, mine = _plain(reading.attribute.of[0]), reading.parts[0].number
        row = self._one(
            f"""count({value}) filter (where {value} > $mine), count({value}),
            coalesce(sum({value}) filter (where {value} > 0 and {value} > $mine), 0), coalesce(sum({value}) filter (where {value} > 0), 0)""",
            {"mine": mine.top if mine else None},
        )
        above, population, above_amount, total_amount = (Decimal(item) for item in row)
        if mine is None:
            counted = {"above": None, "population": population, "above_amount": None, "total_amount": total_amount}
        elif mine.top > 0:
            counted = {"above": above, "population": population, "above_amount": above_amount, "total_amount": total_amount}
        else:
            # Amounts of zero or less come last, however many they are.
            counted = {"above": population, "population": population, "above_amount": total_amount, "total_amount": total_amount}
        for name, recorded in reading.operands.items():
            _same(f"{reading.attribute.attribute_id}__{name}", counted[name], recorded, where)

    def _check_dimension(self, reading: Reading, found: DimensionReading, where: str) -> None:
        dimension, number = found.dimension, found.reading.number
        relative = dimension.scaling == "percentile_rank" or (dimension.scaling == "min_max" and None in (dimension.low, dimension.high))
        if number is None or not relative:
            return
        value, mine = _millionths(dimension.attribute), number.millionths
        row = self._one(f"count({value}), count({value}) filter (where {value} < $mine), min({value}), max({value})", {"mine": mine})
        known, below, lowest, highest = (int(item) for item in row)
        if dimension.scaling == "percentile_rank":
            scaled = FULL_SCORE if known == 1 else below * FULL_SCORE // (known - 1)
        else:
            low = lowest if dimension.low is None else millionths_of(dimension.low)
            high = highest if dimension.high is None else millionths_of(dimension.high)
            # The whole population may lie beyond the one bound that is given.
            beyond = dimension.high is not None and mine >= high
            scaled = FULL_SCORE if beyond else min_max(mine, low, high)
        _same(f"{reading.attribute.attribute_id}__{dimension.dimension_id}", as_score(scaled), found.scaled, where)

    def _check_undelivered(self, reading: Reading, where: str) -> None:
        """A sum or count is null only where it is not delivered, and so for everyone; a margin may be null because of its rows."""
        a = reading.attribute
        for metric in (m for m in (a.metric, a.months, a.divisor) if m and m.measure.aggregation != "margin"):
            name = a.attribute_id if a.kind == "metric" else metric.metric_id
            if reading.operands[name] is None:
                (known,) = self._one(f"count({_operand(name)})", {})
                if known:
                    raise mismatch(f"the decision holds no {name}, of which {known} of the release's own subjects have one", where)


def _same(name: str, counted: Decimal | None, recorded: Decimal | None, where: str) -> None:
    if counted != recorded:
        raise mismatch(f"the release's own subjects give {name} = {counted}, the decision holds {recorded}", where)


def _operand(name: str) -> str:
    return f"cast(json_extract_string(evidence, '$.{name}') as decimal(38, 4))"


def _plain(a: Attribute) -> str:
    """A number that is no quotient; parts of a first_known that are not delivered are null for everyone."""
    if a.kind == "first_known":
        return f"coalesce({', '.join(_plain(part) for part in a.of)})"
    return _operand(a.attribute_id)


def _millionths(a: Attribute) -> str:
    if a.kind not in {"average", "ratio"}:
        return f"cast({_plain(a)} * 1000000 as hugeint)"
    divisor = a.months if a.kind == "average" else a.divisor
    assert a.metric and divisor
    top, bottom = (f"cast({_operand(m.metric_id)} * 10000 as hugeint)" for m in (a.metric, divisor))
    scale = 10**6 if a.kind == "average" else 10**8
    return f"case when {_operand(divisor.metric_id)} > 0 then ({top} * {scale}) // {bottom} end"
