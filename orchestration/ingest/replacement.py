"""Files that another one replaces, as a control total says: once that one is there, none of their rows counts.

All is as if the replaced file had never been delivered, whichever of the two lands first: its rows are superseded, and what it had
superseded itself is in force again unless a newer row took its place too. Rejected rows stay in quarantine, and those that wait are
never admitted. Of a file that replaces itself, the newest delivery under its name takes the place of those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.failpoints import failpoint
from orchestration.ingest.contracts import Contract
from orchestration.ingest.earlier_keys import earlier_keys, landed_under
from orchestration.ingest.landing import Arrival
from orchestration.ingest.mapping import Feed
from orchestration.ingest.names import base_name
from orchestration.ingest.parts import Landed, Part, Standing, following, origin_of
from orchestration.ingest.supersession import in_force, listable, nothing_superseded, record_superseded
from orchestration.ingest.totals import ControlTotal
from orchestration.ingest.vault import forget_replaced
from orchestration.ingest.withdrawal import taken_back
from orchestration.ledger.store import Ledger
from orchestration.sqltext import literal, parquet, quoted


def replacements(recorded: dict[str, dict[str, Any]], totals: Sequence[ControlTotal]) -> dict[str, str]:
    """Base name of a file → that of the one that it replaces, as the recorded totals of a feed say and those that lie there now.

    BadInput where files replace each other and a total that lies there has part in it: nothing of them would count. Where recorded totals
    alone say so, the newest of them counts.
    """
    said = {file: total["replaces"] for file, total in recorded.items()} | {total.file: total.replaces for total in totals}
    found = {file: base_name(other) for file, other in said.items() if other}
    stated_in = {total.file: total.stated_in for total in totals}
    # ``recorded`` has the newest last.
    for file in list(found):
        chain = [file]
        while (after := found.get(chain[-1])) and after not in chain:
            chain.append(after)
        if after == file and len(chain) > 1:
            if place := next((stated_in[name] for name in chain if name in stated_in), ""):
                raise BadInput(
                    f"the control totals say that files replace each other: {', '.join(sorted(chain))}",
                    place,
                    "have the source send the right one under a new name, or take the wrong control file out of the drops folder",
                )
            del found[file]
    return found


def check_folders(
    known: Landed,
    feed: Feed,
    said: dict[str, str],
    totals: Sequence[ControlTotal],
    coming: Iterable[tuple[str, str]],
    recorded: Iterable[str] = (),
) -> None:
    """BadInput where a total means files by a name that different files of the feed have, each in its own folder: it cannot tell which.

    ``coming``: name and SHA-256 of the files that are to land. Only they and totals that lie there can be put right. A name that states its
    period stands for one file, whatever its folder. Where the folders state it, no total may mean such a name: that of one month would be
    compared with the file of another. Elsewhere a name may be used for the next month. ``recorded``: base names that have a recorded total.
    """
    by_folder = feed.config.control and feed.config.expected and "/" in feed.config.expected.period_from_name
    told = {*recorded, *(total.file for total in totals)} if by_folder else set()
    replacing = {name for pair in said.items() for name in pair}
    meant = {name for name in replacing | told if feed.period_of(name) is None}
    there = {name for total in totals if total.replaces for name in (total.file, base_name(total.replaces))}
    there.update(total.file for total in totals if by_folder)
    there.update(base_name(name) for name, _ in coming)
    delivered = [(drop["file"], drop["sha256"]) for drop in known.named_of(feed.source, feed.entity)]
    bytes_of: dict[str, dict[str, set[str]]] = {}
    for name, sha256 in [*delivered, *coming]:
        if (base := base_name(name)) in meant & there:
            bytes_of.setdefault(base, {}).setdefault(name, set()).add(sha256)
    for base, files in bytes_of.items():
        # A file that was moved is the file that it was.
        if other := next(((one, two) for one, two in combinations(sorted(files), 2) if files[one].isdisjoint(files[two])), None):
            says = f"says of {base} that it replaces a file or is replaced" if base in replacing else f"says what {base} holds"
            raise BadInput(
                f"a control total {says}, and {other[0]} and {other[1]} are different files of that name: a total knows files by their names alone",
                next((total.stated_in for total in totals if base in (total.file, base_name(total.replaces or ""))), other[1]),
                "have the source name its files so that no two have the same name, or take "
                + ("`replaces` out of the control file" if base in replacing else "`control` out of the mapping"),
            )


def replaced_names(said: dict[str, str], there: Iterable[str]) -> set[str]:
    """Base names of the files that another one of ``there`` replaces. ``said``: see :func:`replacements`."""
    return {said[name] for name in there if said.get(name, name) != name}


def replaced_bytes(said: dict[str, str], deliveries: Sequence[tuple[str, str]]) -> set[str]:
    """SHA-256 of the bytes for which no delivery counts. ``deliveries``: base name and SHA-256 of a feed's files and copies, in order."""
    newest = dict(deliveries)
    gone = replaced_names(said, newest)
    counting = {sha256 for name, sha256 in deliveries if name not in gone and (said.get(name) != name or newest[name] == sha256)}
    return {sha256 for _, sha256 in deliveries} - counting


def deliveries_of(known: Landed, feed: Feed) -> list[tuple[str, str]]:
    """Base name and SHA-256 of every file that a feed has delivered, in order."""
    return [(base_name(drop["file"]), drop["sha256"]) for drop in known.named_of(feed.source, feed.entity)]


def replaced_drops(known: Landed, feed: Feed, said: dict[str, str]) -> list[Standing]:
    """Drops of a feed that count still and must not, in landing order."""
    if not said:
        return []
    gone = replaced_bytes(said, deliveries_of(known, feed))
    return [drop for drop in known.standing_of(feed.source, feed.entity) if not drop.is_replaced and drop.payload["sha256"] in gone]


def lands_replaced(known: Landed, feed: Feed, said: dict[str, str], arrival: Arrival) -> bool:
    """Whether a file that is to land is replaced by one that is there. What lands anew is no further delivery."""
    arriving = [] if arrival.earlier_ids else [(base_name(arrival.name), arrival.sha256)]
    return arrival.sha256 in replaced_bytes(said, [*deliveries_of(known, feed), *arriving])


def withdraw_replaced(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, known: Landed, feed: Feed, said: dict[str, str]
) -> list[dict[str, Any]]:
    """Take every drop back that :func:`replaced_drops` finds; the payloads of the entries recorded."""
    found = []
    for drop in replaced_drops(known, feed, said):
        undone, supersedes = withdrawn(con, deployment, known, feed.contract, drop)
        if feed.contract.personal:
            mine = _lists(deployment, undone)
            gone = [path for path in known.superseded(feed.entity) if path not in mine]
            gone += [deployment.data / supersedes["path"]] if supersedes["path"] else []
            forget(con, deployment, known, feed.contract, drop, gone, known.counting_ids(feed.entity, feed.source) - set(drop.file_ids))
        failpoint("ingest.replaced_written")
        payload = following(drop, is_replaced=True, undoes=[entry["file_id"] for entry in undone], supersedes=supersedes)
        known.add(ledger.append("drop_landed", payload).seq, payload)
        failpoint("ingest.replaced_recorded")
        found.append(payload)
    return found


def withdrawn(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, contract: Contract, drop: Standing
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What an entry says that takes all landed rows of ``drop`` away: the entries whose lists of superseded rows it undoes, and the rows that
    are superseded then."""
    undone = _undone(con, deployment, known, drop)
    return undone, _supersede(con, deployment, known, contract, drop, undone)


def forget(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    known: Landed,
    contract: Contract,
    drop: Standing,
    gone: list[Path],
    counting: set[str],
) -> None:
    """Remove from the vault the subjects of ``drop`` of which no part ``counting`` has a row in force. ``gone``: the lists of superseded rows
    that count."""
    entity, source = contract.entity, drop.payload["source"]
    paths = [part.path for part in known.parts(entity, source) if part.file_id in counting]
    subject = [quoted(name) for name in contract.subject_key]
    others = f"select ({', '.join('null' for _ in subject)}) where false"
    if paths:
        others = f"select ({', '.join(subject)}) from {in_force(f'select * from {parquet(paths)}', gone)}"
    forget_replaced(con, deployment.vault, contract, source, drop.file_ids, others)


def _undone(con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, drop: Standing) -> list[dict[str, Any]]:
    """The entries whose lists of superseded rows do not hold as they are without ``drop``: its own, and those that may name a row because
    ``drop`` has a newer one of its key. Those are of files that were taken back or set aside while it counted, or admitted rows that it had
    overtaken."""
    source, entity = drop.payload["source"], drop.payload["entity"]
    drop_of = known.drop_of(source, entity)
    own = [part.path for part in known.parts(entity, source) if part.file_id in drop.file_ids]
    found = []
    for entry in known.with_lists(source, entity):
        named = {file_id: drop_of.get(file_id, file_id) for file_id in entry["supersedes"]["by_file"]}
        suspects: dict[str, str] = {}
        if entry.get("is_replaced") or entry.get("is_set_aside"):
            suspects = {file_id: drop_id for file_id, drop_id in named.items() if drop_id != origin_of(entry)[2]}
        elif entry.get("readmits"):
            suspects = {file_id: drop_id for file_id, drop_id in named.items() if file_id == entry["file_id"]}
        if entry["file_id"] in drop.file_ids or (own and suspects and _names_rows_of(con, deployment, entry, suspects, drop, own)):
            found.append(entry)
    return found


def _names_rows_of(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, entry: dict[str, Any], drops: dict[str, str], drop: Standing, own: list[Path]
) -> bool:
    """Whether an entry lists a row of some files (each with its drop) whose key stands in the parts ``own`` of ``drop``."""
    listed, keys = parquet(_lists(deployment, [entry])), f"select _key from {parquet(own)}"
    named = ", ".join(f"({literal(file_id)}, {literal(drop_id)})" for file_id, drop_id in sorted(drops.items()))
    return bool(
        con.execute(
            f"select 1 from {listed} as l join (values {named}) as d(file_id, drop_id) using (file_id) where l.key in ({keys}) "
            f"or (d.drop_id, l.key) in (select (drop_id, before) from ({earlier_keys(deployment, [drop])})) limit 1"
        ).fetchall()
    )


def _lists(deployment: Deployment, entries: Iterable[dict[str, Any]]) -> list[Path]:
    return [deployment.data / entry["supersedes"]["path"] for entry in entries]


def _supersede(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, contract: Contract, drop: Standing, undone: list[dict[str, Any]]
) -> dict[str, Any]:
    """List every row of ``drop`` that no other drop supersedes, and the rows of the lists ``undone`` that are superseded without it, too:
    a newer one of their key counts, they are taken back themselves, or none of their drop counts."""
    source = drop.payload["source"]
    parts = known.parts(contract.entity, source)
    mine = _lists(deployment, undone)
    others = [path for path in known.superseded(contract.entity) if path not in mine]
    own = [part for part in parts if part.file_id in drop.file_ids]
    if not own and not mine:
        return nothing_superseded()
    listed = f"select file_id, key from {parquet(mine)}"
    # A drop that had landed anew lists all that it landed before, whatever the keys.
    low, high, files = (
        con.execute(f"select min(key), max(key), list(distinct file_id) from ({listed})").fetchall()[0] if mine else ("", "", [])
    )
    older = [
        part
        for part in parts
        if part.file_id not in drop.file_ids and (part.file_id in files or ((part.min_key or "") <= high and (part.max_key or "") >= low))
    ]
    first = in_force(listable(contract, own), others, "file_id", "key") if own else f"({listable(contract, older)}) limit 0"
    con.execute(f"create or replace table _superseded as from {first}").fetchall()
    if mine and older:
        drop_of = known.drop_of(source, contract.entity)
        standing = [item for item in known.standing_of(source, contract.entity) if not item.is_replaced and item.seq != drop.seq]
        counting = {file_id for item in standing for file_id in item.counting_ids}
        asked = counting.union(part.file_id for part in older)
        places = {(part.file_id, part.position, part.seq) for part in parts if part.file_id in asked}
        values = ", ".join(
            f"({literal(name)}, {literal(drop_of.get(name, name))}, {position}, {seq}, {name in counting})"
            for name, position, seq in places
        )
        con.execute(f"create or replace table _places as from (values {values}) as p(file_id, drop_id, position, seq, counts)").fetchall()
        con.execute(
            f"create or replace table _same_keys as select r.*, p.* exclude (file_id) from ({listable(contract, older)}) as r "
            f"inner join _places as p using (file_id) where r.key in (select key from ({listed}))"
        ).fetchall()
        # A row has the keys that it was given, and those that it had in the drops that are named.
        con.execute(
            "create or replace table _keys as select key, null as drop_id, position, seq from _same_keys where counts union all "
            f"select e.before, e.drop_id, p.position, p.seq from ({landed_under(deployment, known, standing)}) as e "
            f"inner join _places as p using (file_id) where e.before in (select key from ({listed}))"
        ).fetchall()
        con.execute(
            f"insert into _superseded select s.* exclude (drop_id, position, seq, counts) from _same_keys as s semi join ({listed}) using (file_id, key) "
            f"where not s.counts or (s.file_id, s.key) in ({_taken_back(contract, older)}) or exists ("
            "select 1 from _keys as n where n.key = s.key and coalesce(n.drop_id = s.drop_id, true) and (n.position, n.seq) > (s.position, s.seq))"
        ).fetchall()
    return record_superseded(con, deployment, contract, drop.next_file_id)


def _taken_back(contract: Contract, older: list[Part]) -> str:
    """Query of file and key of the rows that end before they start."""
    return f"select (_file_id, _key) from {parquet(part.path for part in older)} where {taken_back(contract)}"
