"""A deployment: a folder with ``tierhouse.yaml``, source mappings and policies; and the layout of what runs write.

Nothing here reads drops or policies: see ``ingest.mapping`` and ``policy``.
"""

from __future__ import annotations

import difflib
import os
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from orchestration.errors import BadInput
from orchestration.ledger.readers import owner_of
from orchestration.ledger.store import Ledger
from orchestration.memory import ingest_memory, query_memory
from orchestration.periods import parse_period
from orchestration.sqltext import PATTERN_SIGNS

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DEPLOYMENT = PROJECT_ROOT / "examples" / "telecom"
M = TypeVar("M", bound=BaseModel)
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
PERIOD_PATTERN = r"^\d{4}-(0[1-9]|1[0-2])$"


def known_zone(value: str | None) -> str | None:
    """``value`` if it names a time zone; the ValueError that a model's validator raises if not."""
    if value is not None:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as err:
            raise ValueError(f"{value!r} is no time zone; write an IANA name such as Asia/Shanghai") from err
    return value


class Config(BaseModel):
    """Keys of ``tierhouse.yaml``. Paths are relative to the deployment's folder."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, description="short name; part of folder and catalog names")
    title: str = Field(description="what a person calls this deployment")
    currency: str = Field(pattern=CURRENCY_PATTERN, description="the one currency; rows in others are quarantined")
    timezone: str = Field(description="IANA name; a period is a calendar month in this zone")
    first_period: str = Field(description="the first period that may be materialized, e.g. 2025-01")
    data: str = Field(description="folder for all that runs write: landing, vault, warehouse, releases, ledger, channels")
    drops: str = Field(description="folder under which sources put their drops")
    sources: str = Field("sources", description="folder with one mapping per source")
    policies: str = Field("policies", description="folder whose seed files take the place of those in seeds/")
    customers_from: Literal["customers", "bill_lines"] = Field(
        "customers", description="bill_lines: every customer id on a bill is a customer (a source without customer master)"
    )
    max_bad_share: float = Field(0.02, ge=0, le=1, description="share of bad rows in a file above which the run is held")
    min_bad_rows: int = Field(
        10, ge=1, description="a file with fewer bad rows than this holds nothing, unless more than half of its rows are bad"
    )
    max_moved_share: float = Field(
        0.35, ge=0, le=1, description="share of a program's subjects (30 or more) that may change their level against the month before"
    )
    max_drift: float = Field(
        0.25, ge=0, description="population stability index of a program's levels against the month before above which a month is held"
    )
    failure_webhook: str | None = Field(None, description="address that gets a JSON POST when a Dagster run fails")
    schedule_cron: str = Field(
        "0 6 3-5 * *",
        description="when the monthly schedule runs, in the deployment's time zone; a month that has been released is not run again unless something is new",
    )

    _known_zone = field_validator("timezone")(known_zone)

    @field_validator("failure_webhook")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        # An empty text is none. What cannot be posted to is found when a run fails at night, by nobody.
        if not value:
            return None
        if not re.match(r"https?://[^/\s]", value):
            raise ValueError(f"{value!r} is no address to post to; write one that begins with https:// or http://")
        return value

    @field_validator("first_period")
    @classmethod
    def _is_period(cls, value: str) -> str:
        try:
            period = parse_period(value)
        except BadInput as err:
            raise ValueError(f"{err.what}; {err.remedy}") from err
        # Dagster counts the months from it on, and a year before and behind.
        if not "1900-01" <= period <= "2999-12":
            raise ValueError(f"{value!r} is no month of any bill; write the first month that is to be graded")
        return period


def at_home(path: str, where: str) -> Path:
    """``path`` with the home in the place of a ``~``; BadInput that names ``where`` it stands, if that is nobody's home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as err:
        raise BadInput(f"{path!r} begins with the home of a user who is not known here", where, "write the path in full") from err


def _place(folder: Path, key: str, configured: str) -> Path:
    """The folder that a variable names, else the key of the configuration, from the deployment's folder."""
    variable = f"TIERHOUSE_{key.upper()}"
    if override := os.environ.get(variable):
        return at_home(override, variable).resolve()
    return (folder / at_home(configured, f"key {key!r} of {folder / 'tierhouse.yaml'}")).resolve()


class Deployment:
    """A loaded deployment. Attributes are absolute paths; folders are made when first written to."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        self.name = config.name
        self.data = _place(folder, "data", config.data)
        self.drops = _place(folder, "drops", config.drops)
        self.sources = folder / config.sources
        self.policies = folder / config.policies
        self.landing = self.data / "landing"
        self.quarantine = self.data / "quarantine"
        self.waiting = self.data / "waiting"
        self.vault = self.data / "vault.duckdb"
        self.warehouse = self.data / "warehouse.duckdb"
        self.ledger = self.data / "ledger.sqlite"
        self.gates = self.data / "gates"
        self.releases = self.data / "releases"
        self.catalogs = self.data / "catalogs"
        self.channels = self.data / "channels"
        self.scratch = self.data / "scratch"
        self.lock = self.data / "run.lock"

    @property
    def seeds(self) -> Path:
        """The default policies; a file of the same name in :attr:`policies` takes the place of one here."""
        return PROJECT_ROOT / "seeds"

    @property
    def zone(self) -> ZoneInfo:
        """Time zone in which a timestamp's period is found."""
        return ZoneInfo(self.config.timezone)

    def require_drops(self) -> None:
        """BadInput if the folder of the drops is not there."""
        if not self.drops.is_dir():
            remedy = "make it and put the sources' files there, or correct `drops:` in tierhouse.yaml, or TIERHOUSE_DROPS"
            raise BadInput("the drops folder is not there", str(self.drops), remedy)

    def today(self) -> date:
        """The day in the deployment's time zone."""
        return datetime.now(self.zone).date()


# What to do about a syntax error, by a part of what YAML's parser calls it.
_YAML_REMEDIES = (
    ("'\\t'", "indent with spaces: YAML takes no tabs"),
    ("mapping values are not allowed", "put the value in quotes if it holds `: `, else correct the indentation"),
    ("<block end>", "correct the indentation: keys of one level begin in one column"),
    ("unknown escape character", "write it in single quotes, or the backslash twice"),
    ("character", "put the value in quotes"),
    ("chomping", "put the whole value in quotes: it begins with a sign that YAML reads as its own"),
    ("stands twice", "keep one of the two"),
)


def _yaml_problem(err: yaml.YAMLError) -> tuple[str, str, str]:
    """What, where and remedy of a YAML syntax error: ``("mapping values are not allowed here", "line 3, column 7", "put …")``."""
    mark = getattr(err, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    what = str(getattr(err, "problem", None) or "is not valid YAML")
    return what, where, next((remedy for part, remedy in _YAML_REMEDIES if part in what), "correct the YAML there")


# What a pattern of a model asks for, in words.
_PATTERNS = {
    NAME_PATTERN: "write small letters, digits and _ alone, a letter first",
    CURRENCY_PATTERN: "write the three capital letters of an ISO code, such as CNY",
    PERIOD_PATTERN: "write a period such as 2026-01",
}


def _what_is_wrong(item: Any) -> str:
    """One of pydantic's errors in words for who wrote the file."""
    kind, value = item["type"], item.get("input")
    if kind == "string_type":
        if value is None:
            return "has no value"
        if isinstance(value, (dict, list)):
            return "must be one text; put it in quotes if it begins with a bracket"
        read_as = "true or false" if isinstance(value, bool) else "a number" if isinstance(value, (int, float)) else "a date"
        return f"must be text, and YAML reads this as {read_as}; put it in quotes"
    if kind == "string_pattern_mismatch":
        return f"{value!r} does not fit; {_PATTERNS.get(item['ctx']['pattern'], 'the pattern is ' + item['ctx']['pattern'])}"
    if kind == "list_type":
        return "must be a list: each item begins with `- `"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return "must hold keys and values, indented below it"
    return str(item["msg"]).removeprefix("Value error, ")


def _line_of(text: str, loc: tuple[int | str, ...]) -> int | None:
    """Line of the key at ``loc``, or of the nearest one above it that is there; None in what is no YAML."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose keys stand at ``loc``, as the fields' types say it."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            inner = _models_in(model.model_fields[part].annotation)
            model = inner[0] if inner else model
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]


def _explained(err: ValidationError, model: type[BaseModel], where: str, text: str) -> BadInput:
    """Turn pydantic's errors into one BadInput that names key, line and the key that was probably meant."""
    problems: list[str] = []
    for item in err.errors():
        path = ".".join(str(p) for p in item["loc"])
        key = str(item["loc"][-1]) if item["loc"] else ""
        line = _line_of(text, item["loc"])
        at = f" (line {line})" if line else ""
        if item["type"] == "extra_forbidden":
            known = list(_model_at(model, item["loc"][:-1]).model_fields)
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            problems.append(f"unknown key {path!r}{at}: {hint}")
        elif item["type"] == "missing":
            problems.append(f"key {path!r} is missing{at}")
        else:
            problems.append(f"key {path!r}{at}: {_what_is_wrong(item)}")
    return BadInput("; ".join(problems), where, "correct the file; docs/reference/configuration.md lists every key")


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once: a second one would take the place of the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, *, may_be_empty: bool = False) -> tuple[dict[str, Any], str]:
    """Parsed mapping and text of a YAML file; BadInput if it cannot be read or is no mapping."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise BadInput(f"cannot be read: {err}", str(path), "check that it is there, readable, and UTF-8") from err
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as err:
        what, where, remedy = _yaml_problem(err)
        raise BadInput(what, f"{path}, {where}" if where else str(path), remedy) from err
    if content is None and may_be_empty:
        return {}, text
    if not isinstance(content, dict):
        raise BadInput("holds no keys", str(path), "write `key: value` lines; see examples/telecom")
    return content, text


def read_model(model: type[M], path: Path) -> tuple[M, str]:
    """A YAML file as ``model``, and its text; BadInput that says what is wrong in which line if it is none."""
    content, text = read_yaml(path)
    try:
        return model.model_validate(content), text
    except ValidationError as err:
        raise _explained(err, model, str(path), text) from err


def load_deployment(folder: str | Path | None = None) -> Deployment:
    """Load ``folder`` (default: $TIERHOUSE_DEPLOYMENT, else the sample company)."""
    # A setting that would stop a later step is found before the first.
    ingest_memory()
    query_memory()
    where = "--deployment" if folder else "TIERHOUSE_DEPLOYMENT"
    path = at_home(str(folder or os.environ.get("TIERHOUSE_DEPLOYMENT") or DEFAULT_DEPLOYMENT), where).resolve()
    file = path / "tierhouse.yaml"
    if not file.is_file():
        raise BadInput("no tierhouse.yaml here, so this is no deployment", str(path), "name a folder that holds one: --deployment DIR")
    deployment = Deployment(path, read_model(Config, file)[0])
    # DuckDB would look for other folders' files. Names of drops may have them: these are read one by one. And of a folder `period=2026-06` it
    # makes a column of every file below it, in the place of the file's own.
    signs = {**dict.fromkeys(PATTERN_SIGNS, "reads as a pattern"), "=": "reads as a column of its files"}
    if found := next((sign for sign in signs if sign in str(deployment.data)), None):
        remedy = f"move it to a path without {', '.join(signs)} and name that under `data:`, or in TIERHOUSE_DATA"
        raise BadInput(f"the path of the data folder has a {found}, which {signs[found]}", str(deployment.data), remedy)
    _check_owner(deployment)
    return deployment


def _check_owner(deployment: Deployment) -> None:
    """BadInput if another deployment's rows have landed in the data folder: releases, channels and vault of two companies would be mixed."""
    owner = owner_of(Ledger(deployment.ledger))
    if owner is not None and owner != deployment.name:
        raise BadInput(
            f"this is the data folder of deployment {owner!r}, and not of {deployment.name!r}",
            str(deployment.data),
            "name the deployment's own under `data:` in its tierhouse.yaml, and set TIERHOUSE_DATA for no other; where `name` was changed, "
            "change it back",
        )
