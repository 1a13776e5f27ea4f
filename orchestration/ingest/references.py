"""What rows refer to: which columns are checked, and the values that exist."""

from __future__ import annotations

from pathlib import Path

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.mapping import SourceMapping
from orchestration.ingest.parts import Landed
from orchestration.ingest.supersession import in_force
from orchestration.sqltext import parquet, quoted


class References:
    """Values that references may point to: landed ones and those of this ingest, each read once."""

    def __init__(self, con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, mappings: list[SourceMapping]) -> None:
        self._con, self._deployment, self._landed = con, deployment, known
        self._mapped = {feed.entity for mapping in mappings for feed in mapping.feeds}
        self._seen: dict[str, set[Path]] = {}

    def targets(self, contract: Contract) -> dict[str, tuple[str, str]]:
        """Contract column → the entity and column that must hold its value. Entities that no source delivers are not checked."""
        found = {}
        for name, column in contract.columns.items():
            if column.references is None:
                continue
            entity, _, target = column.references.partition(".")
            if entity in self._mapped and not self._is_taken_from_bills(entity):
                found[name] = entity, target
        return found

    def _is_taken_from_bills(self, entity: str) -> bool:
        return entity == "customers" and self._deployment.config.customers_from == "bill_lines"

    def is_less_checked(self, contract: Contract) -> bool:
        """Whether a column is not checked because customers are taken from the bills: what waits for one, since before that was so, waits
        for nothing. An entity that no source delivers any more is another matter: its rows may come again."""
        named = (column.references.partition(".")[0] for column in contract.columns.values() if column.references)
        return any(map(self._is_taken_from_bills, named))

    def of(self, contract: Contract, columns: set[str]) -> dict[str, str]:
        """For those of ``columns`` (what a feed maps) that are checked: table with one column ``value``."""
        return {name: self._table(*target) for name, target in self.targets(contract).items() if name in columns}

    def forget(self, entity: str) -> None:
        """Look anew for what the landed rows of an entity hold: some of them count no more."""
        for table in [table for table in self._seen if table.startswith(f'"_known_{entity}_')]:
            self._con.execute(f"delete from {table}").fetchall()
            del self._seen[table]

    def _table(self, entity: str, column: str) -> str:
        table = quoted(f"_known_{entity}_{column}")
        seen = self._seen.setdefault(table, set())
        if not seen:
            self._con.execute(f"create table if not exists {table} (value varchar)").fetchall()
        unseen = [part for part in self._landed.parts(entity) if part.path not in seen]
        # What an older mapping read, and the drop's landing anew has replaced, exists no more, nor what another file has replaced.
        counting = self._landed.counting_ids(entity) if unseen else set()
        seen.update(part.path for part in unseen)
        fresh = [part for part in unseen if part.file_id in counting]
        if fresh:
            # A row of the same key names the same, but for one that takes its key back.
            can_go = any(column.not_before for column in load_contracts()[entity].columns.values())
            gone = self._landed.superseded(entity, {part.file_id for part in fresh}) if can_go else []
            rows = in_force(f"select * from {parquet(part.path for part in fresh)}", gone)
            self._con.execute(
                f"insert into {table} select distinct {quoted(column)} from {rows} where {quoted(column)} not in (select value from {table})"
            ).fetchall()
        return table
