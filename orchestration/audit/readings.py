"""What a decision's evidence says of each attribute: found values, and what they are made of.

Plain Python and Decimal on the recorded operands, not the compiled SQL. Scores and bands are made again from the operands; where
the recorded ones differ the evidence contradicts itself, which is a Mismatch and not a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from orchestration.audit.mismatch import mismatch
from orchestration.audit.numbers import Number, as_score, millionths_of, min_max
from orchestration.errors import Failed
from orchestration.policy.model import NUMERIC, RANKED, Attribute, Band, Dimension, Value, text_of
from orchestration.policy.operands import OVER_POPULATION, operands_of


@dataclass(frozen=True)
class DimensionReading:
    """One dimension of a score. ``scaled``: 0 to 100, null where the number is missing; ``counted``: what entered the mean instead;
    ``weight``: per cent of the weights that count; ``contribution``: their product."""

    dimension: Dimension
    reading: Reading
    scaled: Decimal | None
    counted: Decimal | None
    weight: Decimal
    contribution: Decimal | None

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``dimensions``."""
        d = self.dimension
        return {
            "dimension": d.dimension_id,
            "group": d.group,
            "name_en": d.row["name_en"],
            "name_zh": d.row["name_zh"],
            "number": self.reading.as_json(),
            "scaling": d.scaling,
            "low": as_text(d.low),
            "high": as_text(d.high),
            "bands": [{"below": as_text(below), "score": as_text(score)} for below, score in d.bands],
            "scaled": as_text(self.scaled),
            "missing_rule": d.missing,
            "counted": as_text(self.counted),
            "weight": as_text(d.weight),
            "weight_counted": as_text(self.weight),
            "contribution": as_text(self.contribution),
        }


@dataclass(frozen=True)
class Reading:
    """The value of an attribute. ``number``: as it is compared, of a band the number that falls into it; ``operands``: what it is
    computed from, by name; ``parts``: readings of what it is made of; ``chosen``: the part that a first_known takes."""

    attribute: Attribute
    value: Value | None
    number: Number | None
    operands: Mapping[str, Any]
    parts: tuple[Reading, ...] = ()
    dimensions: tuple[DimensionReading, ...] = ()
    band: Band | None = None
    chosen: str | None = None

    @property
    def undelivered(self) -> list[str]:
        """Its operands that nothing delivered when the release was made: null, whatever had landed."""
        own = (o for o in operands_of(self.attribute) if o.name in self.operands and not o.is_computed)
        return [o.name for o in own if not o.is_delivered]

    def as_json(self) -> dict[str, Any]:
        """Numbers as text, so that no digit is lost."""
        a = self.attribute
        found: dict[str, Any] = {
            "attribute": a.attribute_id,
            "kind": a.kind,
            "name_en": a.row["name_en"],
            "name_zh": a.row["name_zh"],
            "unit": a.unit,
            "value": as_text(self.value),
            "operands": {name: as_text(value) for name, value in self.operands.items()},
        }
        if self.number is not None and self.number.bottom != 1:
            n = self.number
            found |= {"numerator": as_text(n.top), "denominator": as_text(n.bottom), "scale": n.scale}
        if self.parts:
            found["of"] = [part.as_json() for part in self.parts]
        if self.chosen:
            found["taken_from"] = self.chosen
        if self.dimensions:
            found["dimensions"] = [d.as_json() for d in self.dimensions]
        if self.band is not None:
            low, high = bounds(a, self.band)
            found["band"] = {"band": self.band.band_id, "from": as_text(low), "below": as_text(high)}
        return found

    def walk(self) -> Iterator[Reading]:
        """The reading and all that it is made of, parts first."""
        for part in (*self.parts, *(d.reading for d in self.dimensions)):
            yield from part.walk()
        yield self


def bounds(attribute: Attribute, band: Band) -> tuple[Decimal | None, Decimal | None]:
    """Lower bound (included) and upper bound (not included) of a band; None where it is open."""
    place = attribute.bands.index(band)
    return (attribute.bands[place - 1].below if place else None), band.below


class Evidence:
    """The recorded operands of one decision. ``where``: release and subject, for messages."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where
        self._read: dict[str, Reading] = {}
        self._is_supposed = False

    def __bool__(self) -> bool:
        return bool(self._values)

    def has(self, name: str) -> bool:
        """Whether the evidence holds an operand."""
        return name in self._values

    def covers(self, attribute: Attribute) -> bool:
        """Whether the evidence holds all that the attribute is read from; of a first_known one part is enough."""
        if attribute.kind == "first_known":
            return any(self.covers(part) for part in attribute.of)
        own = [o.name for o in operands_of(attribute) if o.attribute.attribute_id == attribute.attribute_id]
        return all(map(self.has, own)) and all(map(self.covers, attribute.parts))

    def operand(self, name: str) -> Any:
        """A recorded value; one that is not there is a defect of the release."""
        if name not in self._values:
            raise Failed(
                f"the decision's evidence lacks {name}", self._where, "report it: a released decision must carry every value it rests on"
            )
        return self._values[name]

    def amount(self, name: str) -> Decimal | None:
        """A recorded number."""
        value = self.operand(name)
        return None if value is None else Decimal(value)

    def raised(self, reading: Reading, amount: Decimal) -> Evidence:
        """The same with ``amount`` more of a number (of a quotient: of its numerator) and of what is made of it; all else stays."""
        if reading.number is None:
            raise ValueError(f"{reading.attribute.attribute_id} is no number")
        number = replace(reading.number, top=reading.number.top + amount)
        supposed = Evidence(self._values, self._where)
        supposed._is_supposed = True
        supposed._read[reading.attribute.attribute_id] = replace(reading, value=number.value, number=number)
        return supposed

    def read(self, attribute: Attribute) -> Reading:
        """The attribute's value and what it is made of."""
        name = attribute.attribute_id
        if name not in self._read:
            self._read[name] = self._reading(attribute)
        return self._read[name]

    def _reading(self, a: Attribute) -> Reading:
        if a.kind in {"average", "ratio"}:
            return self._quotient(a)
        if a.kind == "first_known":
            return self._first_known(a)
        if a.kind in RANKED:
            return self._ranked(a)
        if a.kind == "score":
            return self._score(a)
        if a.kind == "band":
            return self._band(a)
        raw = self.operand(a.attribute_id)
        value = _typed(raw, a)
        return Reading(a, value, _number(value), {a.attribute_id: raw})

    def _quotient(self, a: Attribute) -> Reading:
        divisor = a.months if a.kind == "average" else a.divisor
        if a.metric is None or divisor is None:
            raise Failed(f"{a.attribute_id} is a quotient without its parts", remedy="report it: the policy should not have been accepted")
        top, bottom = self.amount(a.metric.metric_id), self.amount(divisor.metric_id)
        operands = {a.metric.metric_id: top, divisor.metric_id: bottom}
        if top is None or bottom is None or bottom <= 0:
            return Reading(a, None, None, operands)
        number = Number(top, bottom, 1 if a.kind == "average" else 100)
        return Reading(a, number.value, number, operands)

    def _first_known(self, a: Attribute) -> Reading:
        # A part whose source the deployment does not deliver was left out when the policy was compiled, and has no operand.
        parts = tuple(self.read(part) for part in a.of if part.kind == "first_known" or self.has(part.attribute_id))
        if not parts:
            self.operand(a.of[0].attribute_id)
        known = next((part for part in parts if part.value is not None), None)
        return Reading(
            a,
            known.value if known else None,
            known.number if known else None,
            {},
            parts,
            chosen=known.attribute.attribute_id if known else None,
        )

    def _ranked(self, a: Attribute) -> Reading:
        name, of = a.attribute_id, self.read(a.of[0])
        operands = {key: self.amount(f"{name}__{key}") for key in OVER_POPULATION[a.kind]}
        if a.kind == "position":
            top, bottom = operands["above"], operands["population"]
        elif a.kind == "share":
            top, bottom = operands["above_amount"], operands["total_amount"]
        else:
            top, bottom = (None if of.number is None else max(of.number.top, Decimal(0))), operands["total_amount"]
        if top is None or bottom is None or bottom <= 0:
            return Reading(a, None, None, operands, (of,))
        number = Number(top, bottom, 100)
        return Reading(a, number.value, number, operands, (of,))

    def _band(self, a: Attribute) -> Reading:
        of = self.read(a.of[0])
        band = None
        if of.number is not None:
            number = of.number
            band = next((b for b in a.bands if b.below is not None and number.compare(b.below) < 0), a.bands[-1])
        found = band.band_id if band else None
        self._same(a.attribute_id, found, self.operand(a.attribute_id))
        return Reading(a, found, of.number, {a.attribute_id: found}, (of,), band=band)

    def _score(self, a: Attribute) -> Reading:
        read = [(d, self.read(d.attribute), self.amount(f"{a.attribute_id}__{d.dimension_id}")) for d in a.dimensions]
        for dimension, reading, recorded in read:
            again = scaled_alone(dimension, reading)
            if again is not None or (reading.number is None) != (recorded is None):
                self._same(f"{a.attribute_id}__{dimension.dimension_id}", again, recorded)
        counted = [_counted(d, scaled) for d, _, scaled in read]
        weights = [Decimal(0) if value is None else d.weight for (d, _, _), value in zip(read, counted, strict=True)]
        whole = sum(weights, Decimal(0))
        refused = any(d.missing == "refuse" and scaled is None for d, _, scaled in read)
        value = None
        if whole and not refused:
            tops = sum(millionths_of(v) * int(w * 100) for v, w in zip(counted, weights, strict=True) if v is not None)
            value = as_score(tops // int(whole * 100))
        recorded = self.amount(a.attribute_id)
        self._same(a.attribute_id, value, recorded)
        dimensions = tuple(
            DimensionReading(
                d, reading, scaled, c, (w * 100 / whole if whole else Decimal(0)), None if c is None or not whole else c * w / whole
            )
            for (d, reading, scaled), c, w in zip(read, counted, weights, strict=True)
        )
        return Reading(a, value, _number(value), {a.attribute_id: recorded}, (), dimensions)

    def _same(self, name: str, again: Any, recorded: Any) -> None:
        # What is only supposed was recorded by nobody.
        if again != recorded and not self._is_supposed:
            raise mismatch(f"the evidence gives {name} = {as_text(again)}, the decision holds {as_text(recorded)}", self._where)


def scaled_alone(dimension: Dimension, reading: Reading) -> Decimal | None:
    """A dimension's number from 0 to 100 where the subject's own number is enough; None where it is missing or the population decides."""
    if reading.number is None or dimension.scaling == "percentile_rank":
        return None
    value = reading.number.millionths
    if dimension.scaling == "bands":
        inside = next((s for below, s in dimension.bands if below is not None and value < millionths_of(below)), dimension.bands[-1][1])
        return as_score(millionths_of(inside))
    if dimension.low is None or dimension.high is None:
        return None
    return as_score(min_max(value, millionths_of(dimension.low), millionths_of(dimension.high)))


def _counted(dimension: Dimension, scaled: Decimal | None) -> Decimal | None:
    """What enters the mean for a dimension; None where it is left out or refused."""
    if scaled is not None:
        return scaled
    return {"zero": Decimal(0), "middle": Decimal(50)}.get(dimension.missing)


def _typed(raw: Any, attribute: Attribute) -> Value | None:
    if raw is None:
        return None
    if attribute.type in NUMERIC:
        return Decimal(raw)
    if attribute.type == "date":
        return date.fromisoformat(raw)
    return bool(raw) if attribute.type == "boolean" else str(raw)


def _number(value: Value | None) -> Number | None:
    return Number(value) if isinstance(value, Decimal) else None


def as_text(value: Value | None) -> str | None:
    """A value for JSON, so that no digit is lost."""
    return None if value is None else text_of(value)
