"""What starts by itself when something arrives: new drops are landed soon after they are complete."""

import hashlib
import json
import time
from collections.abc import Mapping

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.ingest import load_mappings
from orchestration.ingest.names import matching
from orchestration.locking import who_holds
from orchestration.wiring.jobs import INGEST_JOB
from orchestration.wiring.resources import BUSY_TAG
from orchestration.wording import counted

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
        for path in matching(deployment.drops, pattern):
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
    """Requests an ingest when drops are new or changed, and once more when the one it requested met another run's lock.

    The cursor is the listing that was last requested and the key of its request.
    """

    @dg.sensor(
        name="new_drops",
        job_name=INGEST_JOB,
        minimum_interval_seconds=60,
        description="Lands new drops; releasing a month is left to its schedule or to a person.",
    )
    def new_drops(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        listing = list_drops(deployment)
        cursor = json.loads(context.cursor or "{}")
        # A cursor of an older version is the listing alone.
        requested, last_key = cursor.get("listing", {} if "key" in cursor else cursor), cursor.get("key")
        refused = _ended_busy(context.instance, last_key)
        news = changed(requested, listing)
        if not news and not refused:
            return dg.SkipReason(f"no new drops under {deployment.drops}")
        # A time far in the future says nothing of when the file was written.
        if any(abs(time.time() - listing[name][1] / 1e9) < SETTLED_SECONDS for name in news):
            return dg.SkipReason(f"{counted(len(news), 'new drop')}, but the newest may still be being written")
        if holder := who_holds(deployment):
            return dg.SkipReason(f"new drops wait: {holder} holds the lock")
        text = json.dumps(listing, sort_keys=True)
        # Dagster takes a key once: what was refused is asked for under another.
        key = hashlib.sha256((text + (last_key if refused else "")).encode()).hexdigest()[:16]
        request = dg.RunRequest(run_key=key, tags={"tierhouse/new_drops": str(len(news))})
        return dg.SensorResult(run_requests=[request], cursor=json.dumps({"listing": listing, "key": key}, sort_keys=True))

    return new_drops


def _ended_busy(instance: dg.DagsterInstance, run_key: str | None) -> bool:
    """Whether the newest run of a request met another run's lock, so that it landed nothing."""
    if run_key is None:
        return False
    runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": run_key}), limit=1)
    return bool(runs) and runs[0].is_failure and runs[0].tags.get(BUSY_TAG) == runs[0].run_id
