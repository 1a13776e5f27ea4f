"""Channel contracts as the seeds state them: audience, columns, masks, order. The newest version of each is in force."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from orchestration.deployment import Deployment
from orchestration.ledger.store import digest

if TYPE_CHECKING:
    from orchestration.policy.reader import Row


@dataclass(frozen=True)
class Condition:
    """One row of the audience: attribute, operator, value; rows are joined by AND. ``where`` names file and row."""

    attribute: str
    operator: str
    value: str
    where: str = ""


@dataclass(frozen=True)
class Column:
    """One column of the feed. ``source``: see seeds/schema.yaml; ``mask``: none, last4 or initial."""

    name: str
    source: str
    personal: bool
    mask: str


@dataclass(frozen=True)
class Contract:
    """What one channel gets."""

    channel_id: str
    version: int
    program_id: str
    format: str
    order_by: tuple[str, ...]
    staleness_hours: int
    transport: str
    mode: str
    audience: tuple[Condition, ...]
    columns: tuple[Column, ...]

    @property
    def hash(self) -> str:
        """SHA-256 of the contract: a changed one is delivered again."""
        content = asdict(self)
        content["audience"] = [[c.attribute, c.operator, c.value] for c in self.audience]
        return digest(content)


def load_contracts(deployment: Deployment) -> list[Contract]:
    """The contracts in force, by channel id; BadInput for seeds that are refused, see `orchestration.policy.channel_seeds`."""
    from orchestration.policy import load_policies

    seeds = load_policies(deployment).seeds
    newest: dict[str, Row] = {}
    for row in seeds["channels"]:
        known = newest.get(row["channel_id"])
        if known is None or row["version"] > known["version"]:
            newest[row["channel_id"]] = row
    found = []
    for channel_id, row in sorted(newest.items()):
        mine = (channel_id, row["version"])
        found.append(
            Contract(
                channel_id=channel_id,
                version=int(row["version"]),
                program_id=row["program_id"],
                format=row["format"],
                order_by=tuple(part.strip() for part in (row["order_by"] or "").split(";") if part.strip()),
                staleness_hours=int(row["staleness_hours"]),
                transport=row["transport"],
                mode=row["mode"],
                audience=tuple(
                    Condition(a["attribute"], a["operator"], a["value"] or "", a.where())
                    for a in seeds["channel_audience"]
                    if (a["channel_id"], a["version"]) == mine
                ),
                columns=tuple(
                    Column(c["column_name"], c["source"], bool(c["personal"]), c["mask"])
                    for c in sorted(seeds["channel_columns"], key=lambda c: int(c["position"]))
                    if (c["channel_id"], c["version"]) == mine
                ),
            )
        )
    return found


def channel_ids(deployment: Deployment) -> list[str]:
    """Ids of the channels in force, in order."""
    return [contract.channel_id for contract in load_contracts(deployment)]
