"""Writes the reference pages that are made from code and data: ``make docs``, or ``python -m docs.generate``.

Each page is a function to text; ``tests/docs`` checks that what stands in ``docs/reference`` is what they give. Of
``metrics-and-methods.md`` only the tables are made, between marks in a page that is written by hand.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestration.deployment import Config, load_deployment
from orchestration.gate.suites import load_suites
from orchestration.ingest.contracts import Column, load_contracts
from orchestration.ingest.expressions import FUNCTIONS
from orchestration.ingest.mapping import Control, ControlColumns, Expected, FeedConfig, MappingConfig, Unpivot
from orchestration.policy.load import load_policy_files
from orchestration.policy.model import Attribute, Condition, Dimension, Policies, Version
from orchestration.policy.operands import all_attributes
from orchestration.policy.reader import ColumnSchema, Row, load_schema
from orchestration.release.descriptions import mart_descriptions

DOCS = Path(__file__).resolve().parent
# Parts of a source mapping: heading, model, what the part is.
_MAPPING: list[tuple[str, type[BaseModel], str]] = [
    ("Source", MappingConfig, "The keys of a file in `sources/`."),
    ("Feed", FeedConfig, "One item of `feeds`: what the source delivers of one entity."),
    ("unpivot", Unpivot, "For files in which months (or kinds) stand in columns."),
    ("expected", Expected, "A promise of files per period. A period in which it is not kept is not closed, and is held."),
    ("control", Control, "Control totals. A period with a file that does not agree is not closed, and is held."),
    ("control.columns", ControlColumns, "Expressions over the columns of a control file."),
]
_MADE = "<!-- Made by `make docs`. Do not edit by hand. -->"

# What the code reads from the environment. A test checks that the code reads no other TIERHOUSE_ variable.
ENVIRONMENT = {
    "TIERHOUSE_DEPLOYMENT": "folder of the deployment, where `--deployment` is not given",
    "TIERHOUSE_DATA": "takes the place of `data:` in `tierhouse.yaml`; for tests and trials. Refused where another deployment's rows have landed",
    "TIERHOUSE_DROPS": "takes the place of `drops:` in `tierhouse.yaml`; for tests and trials",
    "TIERHOUSE_INGEST_MEMORY": "memory that ingest may use, as DuckDB writes sizes; default `4GB`",
    "TIERHOUSE_MEMORY_LIMIT": "memory that the gate, a release and `tierhouse status` may each use, as DuckDB writes sizes; default `4GB`",
    "DAGSTER_HOME": "Dagster's folder with its records of runs; default the project. One without `dagster.yaml` gets the project's settings",
    "TIERHOUSE_WAREHOUSE": "set by a run for dbt: the warehouse file",
    "TIERHOUSE_DBT_READY": "set by a run for dbt: where a dbt that is imported already waits for the call",
    "TIERHOUSE_FAILPOINT": "for tests only: kills the process at a named step (`orchestration/failpoints.py`)",
}

# The first three are what nearly every deployment delivers; the rest follow by name.
_FIRST = ("customers", "bill_lines", "lines")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "see below"
    named = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
    if len(named) == 1 and typing.get_origin(annotation) is not list:
        return _type_name(named[0])
    if named:
        kind = {list: "list", dict: "keys and values"}[typing.get_origin(annotation)]
        inner = _type_name(named[-1])
        return kind if inner == "see below" else f"{kind} of {inner}" if kind == "list" else kind
    return {"str": "text", "float": "number", "int": "whole number", "bool": "`true` or `false`"}.get(
        annotation.__name__, annotation.__name__
    )


def model_rows(model: type[BaseModel]) -> list[list[str]]:
    """Key, type, default and meaning of every field of a configuration model."""
    rows = []
    for name, field in model.model_fields.items():
        if field.is_required():
            default = "required"
        elif field.default in (None, PydanticUndefined):
            default = "none"
        else:
            default = f"`{field.default}`"
        rows.append([f"`{field.alias or name}`", _type_name(field.annotation), default, field.description or ""])
    return rows


def _mapping_parts() -> list[str]:
    parts = []
    for heading, model, what in _MAPPING:
        parts += [f"### {heading}", what, table(["key", "type", "default", "meaning"], model_rows(model))]
    return parts


def configuration_page() -> str:
    """The keys of ``tierhouse.yaml`` and of source mappings, and the environment variables."""
    example = (DOCS.parent / "examples" / "telecom" / "tierhouse.yaml").read_text(encoding="utf-8").strip()
    parts = [
        "# Configuration",
        _MADE,
        "A deployment is a folder with a file `tierhouse.yaml`. Paths in it are relative to that folder. "
        "An unknown key is an error that names the key which was probably meant.",
        "## tierhouse.yaml",
        table(["key", "type", "default", "meaning"], model_rows(Config)),
        "The sample company's file:",
        f"```yaml\n{example}\n```",
        "## Environment",
        table(["variable", "meaning"], [[f"`{name}`", meaning] for name, meaning in ENVIRONMENT.items()]),
        "## Source mappings",
        "One YAML file per source. [Onboarding a source](../onboarding-a-source.md) shows how to write one; "
        "[contracts](contracts.md) lists the columns that it may fill.",
        *_mapping_parts(),
        "### Functions",
        "What an expression may call, besides casts, `case`, comparisons, `and`, `or`, `not`, `in`, `between` and `is null`:",
        ", ".join(f"`{name}`" for name in sorted(FUNCTIONS) if name.isidentifier()) + "; `+` `-` `*` `/` `%` `||` `->>`.",
        "`pseudonym(text)` gives a salted hash, the same for the same text within a deployment.",
    ]
    return "\n\n".join(parts) + "\n"


def _rules(column: Column) -> str:
    """What a value must satisfy, in words."""
    parts = ["required"] if column.required else []
    if column.allowed:
        parts.append("one of " + ", ".join(f"`{value}`" for value in column.allowed))
    if column.minimum is not None:
        parts.append(f"at least {column.minimum:g}")
    if column.maximum is not None:
        parts.append(f"at most {column.maximum:g}")
    if column.allowed_currency:
        parts.append("the deployment's currency")
    if column.negative:
        parts.append("negative only on a credit note or an adjustment")
    if column.not_before:
        parts.append(f"not before `{column.not_before}`, or the row takes its key back")
    if column.changes_with:
        parts.append(f"changes with `{column.changes_with}`")
    if column.references:
        parts.append(f"must exist in `{column.references}`")
    if column.personal:
        parts.append("**personal**: kept in the vault only")
    return "; ".join(parts)


def contracts_page() -> str:
    """Every entity that a source may deliver, with its columns."""
    found = load_contracts()
    contracts = {name: found[name] for name in [*_FIRST, *sorted(found.keys() - set(_FIRST))]}
    parts = [
        "# Contracts",
        _MADE,
        "An entity is a kind of data that a source may deliver. Only `customers` and `bill_lines` are required, and a deployment with "
        "`customers_from: bill_lines` needs no `customers`. A row that breaks a rule goes to quarantine with every reason.",
        table(["entity", "grain", "what"], [[f"[{name}](#{name})", c.grain, c.description] for name, c in contracts.items()]),
    ]
    for name, contract in contracts.items():
        facts = [f"Grain: {contract.grain}. Key: {', '.join(f'`{key}`' for key in contract.key)}."]
        if contract.period_from:
            facts.append(f"Period: from `{contract.period_from}`.")
        if contract.history:
            facts.append(f"Effective-dated by `{contract.history}`.")
        rows = [[f"`{n}`", c.type, _rules(c), c.description] for n, c in contract.columns.items()]
        parts += [f"## {name}", contract.description, " ".join(facts), table(["column", "type", "rules", "meaning"], rows)]
    return "\n\n".join(parts) + "\n"


def policies_page() -> str:
    """Every seed with its columns, and the programs, levels and rules that the defaults hold."""
    policies = load_policy_files(DOCS.parent / "seeds")
    parts = [
        "# Policies",
        _MADE,
        "Policies are CSV files in `seeds/`. A deployment replaces a file by one of the same name in its own `policies/` folder. "
        "They open in a spreadsheet; save them as CSV in UTF-8. What is ambiguous is refused with row and column.",
        "## Programs in the default seeds",
    ]
    for program in policies.programs.values():
        parts += [f"### {program.program_id}: {program.row['name_en']} ({program.row['name_zh']})", program.row["description"] or ""]
        parts.append(f"Method: {program.method}. Hit policy: {program.hit_policy}. Subject: {program.subject_type}.")
        for version in program.versions:
            parts += _version_parts(version)
    parts += ["## Files", table(["file", "what", "owner"], [[f"[{n}.csv](#{n}csv)", s.title, s.owner] for n, s in load_schema().items()])]
    for name, schema in load_schema().items():
        parts += [f"### {name}.csv", f"{schema.title}. Owner: {schema.owner}."]
        if schema.key:
            parts.append(f"Key: {', '.join(f'`{key}`' for key in schema.key)}.")
        columns = [[f"`{n}`", _seed_type(c), "yes" if c.required else "no", c.description] for n, c in schema.columns.items()]
        parts.append(table(["column", "type", "required", "meaning"], columns))
    return "\n\n".join(part for part in parts if part) + "\n"


def _holds_when(conditions: Sequence[Condition]) -> str:
    return " and ".join(f"`{c.shown}`" for c in conditions) or "always"


def _version_parts(version: Version) -> list[str]:
    """Rules of one version, and what stands around them: life cycle, scope, caps, bands, dimensions."""
    until = f" to {version.valid_to}" if version.valid_to else " on"
    parts = [f"Version {version.version}, from {version.valid_from}{until}: {version.row['note'] or ''}"]
    rules = [[str(rule.order), f"`{rule.rule_id}`", rule.level_id, _holds_when(rule.conditions)] for rule in version.rules]
    parts.append(table(["order", "rule", "level", "holds when"], rules))
    if version.validity_months:
        fall = "to the qualified level" if version.fall == "to_qualified" else "by one level"
        grace = f", and {version.grace_months} more in grace" if version.grace_months else ""
        parts.append(f"A level is held for {version.validity_months} periods{grace}; at review it falls {fall}.")
    if version.scope_rules:
        parts.append(table(["not graded", "when"], [[f"`{rule.rule_id}`", _holds_when(rule.conditions)] for rule in version.scope_rules]))
    if version.caps:
        parts.append(
            table(["cap", "at most", "when"], [[f"`{cap.cap_id}`", cap.level_id, _holds_when(cap.conditions)] for cap in version.caps])
        )
    for attribute in all_attributes(version.attributes):
        if attribute.bands:
            lows = [None, *(band.below for band in attribute.bands)]
            rows = [[f"`{band.band_id}`", _range(low, band.below)] for low, band in zip(lows, attribute.bands, strict=False)]
            parts.append(table([f"`{attribute.attribute_id}`", f"`{attribute.of[0].attribute_id}`"], rows))
        if attribute.dimensions:
            rows = [
                [f"`{d.dimension_id}`", d.group, f"`{d.attribute.attribute_id}`", f"{d.weight:f}", _scaling(d), d.missing]
                for d in attribute.dimensions
            ]
            parts.append(table([f"`{attribute.attribute_id}`", "group", "of", "weight, %", "scaling", "if missing"], rows))
    return parts


def _range(low: Decimal | None, below: Decimal | None) -> str:
    if below is None:
        return "any" if low is None else f"{low:f} and above"
    return f"below {below:f}" if low is None else f"{low:f} to below {below:f}"


def _scaling(dimension: Dimension) -> str:
    if dimension.scaling == "min_max":
        low = "the lowest" if dimension.low is None else f"{dimension.low:f}"
        return f"min_max, {low} to {'the highest' if dimension.high is None else f'{dimension.high:f}'}"
    if dimension.scaling == "bands":
        lows = [None, *(below for below, _ in dimension.bands)]
        return "bands: " + "; ".join(f"{_range(low, below)} {score:f}" for low, (below, score) in zip(lows, dimension.bands, strict=False))
    return dimension.scaling


def _seed_type(column: ColumnSchema) -> str:
    if column.choices:
        return "one of " + ", ".join(f"`{choice}`" for choice in column.choices)
    return column.type if column.minimum is None else f"{column.type}, {column.minimum} to {column.maximum}"


def checks_page() -> str:
    """Every check of the gate, by suite."""
    parts = [
        "# Checks of the gate",
        _MADE,
        "A deployment replaces a suite by a file of the same name in its own folder `expectations/`. "
        "*invariant* and *approvable* checks hold a release, *warning* is shown only.",
    ]
    for suite in load_suites(load_deployment(DOCS.parent / "examples" / "telecom")):
        rows = [[f"`{check.check}`", check.severity, check.expected] for check in suite.checks]
        parts += [f"## {suite.suite}", f"{suite.title}.", table(["check", "severity", "expected"], rows)]
    return "\n\n".join(parts) + "\n"


def _counted(row: Row) -> str:
    """What one row adds to a measure, and which rows count."""
    entity = row["entity"]
    what = {
        "sum": f"sum of `{entity}.{row['column_name']}`",
        "count": f"number of rows of `{entity}`",
        "margin": f"sum of `{entity}.net_amount` less `{entity}.cost_amount`",
        "flag": "a state of the month",
    }[row["aggregation"]]
    if not row["filter_column"]:
        return what
    return f"{what} where `{row['filter_column']}` is {' or '.join(f'`{value}`' for value in row['filter_values'])}"


def _measures_table(policies: Policies) -> str:
    rows = [
        [f"`{name}`", _counted(m.row), m.row["unit"] or "", m.row["name_en"], m.row["name_zh"], m.row["description"] or ""]
        for name, m in policies.measures.items()
    ]
    return table(["measure", "is", "unit", "name", "", "note"], rows)


def _metrics_table(policies: Policies) -> str:
    rows = []
    for name, metric in policies.metrics.items():
        what = f"months with `{metric.measure.measure_id}`" if metric.aggregation == "months" else f"sum of `{metric.measure.measure_id}`"
        rows.append([f"`{name}`", metric.subject_type, what, f"`{metric.window}`", metric.row["unit"], metric.row["name_zh"]])
    return table(["metric", "of a", "is", "window", "unit", ""], rows)


def _formula(attribute: Attribute) -> str:
    """What an attribute is made of, by its kind."""
    of = [f"`{part.attribute_id}`" for part in attribute.of]
    metric = f"`{attribute.metric.metric_id}`" if attribute.metric else ""
    months = f"`{attribute.months.metric_id}`" if attribute.months else ""
    divisor = f"`{attribute.divisor.metric_id}`" if attribute.divisor else ""
    return {
        "column": f"`{attribute.entity}.{attribute.column_name}`" if attribute.entity else f"`{attribute.column_name}` of the metrics row",
        "metric": metric,
        "average": f"{metric} / {months}",
        "ratio": f"100 × {metric} / {divisor}",
        "months_since": f"months since `{attribute.entity}.{attribute.column_name}`",
        "first_known": ", else ".join(of),
        "score": "`score_dimensions` of the version",
        "nomination": "highest approved level in force",
        "application": "state of the application that counts",
    }.get(attribute.kind, f"{attribute.kind} of {', '.join(of)}")


def _attributes_table(policies: Policies) -> str:
    rows = [
        [f"`{name}`", a.subject_type, a.kind, _formula(a), a.type, a.unit, "yes" if a.may_be_null else "no", a.row["name_zh"]]
        for name, a in policies.attributes.items()
    ]
    return table(["attribute", "of a", "kind", "is", "type", "unit", "may be null", ""], rows)


def _programs_table(policies: Policies) -> str:
    rows = []
    for name, program in policies.programs.items():
        levels = " > ".join(level.level_id for level in sorted(program.levels, key=lambda level: -level.rank))
        row = program.row
        rows.append([f"`{name}`", row["name_zh"], program.subject_type, program.method, program.hit_policy, row["clock"], levels])
    return table(["program", "", "grades a", "method", "hit policy", "clock", "levels, highest first"], rows)


def metrics_page() -> str:
    """The page as it stands, with its tables of default seeds made anew."""
    page = (DOCS / "reference" / "metrics-and-methods.md").read_text(encoding="utf-8")
    policies = load_policy_files(DOCS.parent / "seeds")
    tables = {
        "programs": _programs_table,
        "measures": _measures_table,
        "metrics": _metrics_table,
        "attributes": _attributes_table,
    }
    for name, make in tables.items():
        begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- end of {name} -->"
        body = f"{begin}\n\n{make(policies)}\n\n{end}"
        page, found = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, body=body: body, page, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"docs/reference/metrics-and-methods.md has {found} places for the table of {name}; it needs one")
    return page


_JOINS = """\
## Joins

- `fct_decisions` has a row for each **program** and subject. Name one `program_id` before amounts of other marts are added up, or a
  customer's spend counts once for every program that grades customers.
- Where `subject_type` is `customer`, `subject_id` is the `customer_id` of `dim_customers`, `fct_customer_spend` and `fct_customer_tags`. Who has
  left has a last row in `fct_decisions` (`movement` is `left`) and, without a bill, none in these: a left join keeps it.
- A row whose `status` is not `decided` has no level, and the customer may have spend all the same.
- `level_id` is unique in its program alone: join `dim_levels` by `program_id` and `level_id`.
- Money of no customer is in `fct_conservation` alone (`unattributed_amount`).
- A sum over a window is in the `evidence` of the programs that compare it (`evidence ->> 'spend_12m'`).
- Names of attributes, rules and metrics are in the policies of the run, `policy/<seed>.csv` in the folder of the release.

## Several months

A release holds one period. For several read the files that the catalog names: a pattern over all folders would count a period once for
each of its revisions, and those that were rolled back.

```sh run
python - <<'EOF'
import duckdb
con = duckdb.connect()
con.sql(\"\"\"
    set variable decisions = (
        select ['var/telecom/releases/' || release || '/fct_decisions.parquet' for release in map_values(periods)]
        from read_json('var/telecom/catalogs/current.json', columns = {periods: 'map(varchar, varchar)'})
    )
\"\"\")
print(con.sql(\"\"\"
    select period, level_id, count(*) as customers
    from read_parquet(getvariable('decisions'), union_by_name = true)
    where program_id = 'six_star' and level_id is not null
    group by all
    order by all
\"\"\"))
EOF
```"""

_FOLDERS = {
    "grading": "Levels",
    "movement": "Movement",
    "customers": "Customers",
    "contacts": "Contacts",
    "workflow": "Workflow",
    "audit": "Balance of money",
    "reference": "Names",
}


def marts_page() -> str:
    """Every mart of a release with its columns, by folder."""
    marts = mart_descriptions()
    first = {name: mart.text.split("\n\n") for name, mart in marts.items()}
    rows = [
        [f"[{name}](#{name})", title, paragraphs[0].removeprefix("Grain: "), next((p.removeprefix("Purpose: ") for p in paragraphs if p.startswith("Purpose: ")), "")]
        for folder, title in _FOLDERS.items()
        for name, paragraphs in first.items()
        if marts[name].folder == folder
    ]  # fmt: skip
    parts = [
        "# Marts",
        _MADE,
        "What a release holds: each mart is a Parquet file, `releases/<release>/<mart>.parquet`, and a table of `releases/<release>/tierhouse.duckdb`, with "
        "the rows of its period alone. In the DuckDB file the texts below are comments of tables and columns (`duckdb_tables()`, `duckdb_columns()`). "
        "Which release of a period readers see is in `catalogs/current.json` and in `tierhouse releases`. Amounts are in the deployment's currency.",
        table(["mart", "about", "grain", "purpose"], rows),
        _JOINS,
    ]
    for name in (row[0].split("]")[0][1:] for row in rows):
        mart = marts[name]
        columns = [[f"`{column}`", mart.types[column], text] for column, text in mart.columns.items()]
        parts += [f"## {name}", mart.text, table(["column", "type", "meaning"], columns)]
    return "\n\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/configuration.md": configuration_page,
    "reference/contracts.md": contracts_page,
    "reference/policies.md": policies_page,
    "reference/checks.md": checks_page,
    "reference/metrics-and-methods.md": metrics_page,
    "reference/marts.md": marts_page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
