"""What programs grade: the entity that holds a type of subject, and which of its days count as being there.

The set is closed, because each type needs the entity contract that names its key. What is known of a subject besides these
columns is data: attributes and metrics in the seeds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SubjectType:
    """``key``: column that names the subject in every entity about it. A subject is in scope from the period of
    ``from_column`` to that of ``to_column``; where both are None, from its first row on. ``at_column``: a subject that is in scope
    in one period only, that of this timestamp."""

    name: str
    entity: str
    key: str
    from_column: str | None = None
    to_column: str | None = None
    at_column: str | None = None


SUBJECT_TYPES: dict[str, SubjectType] = {
    kind.name: kind
    for kind in (
        SubjectType("customer", "customers", "customer_id", "joined_date", "left_date"),
        SubjectType("group", "groups", "group_id"),
        SubjectType("prospect", "prospects", "prospect_id", "first_contact_date", "closed_date"),
        SubjectType("staff", "staff", "staff_id", "joined_date", "left_date"),
        SubjectType("reception", "receptions", "reception_id", at_column="arrives_at"),
    )
}

# What the metrics row of a customer holds besides window metrics (models/intermediate/customers/int_customer_metrics.sql), with its contract type.
CUSTOMER_COLUMNS = {
    "brand": "text",
    "plan": "text",
    "region": "text",
    "segment": "text",
    "is_real_name": "boolean",
    "credit_class": "text",
    "joined_date": "date",
    "left_date": "date",
    "tenure_months": "integer",
    "is_in_service": "boolean",
    "spend_amount": "decimal",
    "net_amount": "decimal",
    "first_bill_index": "integer",
    "last_bill_index": "integer",
    "months_since_active": "integer",
}

# Those of them that every customer has in every month.
COUNTED_COLUMNS = frozenset({"is_in_service", "spend_amount", "net_amount"})

# Those of them that hang on which charge types count as spend.
SPEND_COLUMNS = frozenset({"spend_amount", "months_since_active"})

# Rows of these entities are added up into month tables, which later months read instead of the rows.
MONTH_TABLES = ("bill_lines", "points")

# Words of bill lines by which a measure may choose them: those that are there where the lines are added up (int_customer_months.sql).
BILL_LINE_WORDS = ("charge_type", "document_id", "product")
