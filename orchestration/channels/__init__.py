"""Channels: what downstream consumers get of a release, by contract."""

from orchestration.channels.contract import Contract, channel_ids, load_contracts
from orchestration.channels.delivery import Delivery, deliver, pending

__all__ = ["Contract", "Delivery", "channel_ids", "deliver", "load_contracts", "pending"]
