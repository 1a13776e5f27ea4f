"""The generated reference pages are current and say everything that the code reads."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import pytest

from docs.generate import DOCS, ENVIRONMENT, PAGES
from orchestration.deployment import PROJECT_ROOT, Config
from orchestration.ingest.contracts import load_contracts
from orchestration.policy.check import check_policies
from orchestration.policy.load import load_policy_files
from orchestration.policy.reader import load_schema
from orchestration.policy.substitution import STEPS
from tests.decisions.histories import FIRST_MONTH, Fact, History, Program, Version, expected_rows, period_of


@pytest.mark.parametrize("name", PAGES)
def test_page_is_what_the_generator_gives(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs` and commit the result"


def test_configuration_page_names_every_key_with_its_meaning() -> None:
    page = PAGES["reference/configuration.md"]()
    for name, field in Config.model_fields.items():
        assert f"| `{name}` |" in page
        assert field.description or name in ("title",), f"{name} has no description"


def test_contracts_page_names_every_column() -> None:
    page = PAGES["reference/contracts.md"]()
    for entity, contract in load_contracts().items():
        section = page.split(f"\n## {entity}\n")[1].split("\n## ")[0]
        assert all(f"| `{column}` |" in section for column in contract.columns)


def test_every_environment_variable_that_the_code_reads_is_documented() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "orchestration").rglob("*.py"))
    assert set(re.findall(r"TIERHOUSE_[A-Z_]+", code)) <= set(ENVIRONMENT)


@pytest.mark.parametrize(
    ("seed", "column"),
    [
        ("attributes", "kind"),
        ("measures", "aggregation"),
        ("metrics", "aggregation"),
        ("programs", "method"),
        ("programs", "hit_policy"),
        ("programs", "clock"),
        ("score_dimensions", "scaling"),
        ("score_dimensions", "missing"),
        ("policy_versions", "fall"),
    ],
)
def test_metrics_page_or_a_page_for_policy_owners_explains_every_choice(seed: str, column: str) -> None:
    names = ("reference/metrics-and-methods.md", "policy-owners-guide.md", "how-a-level-is-held.md", "a-program-of-your-own.md")
    pages = [(DOCS / name).read_text(encoding="utf-8") for name in names]
    missing = [choice for choice in load_schema()[seed].columns[column].choices if not any(f"`{choice}`" in page for page in pages)]
    assert missing == []


def test_metrics_page_has_the_causes_of_movement_in_their_order() -> None:
    section = (DOCS / "reference/metrics-and-methods.md").read_text(encoding="utf-8").split("\n## Movement causes\n")[1]
    assert re.findall(r"^\| \d* ?\| `(\w+)` \|", section, re.MULTILINE) == [*STEPS, "joined", "left"]


def test_the_programs_on_the_page_of_new_programs_are_sound(tmp_path: Path) -> None:
    shutil.copytree(DOCS.parent / "seeds", tmp_path / "seeds")
    page = (DOCS / "a-program-of-your-own.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```csv (\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for seed, text in blocks:
        path = tmp_path / "seeds" / f"{seed}.csv"
        header = next(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, header, restval="", lineterminator="\n").writerows(csv.DictReader(io.StringIO(text)))
    policies = load_policy_files(tmp_path / "seeds")
    methods = set(load_schema()["programs"].columns["method"].choices)
    assert {policies.programs[row["program_id"]].method for row in csv.DictReader(io.StringIO(dict(blocks)["programs"]))} == methods
    assert [str(finding) for finding in check_policies(policies)] == []


def test_the_policy_hash_that_pages_show_is_that_of_the_seeds() -> None:
    policies = load_policy_files(DOCS.parent / "seeds")
    [version] = policies.programs["six_star"].versions
    assert re.findall(r"^  Policy hash (\w+)$", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE) == [
        version.policy_hash
    ]
    guide = (DOCS / "policy-owners-guide.md").read_text(encoding="utf-8")
    shown = re.findall(r"^six_star v1: .* policy hash (\w+)$|its hash was (\w+)…", guide, re.MULTILINE)
    assert len(shown) == 2 and all(version.policy_hash.startswith("".join(pair)) for pair in shown)


def test_the_timeline_of_a_held_level_is_what_the_life_cycle_does() -> None:
    section = (DOCS / "how-a-level-is-held.md").read_text(encoding="utf-8").split("fall by one level:\n")[1].split("\n\n")[0].strip()
    told = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in section.splitlines()[2:]]
    # Four months of three stars come before, so that the first month told is no program's first.
    ranks = [3] * 4 + [int(cells[1][0]) for cells in told]
    months = len(ranks)
    program = Program("p", False, (1, 2, 3, 4, 5, 6), (Version("v1", 3, 1, "one_level"),) * months)
    history = History((program,), {("p", "s"): tuple(Fact("decided", rank) for rank in ranks)}, (), months)
    rows = {row["period"]: row for row in expected_rows(history).values()}
    assert period_of(FIRST_MONTH + 4) == told[0][0]
    for month, _, held, review, until in told:
        row = rows[month]
        assert (int(held[0]), review, until) == (row["held"], row["review"], period_of(row["until"]))
