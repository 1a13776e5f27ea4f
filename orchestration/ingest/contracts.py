"""Entity contracts: the columns, types, keys and rules that every source is mapped to. Data in ``contracts/*.yaml``.

Not here: how a source's columns become these (see ``mapping``), or how rows are checked (see ``checking``).
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestration.deployment import read_model
from orchestration.errors import BadInput

CONTRACTS = Path(__file__).parent / "contracts"

_DECIMAL = re.compile(r"^decimal\((\d+),(\d+)\)$")
_SQL_TYPES = {"text": "VARCHAR", "integer": "BIGINT", "date": "DATE", "timestamp": "TIMESTAMP", "boolean": "BOOLEAN", "period": "VARCHAR"}


class Column(BaseModel):
    """One column of an entity."""

    model_config = ConfigDict(extra="forbid")

    type: str
    required: bool = False
    description: str
    personal: bool = False
    references: str | None = Field(None, description="entity.column that must hold the value")
    references_without: str | None = Field(
        None, description="column that says the same more directly: `references` counts only for rows that have no value there"
    )
    allowed: list[str] | None = None
    allowed_currency: bool = False
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    negative: Literal["credit_or_adjustment"] | None = None
    not_before: str | None = Field(
        None, description="column of the same row that holds an earlier day, or the same one; else the row takes its key back"
    )
    changes_with: str | None = Field(None, description="column of the same row with the day from which a new value holds")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value not in _SQL_TYPES and not _DECIMAL.match(value):
            raise ValueError(f"{value!r} is no contract type")
        return value

    @property
    def sql_type(self) -> str:
        """DuckDB type of the landed column."""
        return _SQL_TYPES.get(self.type) or self.type.upper()

    @property
    def scale(self) -> int | None:
        """Digits after the point of a decimal; None for other types."""
        match = _DECIMAL.match(self.type)
        return int(match.group(2)) if match else None

    @property
    def bad_reason(self) -> str:
        """Quarantine reason of a value that is not of this type."""
        return "bad_decimal" if self.scale is not None else "bad_value" if self.type == "text" else f"bad_{self.type}"


class Contract(BaseModel):
    """One entity. ``key`` is unique within a source; ``period_from`` names the column that gives a row's period, ``history`` the one
    with the day from which a row holds until the next one (none: its rows are happenings)."""

    model_config = ConfigDict(extra="forbid")

    entity: str
    description: str
    grain: str
    key: list[str]
    columns: dict[str, Column]
    period_from: str | None = None
    history: str | None = None

    @model_validator(mode="after")
    def _known_order(self) -> Contract:
        for name, column in self.columns.items():
            if column.not_before is not None and getattr(self.columns.get(column.not_before), "type", None) != column.type:
                raise ValueError(f"{name} cannot be compared with {column.not_before!r}: there is no such column of type {column.type}")
            if column.changes_with is not None and column.changes_with not in self.columns:
                raise ValueError(f"{name} cannot change with {column.changes_with!r}: there is no such column")
            if column.references_without is not None and (column.references is None or column.references_without not in self.columns):
                raise ValueError(f"{name} has no reference, or {column.references_without!r} is no column that could make it needless")
        return self

    @property
    def personal(self) -> list[str]:
        """Columns that go to the vault and nowhere else."""
        return [name for name, column in self.columns.items() if column.personal]

    @property
    def landed(self) -> list[str]:
        """Columns that landing holds."""
        return [name for name, column in self.columns.items() if not column.personal]

    @property
    def subject_key(self) -> list[str]:
        """Key without its date of effect: what the vault is keyed by."""
        return [name for name in self.key if self.columns[name].type != "date"] or self.key

    @property
    def by_period(self) -> bool:
        """Whether landing keeps one part per period (the entities that every month adds much to)."""
        return self.entity in ("bill_lines", "points")

    @property
    def amount_column(self) -> str | None:
        """The column whose sum is part of the balance of every file, if the entity has one."""
        return {"bill_lines": "net_amount", "payments": "amount"}.get(self.entity)


@functools.cache
def load_contracts() -> dict[str, Contract]:
    """All contracts by entity, referenced entities before those that refer to them."""
    found: dict[str, Contract] = {}
    for path in sorted(CONTRACTS.glob("*.yaml")):
        contract, _ = read_model(Contract, path)
        found[contract.entity] = contract
    ordered: dict[str, Contract] = {}

    def place(entity: str, trail: tuple[str, ...]) -> None:
        if entity in ordered:
            return
        if entity in trail:
            raise BadInput(f"contracts refer to each other in a circle: {' → '.join((*trail, entity))}", str(CONTRACTS))
        for column in found[entity].columns.values():
            if column.references:
                place(column.references.split(".")[0], (*trail, entity))
        ordered[entity] = found[entity]

    for entity in found:
        place(entity, ())
    return ordered
