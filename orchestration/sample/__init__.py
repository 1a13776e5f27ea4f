"""The sample company: drops of a telecom operator with known defects. No run needs this package, `tierhouse sample` and `demo` do."""

from orchestration.sample.company import ENTITIES, ensure_sample, write_sample

__all__ = ["ENTITIES", "ensure_sample", "write_sample"]
