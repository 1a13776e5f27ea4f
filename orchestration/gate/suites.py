"""The suites as data: ``expectations/*.yaml``, read without importing Great Expectations.

A suite has derived relations (SQL, made in schema ``gate`` in the order given) and checks. A check names a relation and
one or more expectations on it, and the SQL that lists all keys that fail; or only ``none_of``: SQL whose rows are the
failing keys, of which there must be none. A file of the same name (``.yml`` is as good) in ``<deployment>/expectations`` takes the place of
one here, so that a deployment sets its own budgets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestration.deployment import PROJECT_ROOT, Deployment, read_model
from orchestration.errors import BadInput

Severity = Literal["invariant", "approvable", "warning"]


class Expectation(BaseModel):
    """One expectation in the words of Great Expectations."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(pattern=r"^expect_[a-z_]+$", description="expectation as Great Expectations names it")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="its arguments")


class Check(BaseModel):
    """One check. It passes when all its expectations do."""

    model_config = ConfigDict(extra="forbid")

    check: str = Field(pattern=r"^[a-z][a-z0-9_]*__[a-z0-9_]+$", description="a claim: <subject>__<what_holds>")
    severity: Severity = Field(description="invariant: never approved; approvable: holds until two people approve; warning: shown only")
    expected: str = Field(description="what a person reads as the expectation")
    relation: str | None = Field(None, pattern=r"^[a-z_]+\.[a-z_0-9]+$", description="schema.table that the expectations look at")
    expectations: list[Expectation] = Field(default_factory=list)
    failing: str | None = Field(None, description="SQL listing every failing key")
    observe: str | None = Field(None, description="SQL of one text: what was seen, for people; default: the number of failing rows")
    none_of: str | None = Field(None, description="SQL whose rows are the failing keys; there must be none")

    @model_validator(mode="after")
    def _one_form(self) -> Check:
        if self.none_of is None and not (self.relation and self.expectations and self.failing):
            raise ValueError(f"check {self.check} needs either none_of, or relation, expectations and failing")
        if self.none_of is not None and (self.relation or self.expectations or self.failing):
            raise ValueError(f"check {self.check} has none_of, so it takes no relation, expectations or failing")
        return self


class Relation(BaseModel):
    """A derived relation ``gate.<name>``."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z_0-9]+$")
    sql: str


class Suite(BaseModel):
    """One file of ``expectations/``."""

    model_config = ConfigDict(extra="forbid")

    suite: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="name; the file's name without .yaml")
    title: str
    of: Literal["candidate", "drops"] = Field(description="what the suite looks at")
    relations: list[Relation] = Field(default_factory=list)
    checks: list[Check] = Field(min_length=1)


def suite_files(deployment: Deployment) -> list[Path]:
    """The files in force, by name: the project's, each replaced by the deployment's of the same name, and the deployment's own."""
    files: dict[str, Path] = {}
    for folder in (PROJECT_ROOT / "expectations", deployment.folder / "expectations"):
        found = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
        names = [path.stem for path in found]
        if twice := next((path for path in found if names.count(path.stem) > 1), None):
            raise BadInput(f"the suite {twice.stem!r} stands in two files", str(folder), "keep one of them")
        files.update(zip(names, found, strict=True))
    return [files[name] for name in sorted(files)]


def load_suite(path: Path) -> Suite:
    """One suite; BadInput naming file and key if it is not as described above."""
    suite, _ = read_model(Suite, path)
    if suite.suite != path.stem:
        raise BadInput(f"the suite is called {suite.suite!r}", str(path), f"write `suite: {path.stem}`")
    names = [check.check for check in suite.checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"check {twice[0]!r} stands there twice", str(path), "give each check a name of its own")
    return suite


def load_suites(deployment: Deployment) -> list[Suite]:
    """All suites of the deployment. None at all is an error: a gate without checks would let everything pass."""
    suites = [load_suite(path) for path in suite_files(deployment)]
    if not suites:
        raise BadInput("there are no suites", str(PROJECT_ROOT / "expectations"), "restore the files of expectations/")
    names = [check.check for suite in suites for check in suite.checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"check {twice[0]!r} stands in two suites", str(PROJECT_ROOT / "expectations"), "give each check a name of its own")
    return suites


def check_descriptions(deployment: Deployment) -> dict[str, str]:
    """Check → what it expects, how severe a failure is and whose suite it stands in, for people."""
    return {
        check.check: f"Expected: {check.expected}. Severity {check.severity}, suite {suite.suite}."
        for suite in load_suites(deployment)
        for check in suite.checks
    }
