"""Attributes from seeds: what each kind is made of, and whether the parts fit.

An attribute of kind band or score gets its bands or dimensions from the policy version that uses it: see :func:`resolved`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from orchestration.ingest.contracts import Column, load_contracts
from orchestration.policy.facts import HUNDRED
from orchestration.policy.model import APPLICATION_STATES, NUMERIC, RANKED, Attribute, Band, Dimension, Metric
from orchestration.policy.reader import Built, Row, Seed, close_match
from orchestration.policy.subjects import COUNTED_COLUMNS, CUSTOMER_COLUMNS, SUBJECT_TYPES

_TYPES = {"average": "decimal", "ratio": "decimal", "score": "decimal", "position": "decimal", "share": "decimal", "portion": "decimal",
          "months_since": "integer", "band": "category", "application": "category", "nomination": "level"}  # fmt: skip
# Types that an attribute may have by that of its column.
_READ_AS: dict[str, tuple[str, ...]] = {
    "text": ("category",),
    "period": ("category",),
    "boolean": ("boolean", "category"),
    "date": ("date", "category"),
    "integer": ("integer", "decimal", "category"),
    "decimal": ("decimal",),
    "timestamp": (),
}
_USES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("column", "months_since"), ("column_name",)),
    "metric": ("metric_id",),
    "average": ("metric_id", "months_metric_id"),
    "ratio": ("metric_id", "divisor_metric_id"),
    **dict.fromkeys(("first_known", *RANKED, "band"), ("of_attributes",)),
    **dict.fromkeys(("score", "nomination", "application"), ()),
}


def closed_values(attribute: Attribute) -> tuple[str, ...]:
    """The only values that a category can have, where that is known; else nothing."""
    if attribute.kind == "band":
        return tuple(band.band_id for band in attribute.bands)
    if attribute.kind == "application":
        return APPLICATION_STATES
    if attribute.type != "category" or not attribute.entity or not attribute.column_name:
        return ()
    column = load_contracts()[attribute.entity].columns.get(attribute.column_name)
    return tuple((column and column.allowed) or ())


def build_attributes(seed: Seed, metrics: Mapping[str, Metric]) -> Built[Attribute]:
    """Attribute by id, parts first resolved; BadInput for one that is made of itself."""

    def build(row: Row) -> Attribute:
        parts = []
        for part in row["of_attributes"]:
            if part not in built:
                raise row.bad("of_attributes", f"{part!r} is not an attribute", close_match(part, built))
            if part in built.path:
                what = f"{row['attribute_id']!r} is made of itself: {' of '.join((*built.path, part))}"
                raise row.bad("of_attributes", what, "break the circle")
            parts.append(built[part])
        return _attribute(row, metrics, tuple(parts))

    built = Built(seed, "attribute_id", build)
    return built


def _attribute(row: Row, metrics: Mapping[str, Metric], of: tuple[Attribute, ...]) -> Attribute:
    """The attribute of a row. ``of``: what it is made of, in the order of its cell."""
    kind = row["kind"]
    _check_uses(row)
    metric, months, divisor = (_metric(row, column, metrics) for column in ("metric_id", "months_metric_id", "divisor_metric_id"))
    _check_entity(row)
    _check_type(row, metric, of)
    if kind == "average" and metric and months:
        _check_average(row, metric, months)
    if kind == "ratio" and metric and divisor and "months" in (metric.aggregation, divisor.aggregation):
        raise row.bad("metric_id", "a ratio is of two sums", "for an amount per month use kind average")
    _check_parts(row, of)
    if _is_nullable(row, metric, of) and not row["may_be_null"]:
        raise row.bad("may_be_null", _why_null(kind), "write true")
    low, high = _bounds(row)
    return Attribute(
        row["attribute_id"], row["subject_type"], kind, row["type"], row["unit"] or "", metric, months, row["column_name"], row["entity"],
        row["allowed_values"], low, high, row["may_be_null"], row, divisor, of,
    )  # fmt: skip


def _check_uses(row: Row) -> None:
    kind = row["kind"]
    for column in ("metric_id", "months_metric_id", "divisor_metric_id", "of_attributes", "column_name"):
        if column in _USES[kind]:
            row.need(column, f"the attribute is of kind {kind}")
        elif row[column] not in (None, ()):
            raise row.bad(column, f"an attribute of kind {kind} does not use it", "leave it empty")


def _metric(row: Row, column: str, metrics: Mapping[str, Metric]) -> Metric | None:
    """The metric that a cell names; None for an empty one."""
    if not row[column]:
        return None
    found = metrics[row[column]]
    if found.subject_type != row["subject_type"]:
        raise row.bad(
            column,
            f"{found.metric_id!r} is a metric of a {found.subject_type}, the attribute belongs to a {row['subject_type']}",
            "name a metric of the same subject",
        )
    return found


def _check_type(row: Row, metric: Metric | None, of: tuple[Attribute, ...]) -> None:
    kind, type_ = row["kind"], row["type"]
    expected = _TYPES.get(kind)
    if kind == "metric" and metric:
        expected = metric.type
    if kind == "first_known":
        expected = "decimal" if any(part.type == "decimal" for part in of) else of[0].type
    if expected and type_ != expected:
        what = metric.metric_id if metric and kind == "metric" else f"kind {kind}"
        raise row.bad("type", f"{type_!r} does not fit: {what} gives {expected}", f"write {expected}")
    if type_ == "level" and kind != "nomination":
        raise row.bad("type", f"{type_!r} does not fit kind {kind!r}", "a nomination is of type level, and only a nomination")
    if type_ != "category" and row["allowed_values"]:
        raise row.bad("allowed_values", f"a {type_} has no list of values", "leave it empty; minimum and maximum bound numbers")


def _is_nullable(row: Row, metric: Metric | None, of: tuple[Attribute, ...]) -> bool:
    """Whether some subject may have no value, whatever the row says."""
    kind = row["kind"]
    if kind in {"average", "ratio", *RANKED, "nomination"}:
        return True
    if metric is not None and metric.measure.aggregation == "margin":
        return True
    if kind == "band":
        return of[0].may_be_null
    if kind == "first_known":
        return all(part.may_be_null for part in of)
    return kind in {"column", "months_since"} and not _is_always_there(row)


def _bounds(row: Row) -> tuple[Decimal | None, Decimal | None]:
    """The least and the greatest value that an attribute can have, each None where it has no bound."""
    low, high = row["minimum"], row["maximum"]
    if (low is not None or high is not None) and row["type"] not in NUMERIC:
        raise row.bad("minimum", f"a {row['type']} has no bounds", "leave minimum and maximum empty")
    if low is not None and high is not None and low > high:
        raise row.bad("minimum", f"{low} is above the maximum {high}", "exchange them")
    if row["kind"] in {*RANKED, "score"}:
        return Decimal(0) if low is None else low, HUNDRED if high is None else high
    return low, high


def _is_always_there(row: Row) -> bool:
    """Whether every subject has a value in the column: what a contract requires of the subject's own row, and what the warehouse counts.

    Rows without a value that no contract requires land, and of another entity a subject may have no row at all.
    """
    subject = SUBJECT_TYPES[row["subject_type"]]
    if row["entity"] not in (None, subject.entity):
        return False
    if subject.name == "customer":
        return row["column_name"] in COUNTED_COLUMNS
    return load_contracts()[subject.entity].columns[row["column_name"]].required


def _why_null(kind: str) -> str:
    if kind == "average":
        return "an average is null where the subject was in service in no month"
    if kind in {"column", "months_since"}:
        return "no contract requires a value in this column of every subject, so rows without one land"
    return f"a {kind} is null for some subjects"


def _check_entity(row: Row) -> None:
    kind, entity, subject = row["kind"], row["entity"], SUBJECT_TYPES[row["subject_type"]]
    contracts = load_contracts()
    if entity:
        row.one_of("entity", sorted(contracts), "an entity")
    if kind not in {"column", "months_since"}:
        return
    column = row["column_name"]
    own = entity in (None, subject.entity)
    known: Iterable[str] = contracts[entity or subject.entity].columns
    if own and subject.name == "customer":
        known = CUSTOMER_COLUMNS
    of = f"the {subject.name}'s metrics" if own and subject.name == "customer" else entity or subject.entity
    row.one_of("column_name", known, f"a column of {of}")
    if own:
        return
    if contracts[entity].history is None:
        raise row.bad(
            "entity", f"rows of {entity!r} do not hold from a day on, so that there is no newest one", "count or add them up: see metrics"
        )
    if subject.key not in contracts[entity].columns:
        raise row.bad("entity", f"{entity!r} says nothing of a {subject.name}", f"name an entity with {subject.key}")
    _refuse_personal(row, contracts[entity].columns[column])


def _refuse_personal(row: Row, column: Column) -> None:
    if column.personal:
        raise row.bad("column_name", f"{row['column_name']!r} is personal: it is in the vault and decides nothing", "name another column")


def refuse_misread(attribute: Attribute) -> None:
    """BadInput for a column attribute of another type than its column, or of a personal one: the values would not be read, or be read as others.

    An amount as a whole number would be rounded, and of a moment the day hangs on the time zone.
    """
    if attribute.kind not in {"column", "months_since"}:
        return
    row, subject, column = attribute.row, SUBJECT_TYPES[attribute.subject_type], str(attribute.column_name)
    entity = attribute.entity or subject.entity
    of_metrics = subject.name == "customer" and entity == subject.entity
    if of_metrics:
        type_ = CUSTOMER_COLUMNS[column]
    else:
        _refuse_personal(row, load_contracts()[entity].columns[column])
        type_ = load_contracts()[entity].columns[column].type.partition("(")[0]
    if attribute.kind == "months_since":
        if type_ != "date":
            raise row.bad("column_name", f"{column!r} is {type_}, and months are counted from a date", "name a column that holds a date")
    elif not (fitting := _READ_AS[type_]):
        raise row.bad(
            "column_name", f"{column!r} is {type_}, which no rule compares", "name a column that holds a date, a number or a word"
        )
    elif attribute.type not in fitting:
        # The type is part of the hash of each version that uses the attribute.
        remedy = f"write {' or '.join(fitting)}; where months were released with it, declare the change in restatements.csv"
        raise row.bad("type", f"{attribute.type!r} does not fit: {column!r} is {type_}", remedy)


def _check_average(row: Row, metric: Metric, months: Metric) -> None:
    counts = months.aggregation == "months" or months.measure.aggregation == "count"
    if not counts or metric.aggregation != "sum" or metric.measure.aggregation not in {"sum", "count"}:
        raise row.bad("months_metric_id", "an average divides a sum by months", "name a metric with aggregation months, or a count")
    if months.window != metric.window:
        raise row.bad("months_metric_id", f"the sum is over {metric.window}, the months over {months.window}", "name metrics of one window")


def _check_parts(row: Row, of: tuple[Attribute, ...]) -> None:
    kind = row["kind"]
    for part in of:
        if part.subject_type != row["subject_type"]:
            raise row.bad(
                "of_attributes", f"{part.attribute_id!r} belongs to a {part.subject_type}", f"name attributes of a {row['subject_type']}"
            )
        if part.type not in NUMERIC:
            raise row.bad("of_attributes", f"{part.attribute_id!r} is no number", "name a number")
    if kind == "first_known" and len(of) < 2:
        raise row.bad("of_attributes", "there is nothing to fall back to", "name at least two attributes joined by |")
    allowed = {"column", "metric", "months_since", "first_known"} if kind in {*RANKED, "first_known"} else set(_USES)
    if kind in {*RANKED, "band"} and len(of) > 1:
        raise row.bad("of_attributes", f"a {kind} is of one attribute", "name one")
    for part in of:
        if part.kind not in allowed:
            raise row.bad(
                "of_attributes",
                f"{part.attribute_id!r} is a {part.kind}, which a {kind} cannot be made of",
                f"name a {' or '.join(sorted(allowed))}",
            )


@dataclass(frozen=True)
class VersionParts:
    """Rows of bands, dimensions and score bands by (program, version, attribute)."""

    bands: Mapping[tuple[str, str, str], list[Row]]
    dimensions: Mapping[tuple[str, str, str], list[Row]]
    scores: Mapping[tuple[str, str, str], list[Row]]

    @classmethod
    def of(cls, seeds: Mapping[str, Seed], attributes: Mapping[str, Attribute]) -> VersionParts:
        """Grouped; a row of an attribute that is no band or score is refused."""
        found = []
        for name, kind in (("bands", "band"), ("score_dimensions", "score"), ("score_bands", "score")):
            rows: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
            for row in seeds[name]:
                attribute = attributes[row["attribute_id"]]
                if attribute.kind != kind:
                    raise row.bad(
                        "attribute_id",
                        f"{attribute.attribute_id!r} is a {attribute.kind}, not a {kind}",
                        f"name an attribute of kind {kind}",
                    )
                rows[row["program_id"], row["version"], row["attribute_id"]].append(row)
            found.append(rows)
        return cls(*found)


def resolved(
    attribute: Attribute, program_id: str, version: str, parts: VersionParts, attributes: Mapping[str, Attribute], where: Row
) -> Attribute:
    """The attribute with the bands and dimensions that a policy version gives it. ``where``: the row that uses it."""
    of = tuple(resolved(part, program_id, version, parts, attributes, where) for part in attribute.of)
    found = replace(attribute, of=of)
    key = (program_id, version, attribute.attribute_id)
    if attribute.kind == "band":
        return replace(found, bands=_bands(parts.bands.get(key, []), found, where, f"{program_id} {version}"))
    if attribute.kind == "score":
        rows = parts.dimensions.get(key, [])
        return replace(found, dimensions=_dimensions(rows, parts.scores.get(key, []), found, where, f"{program_id} {version}", attributes))
    return found


def _bands(rows: list[Row], attribute: Attribute, where: Row, title: str) -> tuple[Band, ...]:
    name = attribute.attribute_id
    if not rows:
        raise where.bad("attribute", f"{title} has no bands for {name!r}", "add them to bands")
    ordered = _ascending(rows)
    last = ordered[-1]
    if attribute.of[0].kind in {"position", "share"}:
        if last["below"] != HUNDRED:
            ends = "is open" if last["below"] is None else f"ends at {last['below']}"
            raise last.bad("below", f"the table of {name!r} {ends}, and per cents end at 100", "write 100 as the bound of the last band")
    elif last["below"] is not None:
        raise last.bad("below", f"numbers from {last['below']} up have no band", "leave the bound of the last band empty")
    return tuple(Band(row["band_id"], None if row is last else row["below"], row) for row in ordered)


def _ascending(rows: list[Row]) -> list[Row]:
    """Rows of bands in order; each has a bound above the one before, the last may have none."""
    ordered = sorted(rows, key=lambda row: int(row["band_order"]))
    for before, row in itertools.pairwise(ordered):
        if row["band_order"] == before["band_order"]:
            what = f"{row['band_order']} is the place of row {before.line} already"
            raise row.bad("band_order", what, "give each band a place of its own")
        if before["below"] is None:
            raise before.bad("below", "is empty, but only the last band is open", "write the bound that its numbers are below")
        if row["below"] is not None and row["below"] <= before["below"]:
            raise row.bad(
                "below", f"{row['below']} is not above the bound before it, {before['below']}", "order the bands from the lowest numbers up"
            )
    return ordered


def _dimensions(
    rows: list[Row], score_rows: list[Row], attribute: Attribute, where: Row, title: str, attributes: Mapping[str, Attribute]
) -> tuple[Dimension, ...]:
    name = attribute.attribute_id
    if not rows:
        raise where.bad("attribute", f"{title} has no dimensions for {name!r}", "add them to score_dimensions")
    total = sum((row["weight"] for row in rows), Decimal(0))
    if total != HUNDRED:
        raise rows[-1].bad("weight", f"the weights of {name!r} in {title} add up to {total:f}", "make them add up to 100")
    known = {row["dimension_id"] for row in rows}
    for row in score_rows:
        if row["dimension_id"] not in known:
            raise row.bad(
                "dimension_id", f"{name!r} in {title} has no dimension {row['dimension_id']!r}", close_match(row["dimension_id"], known)
            )
    found = tuple(
        _dimension(row, [s for s in score_rows if s["dimension_id"] == row["dimension_id"]], attribute, attributes) for row in rows
    )
    if not attribute.may_be_null and all(d.missing == "leave_out" and d.attribute.may_be_null for d in found):
        what = f"a subject may lack every dimension of {name!r} in {title}, all of which are left out then"
        raise attribute.row.bad("may_be_null", what, "write true, or score a missing dimension (missing)")
    return found


def _dimension(row: Row, score_rows: list[Row], score: Attribute, attributes: Mapping[str, Attribute]) -> Dimension:
    of = attributes[row["of_attribute"]]
    if of.subject_type != score.subject_type or of.type not in NUMERIC or of.kind in {"score", *RANKED}:
        raise row.bad(
            "of_attribute", f"{of.attribute_id!r} cannot be scaled", f"name a number of a {score.subject_type} that is no rank and no score"
        )
    if row["weight"] <= 0 or row["weight"] != row["weight"].quantize(Decimal("0.01")):
        raise row.bad("weight", f"{row['weight']:f} is no weight", "write per cent above 0 with at most two decimals")
    low, high = row["low"], row["high"]
    if row["scaling"] != "min_max" and (low is not None or high is not None):
        raise row.bad("low", f"{row['scaling']} has no bounds", "leave low and high empty")
    if low is not None and high is not None and low >= high:
        raise row.bad("low", f"{low} is not below high, {high}", "write the value that scores 0 as low and that which scores 100 as high")
    if (row["scaling"] == "bands") != bool(score_rows):
        what = "has no bands" if row["scaling"] == "bands" else f"is scaled by {row['scaling']}, yet has score_bands"
        raise row.bad("scaling", f"{row['dimension_id']!r} {what}", "add them to score_bands, or choose another scaling")
    bands = []
    if score_rows:
        ordered = _ascending(score_rows)
        if ordered[-1]["below"] is not None:
            raise ordered[-1].bad(
                "below", f"numbers from {ordered[-1]['below']} up have no score", "leave the bound of the last band empty"
            )
        bands = [(band["below"], band["score"]) for band in ordered]
    return Dimension(
        row["dimension_id"], row["dimension_group"], of, row["scaling"], row["weight"], low, high, row["missing"], tuple(bands), row
    )  # fmt: skip
