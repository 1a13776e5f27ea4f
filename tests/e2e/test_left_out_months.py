"""A month that is left out between released ones: refused before anything is computed, and run as a range."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestration.ledger import Ledger
from tests.support import Cli


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_leaves_a_month_out_is_refused_with_the_range_to_run(make_cli: Callable[..., Cli], released_sample: Cli) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    cli("run", "--periods", "2026-02", timeout=600)
    ledger = Ledger(cli.data / "ledger.sqlite")
    assert "2026-02" in ledger.last("catalog").payload["periods"], "a month before all that is released begins anew, as the first ever did"
    before = ledger.head()
    refused = cli.json("run", "--periods", "2026-04", expect=2)
    assert "2026-04 would begin all levels anew: 2026-03 is not decided" in refused["what"]
    assert "tierhouse run --periods 2026-03..2026-04" in refused["remedy"]
    assert ledger.head() == before, "nothing was computed"
    assert cli.json("run", "--periods", "2026-05..2026-06")["nothing_new"], (
        "what is released already is not computed, so that nothing is lost"
    )
