"""The sample company: drops of a telecom operator with known defects. Nothing on the main path imports this package."""

from orchestration.sample.company import ENTITIES, ensure_sample, write_sample

__all__ = ["ENTITIES", "ensure_sample", "write_sample"]
