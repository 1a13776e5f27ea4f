"""Every command that the documentation tells a reader to run works, in the order in which a page shows them.

Fenced blocks whose info string ends in ``run`` are run, a page at a time, in one shell, in a folder of its own that looks like the
project's after ``make run``: the state is in ``var/telecom``. Those of ``run slowly`` take minutes, and are run in their place among the
others by the slow tests. What a block prints is not compared.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from _pytest.mark.structures import ParameterSet

from orchestration.cli.main import main
from orchestration.deployment import PROJECT_ROOT
from tests.support import Cli

PAGES = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md")), *sorted((PROJECT_ROOT / "examples").glob("*/*.md"))]
_BLOCK = re.compile(r"^```(?:sh|console) run( slowly)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pages that begin with an empty place; the others begin with two released months of the sample company.
_FROM_NOTHING = {"onboarding-a-source.md"}
# A page that goes back to an earlier catalog needs one: a month is released first.
_RUN_BEFORE = {"going-back.md": "tierhouse run --periods 2026-04"}
# A page about another deployment names it itself.
_OWN_DEPLOYMENT = {"onboarding-a-source.md"}
# A page that edits policies finds the default ones and the sample company's deployment beside it, as in the project.
_WITH_POLICIES = {"policy-owners-guide.md", "channels.md", "a-program-of-your-own.md"}
# Deployments whose page makes the drops and runs all months: they stand in an empty place and write beside it.
_EXAMPLES = [PROJECT_ROOT / "examples" / name for name in ("sales_force", "prospects", "bank", "hotel")]


def runnable(page: Path, slowly: bool = False) -> list[str]:
    """The runnable blocks of a page, in order; ``slowly``: with those that take minutes."""
    return [text for is_slow, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if slowly or not is_slow]


def _runnable_pages() -> list[ParameterSet]:
    """Pages with commands, and whether those that take minutes are run too. Pages that need a run of months of their own are slow."""
    pages = [page for page in PAGES if page.exists() and runnable(page)]
    slow = [page for page in pages if page.name in {*_RUN_BEFORE, *_FROM_NOTHING} or page.parent in _EXAMPLES]
    found = [(page, False, page in slow) for page in pages] + [
        (page, True, True) for page in pages if runnable(page, True) != runnable(page)
    ]
    return [
        pytest.param(page, slowly, marks=[pytest.mark.slow] * is_slow, id=f"{page.relative_to(PROJECT_ROOT)}{' slowly' * slowly}")
        for page, slowly, is_slow in found
    ]


@pytest.mark.parametrize(("page", "slowly"), _runnable_pages())
def test_commands_of_the_page_run(page: Path, slowly: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    state = tmp_path / "var" / "telecom"
    if page.parent in _EXAMPLES:
        shutil.copytree(page.parent, tmp_path / page.parent.relative_to(PROJECT_ROOT))
    elif page.name not in _FROM_NOTHING:
        sample: Cli = request.getfixturevalue("released_sample")
        shutil.copytree(sample.data, state)
        shutil.copytree(sample.drops, state / "drops")
    if page.name in _WITH_POLICIES:
        for folder in ("seeds", "examples/telecom"):
            shutil.copytree(PROJECT_ROOT / folder, tmp_path / folder)
    env = Cli(tmp_path).environment(TIERHOUSE_DEPLOYMENT=str(PROJECT_ROOT / "examples" / "telecom"), TIERHOUSE_DATA=str(state))
    env |= {"TIERHOUSE_DROPS": str(state / "drops"), "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    if page.name in _OWN_DEPLOYMENT | _WITH_POLICIES or page.parent in _EXAMPLES:
        env = {name: value for name, value in env.items() if not name.startswith("TIERHOUSE_")}
    if page.name in _WITH_POLICIES:
        env["TIERHOUSE_DEPLOYMENT"] = str(tmp_path / "examples" / "telecom")
    # One shell for all blocks, as a reader has: what a block leaves behind, its folder for instance, meets the next one.
    blocks = "\n".join([*filter(None, [_RUN_BEFORE.get(page.name)]), *runnable(page, slowly)])
    done = subprocess.run(["bash", "-exuo", "pipefail", "-c", blocks], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{page.name}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        file = page if not target else (page.parent / target).resolve()
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(link)
    assert broken == []


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_that_the_code_sends_a_reader_to_are_there() -> None:
    named = set()
    for folder in ("orchestration", "models", "dbt_project", "seeds", "examples", "expectations"):
        for path in (PROJECT_ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".sql", ".yml", ".yaml", ".md", ".csv"} and "target" not in path.parts:
                named |= {(match, path.name) for match in re.findall(r"\bdocs/[\w/.-]+\.md\b", path.read_text(encoding="utf-8"))}
    assert [entry for entry in sorted(named) if not (PROJECT_ROOT / entry[0]).exists()] == []


def _tierhouse_lines() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if re.match(r"\s*(\.venv/bin/)?tierhouse ", line):
                found.append((str(page.relative_to(PROJECT_ROOT)), line.strip().removeprefix(".venv/bin/")))
            found += [(str(page.relative_to(PROJECT_ROOT)), command) for command in re.findall(r"`(tierhouse [^`…]+)`", line)]
    return [entry for entry in dict.fromkeys(found) if not re.search(r"[A-Z]{4}|<", entry[1])]


@pytest.mark.parametrize(("page", "line"), _tierhouse_lines())
def test_commands_on_a_page_are_commands_with_these_options(page: str, line: str) -> None:
    words = shlex.split(line.split(" #")[0])[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: there is no command {line!r}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    assert unknown == [], f"{page}: {line!r}"
