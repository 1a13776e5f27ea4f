"""Deliveries: for each channel one file of the catalog that readers see, with a manifest, recorded in the ledger.

Feeds are made from released Parquet only, so that no channel ever sees a candidate. A delivery has an idempotency key
(channel, contract, catalog, and the number of the delivery where it is not the catalog's first to the channel): doing it again after a crash
writes the same bytes and records it once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from orchestration.channels.contract import Contract, load_contracts
from orchestration.channels.feed import VAULT, feed_sql, make_subjects
from orchestration.deployment import Deployment
from orchestration.errors import Failed, TierhouseError
from orchestration.failpoints import failpoint
from orchestration.ingest.files import for_the_owner_alone, place, sha256_file, storage_errors
from orchestration.ingest.irreplaceable import require_vault
from orchestration.interruption import is_interruption
from orchestration.ledger.store import Ledger
from orchestration.locking import exclusive
from orchestration.memory import query_memory
from orchestration.release.catalog import Catalog, recorded_catalog
from orchestration.release.record import release_entry
from orchestration.release.recovery import recover
from orchestration.sqltext import literal
from orchestration.wording import counted

Say = Callable[[str], None]
# Feeds may hold personal columns: not for everyone on the machine.
FEED_MODE = 0o440


@dataclass(frozen=True)
class Delivery:
    """One catalog sent to one channel. ``path`` is relative to the data folder; ``stale_after_at`` (UTC) counts from when ``release`` was made."""

    channel: str
    version: int
    catalog: int
    as_of_period: str
    release: str
    mode: str
    rows: int
    path: str
    sha256: str
    stale_after_at: str
    contract_hash: str
    idempotency_key: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def pending(deployment: Deployment, ledger: Ledger) -> list[str]:
    """Channels that have not got the catalog that readers see. Writes nothing."""
    return [contract.channel_id for contract in _outstanding(load_contracts(deployment), ledger)]


def _outstanding(contracts: Sequence[Contract], ledger: Ledger) -> list[Contract]:
    catalog = recorded_catalog(ledger.last("catalog"))
    if not catalog.periods:
        return []
    sent = [entry.payload for entry in ledger.entries("delivery")]
    last = {delivery["channel"]: (delivery["catalog"], delivery["contract_hash"]) for delivery in sent}
    return [contract for contract in contracts if last.get(contract.channel_id) != (catalog.catalog, contract.hash)]


def _key(contract: Contract, catalog: Catalog, number: int) -> str:
    """A contract that is changed and changed back is delivered a third time: by the key of the first delivery a receiver would take it for that."""
    key = f"{contract.channel_id}:{contract.version}:{contract.hash[:12]}:{catalog.catalog}"
    return key if number == 1 else f"{key}:{number}"


def deliver(deployment: Deployment, ledger: Ledger, *, say: Say, contracts: Sequence[Contract] | None = None) -> list[Delivery]:
    """Send the standing catalog to every channel that has not got it; return what was sent.

    A channel that cannot be served holds up no other, and each is told of. Raises one error once all have been tried: the first Failed, as
    when a file cannot be written or the vault is gone, because to try again may help there; else the first of all, as BadInput for a contract
    that names what does not exist.
    """
    with exclusive(deployment, "deliver"):
        recover(deployment, ledger, say)
        catalog = recorded_catalog(ledger.last("catalog"))
        period = catalog.newest_period
        if period is None:
            return []
        done = []
        problems: list[TierhouseError] = []
        for contract in _outstanding(load_contracts(deployment) if contracts is None else contracts, ledger):
            try:
                delivery = _deliver_one(deployment, ledger, contract, catalog, period)
            except TierhouseError as err:
                if is_interruption(err):
                    raise
                say(f"channel {contract.channel_id}: not delivered: {err.what}" + _where_and_what_to_do(err))
                problems.append(err)
                continue
            say(
                f"channel {delivery.channel}: {counted(delivery.rows, 'row')} of {delivery.as_of_period}, catalog {delivery.catalog}, "
                f"to be used until {delivery.stale_after_at}"
            )
            done.append(delivery)
        if problems:
            raise next((err for err in problems if isinstance(err, Failed)), problems[0])
        return done


def _where_and_what_to_do(err: TierhouseError) -> str:
    return (f" ({err.where})" if err.where else "") + (f"; to do: {err.remedy}" if err.remedy else "")


def _deliver_one(deployment: Deployment, ledger: Ledger, contract: Contract, catalog: Catalog, period: str) -> Delivery:
    release = catalog.periods[period]
    if any(column.source.startswith(f"{VAULT}.") for column in contract.columns):
        # An empty telephone number says that there is none; of a vault that is gone nobody may say that.
        require_vault(deployment, (entry.payload for entry in ledger.entries("drop_landed")))
    # From when the release was made and not from now or the catalog's time: a rollback does not make old rows fresh, and the same delivery
    # made again is the same file.
    stale = datetime.fromisoformat(release_entry(ledger, release).at) + timedelta(hours=contract.staleness_hours)
    stale_after_at = stale.strftime("%Y-%m-%dT%H:%M:%SZ")
    number = _number(ledger, contract.channel_id, catalog.catalog)
    # What was delivered stays: hotline_3_2 is the second delivery of catalog 3 to the hotline, by another contract.
    name = f"{contract.channel_id}_{catalog.catalog}" + (f"_{number}" if number > 1 else "")
    scratch = deployment.scratch / f"channel-{name}"
    target = deployment.channels / contract.channel_id / f"{name}.csv"
    try:
        with storage_errors(deployment.data):
            shutil.rmtree(scratch, ignore_errors=True)
            with for_the_owner_alone():
                scratch.mkdir(parents=True)
                rows = write_feed(
                    deployment, contract, deployment.releases / release, catalog.catalog, stale_after_at, scratch / target.name
                )
            delivery = Delivery(
                channel=contract.channel_id,
                version=contract.version,
                catalog=catalog.catalog,
                as_of_period=period,
                release=release,
                mode=contract.mode,
                rows=rows,
                path=str(target.relative_to(deployment.data)),
                sha256=sha256_file(scratch / target.name),
                stale_after_at=stale_after_at,
                contract_hash=contract.hash,
                idempotency_key=_key(contract, catalog, number),
            )
            (scratch / target.name).chmod(FEED_MODE)
            place(scratch / target.name, target)
            # The manifest last: whoever waits for it finds the feed whole.
            manifest = {**delivery.as_json(), "file": target.name, "columns": [column.name for column in contract.columns]}
            (scratch / f"{name}.manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            place(scratch / f"{name}.manifest.json", target.with_suffix(".manifest.json"))
    except duckdb.Error as err:
        # DuckDB quotes values in its messages, and values may be personal.
        raise Failed(
            f"the feed cannot be written ({type(err).__name__})", f"channel {contract.channel_id}", f"check {release} and the vault"
        ) from err
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    failpoint("channels.file_written")
    ledger.append("delivery", delivery.as_json())
    failpoint("channels.recorded")
    return delivery


def _number(ledger: Ledger, channel: str, catalog: int) -> int:
    """Which delivery of the catalog to the channel is the next one."""
    sent = [entry.payload for entry in ledger.entries("delivery")]
    return 1 + sum((delivery["channel"], delivery["catalog"]) == (channel, catalog) for delivery in sent)


def write_feed(deployment: Deployment, contract: Contract, release: Path, catalog: int, stale_after_at: str, target: Path) -> int:
    """Write the CSV of one contract from a release; return the number of rows."""
    con = duckdb.connect(config={"temp_directory": str(deployment.scratch), "memory_limit": query_memory()})
    try:
        columns = make_subjects(con, release, contract.program_id)
        query = feed_sql(con, contract, columns, catalog, stale_after_at, deployment.vault)
        return int(con.execute(f"copy ({query}) to {literal(str(target))} (format csv, header true)").fetchall()[0][0])
    finally:
        con.close()
