"""The pages of the UI in a real browser: what the definitions say is what a person sees, and the level chart is drawn."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.deployment import PROJECT_ROOT
from orchestration.wiring.launch import project_instance
from orchestration.wiring.metadata import level_metadata
from orchestration.wiring.translator import DECISIONS_KEY
from tests.wiring.browser import browser, open_page

COUNTS = [
    {"program_id": "six_star", "period": "2026-06", "level_id": "star_1", "subjects": 75},
    {"program_id": "six_star", "period": "2026-06", "level_id": "star_6", "subjects": 25},
]
GROUPS = ["channels", "intermediate", "landing", "marts", "policy", "raw", "release", "staging"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(browser() is None, reason="there is no chromium on this machine"),
]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the UI over the sample's definitions, with one materialization of the decisions on record."""
    folder = tmp_path_factory.mktemp("ui")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_HOME", str(folder / "home"))
        yield from _served(folder)


def _served(folder: Path) -> Iterator[str]:
    with project_instance() as instance:
        metadata = level_metadata(COUNTS)
        instance.report_runless_asset_event(dg.AssetMaterialization(DECISIONS_KEY, partition="2026-06", metadata=metadata))
    port = _free_port()
    environment = {**os.environ, "TIERHOUSE_DATA": str(folder / "data"), "TIERHOUSE_DROPS": str(folder / "drops")}
    command = [sys.executable, "-m", "dagster_webserver", "-m", "orchestration.definitions", "-h", "127.0.0.1", "-p", str(port)]
    log = folder / "webserver.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def test_nobody_is_asked_for_a_mail_address(ui: str) -> None:
    request = urllib.request.Request(f"{ui}/graphql", b'{"query": "{ shouldShowNux }"}', {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == {"data": {"shouldShowNux": False}}


def test_the_groups_are_listed_and_the_level_chart_is_drawn(ui: str, tmp_path: Path) -> None:
    with open_page(tmp_path / "profile") as page:
        page.go(f"{ui}/asset-groups")
        page.wait_for(f"{GROUPS}.every(name => document.body.innerText.split('\\n').map(line => line.trim()).includes(name))")

        page.go(f"{ui}/assets/{'/'.join(DECISIONS_KEY.path)}?view=events")
        page.wait_for("document.body.innerText.includes('level_chart')")
        # A chart that is too long for the table opens in a window of its own.
        page.ask(
            "[...[...document.querySelectorAll('tr')].find(row => row.innerText.includes('level_chart')).querySelectorAll('*')]"
            ".filter(part => part.textContent.trim() === '[Show Markdown]').forEach(part => part.click())"
        )
        width, height = page.wait_for(
            "(image => image && image.complete && image.naturalWidth && [image.naturalWidth, image.naturalHeight])"
            "(document.querySelector('img[src^=\"data:image/svg+xml\"]'))"
        )
        assert (width, height) == (640, 60)
