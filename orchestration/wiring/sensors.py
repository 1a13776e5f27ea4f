"""What starts by itself when something arrives: new drops are landed soon after they are complete."""

import hashlib
import json
import time
from collections.abc import Mapping

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.ingest import load_mappings
from orchestration.wiring.jobs import INGEST_JOB

SETTLED_SECONDS = 30.0
"""A file changed less than this ago may still be being written; it is taken at a later tick."""

Listing = dict[str, tuple[int, int]]


def list_drops(deployment: Deployment) -> Listing:
    """Name (relative to the drops) → size and modification time in nanoseconds, of every file that a feed or a control asks for."""
    patterns: set[str] = set()
    for mapping in load_mappings(deployment):
        for feed in mapping.feeds:
            patterns.add(feed.config.files)
            control = feed.config.control
            if control is not None:
                patterns.add(control.files)
    found: Listing = {}
    for pattern in patterns:
        for path in deployment.drops.glob(pattern):
            try:
                stat = path.stat()
            except OSError:
                # A dangling link, or a file that was taken away meanwhile: what can be landed of the others shall be.
                continue
            found[path.relative_to(deployment.drops).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


def changed(before: Mapping[str, list[int] | tuple[int, int]], now: Listing) -> list[str]:
    """Names in ``now`` that are new or differ in size or time from ``before``."""
    return sorted(name for name, facts in now.items() if tuple(before.get(name, ())) != facts)


def drops_sensor(deployment: Deployment) -> dg.SensorDefinition:
    """Requests an ingest when drops are new or changed. The cursor is the listing that was last requested."""

    @dg.sensor(
        name="new_drops",
        job_name=INGEST_JOB,
        minimum_interval_seconds=60,
        description="Lands new drops; releasing a month is left to its schedule or to a person.",
    )
    def new_drops(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        listing = list_drops(deployment)
        news = changed(json.loads(context.cursor or "{}"), listing)
        if not news:
            return dg.SkipReason(f"no new drops under {deployment.drops}")
        # A time far in the future says nothing of when the file was written.
        if any(abs(time.time() - listing[name][1] / 1e9) < SETTLED_SECONDS for name in news):
            return dg.SkipReason(f"{len(news)} new drops, but the newest may still be being written")
        cursor = json.dumps(listing, sort_keys=True)
        key = hashlib.sha256(cursor.encode()).hexdigest()[:16]
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, tags={"tierhouse/new_drops": str(len(news))})], cursor=cursor)

    return new_drops
