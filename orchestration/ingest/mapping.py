"""Source mappings: YAML files that take a source's drops to the contracts, checked whole before any row is read.

Not here: whether the files hold the columns that a mapping names (a question to each file, see ``run``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestration.deployment import NAME_PATTERN, PERIOD_PATTERN, Deployment, known_zone, read_model
from orchestration.errors import BadInput
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.expressions import Expression, Parser, nearest
from orchestration.ingest.names import base_name, in_one_form
from orchestration.ledger.store import digest


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


def _pattern(value: str | None) -> str | None:
    if value is not None:
        try:
            re.compile(value)
        except re.error as err:
            raise ValueError(f"{value!r} is no regular expression: {err}") from err
    return value


def _glob(value: str) -> str:
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError(f"{value!r} leaves the drops folder")
    # Versions of Python read these in different ways.
    *folders, name = Path(value).parts or ("",)
    if name == "**" or any("**" in part and part != "**" for part in (*folders, name)):
        raise ValueError(f"{value!r} is no pattern for file names: ** stands for folders, alone between two signs /, as in **/*.csv")
    try:
        # Of what is no folder nothing is listed, but the pattern is read.
        next(Path(os.devnull).glob(value), None)
    except (ValueError, NotImplementedError) as err:
        raise ValueError(f"{value!r} is no pattern for file names: {err}") from err
    return value


def _separator(value: str | None) -> str | None:
    if value is not None and len(value) != 1:
        raise ValueError('must be one character; a tab is "\\t", in double quotes')
    if value is not None and value in '"\r\n':
        raise ValueError(f"{value!r} cannot stand between values: it ends lines or quotes values")
    return value


class Unpivot(_Strict):
    """Months (or kinds) that stand in columns become rows: ``name`` holds the column's name, ``value`` its value."""

    columns: list[str] | None = Field(None, description="the columns, by name")
    pattern: str | None = Field(
        None, description="or a regular expression on the names; its first group (without a group the whole name) is the value of `name`"
    )
    name: str = Field(description="column that gets the name")
    value: str = Field(description="column that gets the value; empty cells give no row")

    _check = field_validator("pattern")(_pattern)

    @model_validator(mode="after")
    def _one_of(self) -> Unpivot:
        if (self.columns is None) == (self.pattern is None):
            raise ValueError("give either `columns` or `pattern`")
        return self


class Expected(_Strict):
    """A promise of the source; a period in which it is not kept is not closed."""

    files_per_period: int = Field(1, ge=1, description="at least so many files per period")
    period_from_name: str = Field(
        description="regular expression on the file name with two groups, year and month in this order or called so (`(?P<month>…)`); with a `/` in it, on the path under the drops folder"
    )
    first_period: str | None = Field(
        None, pattern=PERIOD_PATTERN, description="first period that is promised, of a source that begins after the others"
    )

    @field_validator("period_from_name")
    @classmethod
    def _two_groups(cls, value: str) -> str:
        _pattern(value)
        if re.compile(value).groups < 2:
            raise ValueError(f"{value!r} needs two groups, for year and month")
        return value


class ControlColumns(_Strict):
    """SQL expressions over the columns of a control file."""

    file: str = Field(description="base name of the drop")
    rows: str = Field(description="its number of data rows")
    amount: str | None = Field(None, description="sum of its amounts")
    replaces: str | None = Field(None, description="base name of the drop whose place this one takes: none of its rows counts any more")


class Control(_Strict):
    """Control totals: what the source says each drop holds."""

    files: str = Field(description="glob under the drops folder")
    columns: ControlColumns = Field(description="SQL expressions over the columns of the control file")
    amount_column: str | None = Field(None, description="contract column that the amount is the sum of")
    encoding: Literal["utf-8", "gb18030"] | None = Field(None, description="default: the feed's")
    delimiter: str | None = Field(None, description="default: the feed's, else a comma")

    _files = field_validator("files")(_glob)
    _delimiter = field_validator("delimiter")(_separator)


class FeedConfig(_Strict):
    """What one source delivers of one entity."""

    entity: str = Field(description="entity of the contracts that the files hold")
    files: str = Field(description="glob under the drops folder; files are taken in name order, so later names are newer")
    format: Literal["csv", "parquet", "jsonl"] = Field(description="csv, parquet or jsonl; a name that ends in .gz is packed")
    encoding: Literal["utf-8", "gb18030"] = Field("utf-8", description="of csv and jsonl; a byte order mark is tolerated")
    delimiter: str = Field(",", description="one character between the values of a csv")
    header: bool = Field(True, description="whether the first row of a csv names its columns; else they are column0, column1, …")
    columns: dict[str, str] = Field(description="contract column: SQL expression over the file's columns")
    optional_columns: list[str] = Field(default_factory=list, description="columns of the file that may be absent; they are then null")
    timezone: str | None = Field(None, description="zone of timestamps without one; default: the deployment's")
    unattributed: str | None = Field(
        None,
        description="SQL predicate: rows that belong to no customer, whatever customer or number they name; landed and counted, in no decision",
    )
    where: str | None = Field(None, description="SQL predicate: rows of the file that belong to this entity")
    unpivot: Unpivot | None = Field(None, description="columns that become rows")
    expected: Expected | None = Field(None, description="files that the source promises for each period")
    control: Control | None = Field(None, description="control totals of the files")

    _zone = field_validator("timezone")(known_zone)
    _files = field_validator("files")(_glob)
    _delimiter = field_validator("delimiter")(_separator)


class MappingConfig(_Strict):
    """Keys of a file in ``sources/``."""

    source: str = Field(pattern=NAME_PATTERN, description="short name of the source; part of folder and asset names")
    title: str = Field(description="what a person calls the source")
    feeds: list[FeedConfig] = Field(description="one per entity that the source delivers")


@dataclass(frozen=True)
class Feed:
    """One entity of one source, with its expressions checked."""

    source: str
    config: FeedConfig
    contract: Contract
    columns: dict[str, Expression]
    unattributed: Expression | None
    where: Expression | None
    control: dict[str, Expression]
    mapping_file: Path
    mapping_text: str

    @property
    def entity(self) -> str:
        """Entity that the feed delivers."""
        return self.contract.entity

    @property
    def id(self) -> str:
        """``source__entity``, as assets are named."""
        return f"{self.source}__{self.entity}"

    @property
    def expressions(self) -> dict[str, Expression]:
        """Every expression over the columns of a drop, by the mapping's key."""
        told = {"unattributed": self.unattributed, "where": self.where}
        return {**self.columns, **{key: expression for key, expression in told.items() if expression is not None}}

    @property
    def may_raise(self) -> bool:
        """Whether an expression calls a function that can fail for a row."""
        return any(expression.raised is not None for expression in self.expressions.values())

    @property
    def mapping_hash(self) -> str:
        """SHA-256 of what decides how a file of this feed is read (not of its titles, promises or control totals)."""
        content = self.config.model_dump(exclude={"files", "expected", "control"})
        return digest(content)

    def place(self, key: str) -> str:
        """File, line and key of the mapping, for a message."""
        return _place(self.mapping_file, self.mapping_text, self.entity, key)

    def period_of(self, name: str) -> str | None:
        """Period that the name of a drop states, if the feed promises files per period; its folders where the promise asks for one."""
        if self.config.expected is None:
            return None
        pattern = in_one_form(self.config.expected.period_from_name)
        match = re.search(pattern, in_one_form(name) if "/" in pattern else base_name(name))
        named = match.groupdict() if match else {}
        year, month = (named["year"], named["month"]) if {"year", "month"} <= named.keys() else match.group(1, 2) if match else ("", "")
        # What a pattern takes for a month need not be one.
        is_month = re.fullmatch(r"(19|2[01])\d\d", year or "", re.ASCII) and re.fullmatch(r"0?[1-9]|1[0-2]", month or "", re.ASCII)
        return f"{year}-{int(month):02d}" if is_month else None


@dataclass(frozen=True)
class SourceMapping:
    """A loaded mapping file."""

    source: str
    title: str
    path: Path
    feeds: list[Feed]


def _place(path: Path, text: str, entity: str, key: str) -> str:
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip().removeprefix("- ").strip()
        if bare.startswith("entity:"):
            inside = bare.split(":", 1)[1].strip().strip("\"'") == entity
        if inside and re.search(rf"(^|[{{,\s]){re.escape(key)}\s*:", line):
            return f"{path}, line {number}, feed {entity}, key {key}"
    return f"{path}, feed {entity}, key {key}"


def _feed(config: FeedConfig, source: str, path: Path, text: str, parser: Parser, problems: list[BadInput]) -> Feed | None:
    def refuse(key: str, what: str, remedy: str) -> None:
        problems.append(BadInput(what, _place(path, text, config.entity, key), remedy))

    contracts = load_contracts()
    contract = contracts.get(config.entity)
    if contract is None:
        refuse("entity", f"there is no entity {config.entity!r}", nearest(config.entity, contracts))
        return None

    def parse(key: str, expression: str | None) -> Expression | None:
        if expression is None:
            return None
        try:
            return parser.parse(expression, _place(path, text, config.entity, key))
        except BadInput as err:
            problems.append(err)
            return None

    columns: dict[str, Expression] = {}
    for name, expression in config.columns.items():
        if name not in contract.columns:
            refuse(name, f"{contract.entity} has no column {name!r}", nearest(name, contract.columns))
        elif parsed := parse(name, expression):
            columns[name] = parsed
    missing = [n for n, c in contract.columns.items() if c.required and n not in config.columns]
    if contract.entity == "bill_lines" and not {"bill_period", "billed_at"} & set(config.columns):
        missing.append("bill_period (or billed_at)")
    if missing:
        refuse("columns", f"required columns are not mapped: {', '.join(missing)}", "map each to an expression or a constant")
    if config.control and config.control.amount_column not in (None, contract.amount_column):
        added = f"are those of {contract.amount_column}" if contract.amount_column else "are not added up: its totals compare rows"
        also = "" if contract.amount_column else ", and `amount`"
        refuse("amount_column", f"amounts of {contract.entity} {added}", f"leave `amount_column` out{also}")
    control = config.control.columns.model_dump(exclude_none=True) if config.control else {}
    parsed_control = {key: parsed for key, expression in control.items() if (parsed := parse(key, expression))}
    return Feed(
        source=source,
        config=config,
        contract=contract,
        columns=columns,
        unattributed=parse("unattributed", config.unattributed),
        where=parse("where", config.where),
        control=parsed_control,
        mapping_file=path,
        mapping_text=text,
    )


def load_mappings(deployment: Deployment) -> list[SourceMapping]:
    """All mappings of the deployment by name; one BadInput with every problem found."""
    if not deployment.sources.is_dir():
        raise BadInput("the folder with source mappings is not there", str(deployment.sources), "make it, with one YAML file per source")
    parser = Parser()
    problems: list[BadInput] = []
    mappings: list[SourceMapping] = []
    names: dict[str, Path] = {}
    for path in sorted([*deployment.sources.glob("*.yaml"), *deployment.sources.glob("*.yml")]):
        try:
            config, text = read_model(MappingConfig, path)
        except BadInput as err:
            problems.append(err)
            continue
        if config.source in names:
            problems.append(
                BadInput(
                    f"source {config.source!r} is also mapped in {names[config.source].name}",
                    str(path),
                    "give each source one file and one name",
                )
            )
        names[config.source] = path
        feeds = [feed for item in config.feeds if (feed := _feed(item, config.source, path, text, parser, problems))]
        seen: set[str] = set()
        for feed in feeds:
            if feed.entity in seen:
                problems.append(
                    BadInput(f"entity {feed.entity!r} has two feeds", str(path), "make it two sources: a source has one feed per entity")
                )
            seen.add(feed.entity)
        mappings.append(SourceMapping(config.source, config.title, path, feeds))
    if problems:
        raise together(problems)
    if not mappings:
        raise BadInput("no source mapping here", str(deployment.sources), "add one YAML file per source; see examples/telecom/sources")
    return mappings


def together(problems: list[BadInput]) -> BadInput:
    """Several problems as one error that names each."""
    if len(problems) == 1:
        return problems[0]
    return BadInput(
        f"{len(problems)} problems in the mappings:\n"
        + "\n".join(f"  - {problem.where}: {problem.what}; {problem.remedy}" for problem in problems),
        remedy="correct them; nothing was read or landed",
        details={"problems": [problem.as_json() for problem in problems]},
    )
