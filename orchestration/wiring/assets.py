"""The assets, in the order in which data flows: raw, policy, landing and plan, the dbt models, release, channels.

Each step calls one function of the domain and reports what it returned; the gate between the models and the release
is in ``checks``.
"""

import contextlib
import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from orchestration.channels import channel_ids, deliver
from orchestration.deployment import Deployment
from orchestration.errors import Failed, Held
from orchestration.ingest import SourceMapping, ingest, load_contracts
from orchestration.ingest.files import disk_failure
from orchestration.ledger import releases_in_catalog
from orchestration.policy import require_sound
from orchestration.release import policy_folders, release, released_policies, require_whole
from orchestration.warehouse import begin, dbt_args, dbt_env, dbt_target, finish, prepare
from orchestration.wiring.checks import SOME_MODELS
from orchestration.wiring.dbt import RESULTS, environment, what_failed
from orchestration.wiring.metadata import feed_metadata, level_counts, level_metadata, markdown_table, row_counts
from orchestration.wiring.partitions import BACKFILL_POLICY, monthly_partitions
from orchestration.wiring.resources import RESOURCE_KEY, Run, the_run
from orchestration.wiring.translator import DECISIONS_KEY, PLAN_KEY, POLICY_KEY, LayerTranslator

# A failing disk or share is often back within the minute; bad input never is, and is not retried (see Run.stage).
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)

RELEASE_KEY = dg.AssetKey("release")


def raw_key(source: str, entity: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", f"{source}__{entity}"])


def raw_assets(mappings: Sequence[SourceMapping]) -> dg.AssetsDefinition | None:
    """One asset per mapped feed, all made by one ingest. Not partitioned: one drop may hold rows of several periods."""
    feeds = [(mapping, feed) for mapping in mappings for feed in mapping.feeds]
    if not feeds:
        return None
    specs = [
        dg.AssetSpec(
            raw_key(mapping.source, feed.entity),
            group_name="raw",
            description=f"{mapping.title}: {feed.entity} as delivered, landed or quarantined row by row.",
            metadata={"drops": feed.config.files, "source": mapping.source, "entity": feed.entity},
            kinds={feed.config.format},
        )
        for mapping, feed in feeds
    ]

    @dg.multi_asset(name="ingest", specs=specs, retry_policy=RETRY, required_resource_keys={RESOURCE_KEY})
    def ingest_drops(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run = the_run(context)
        with run.stage("ingest"):
            require_whole(run.deployment, run.ledger)
            report = ingest(run.deployment, run.ledger, say=run.say).as_json()
            run.ingest = report
        for mapping, feed in feeds:
            files = [f for f in report["files"] if (f["source"], f["entity"]) == (mapping.source, feed.entity)]
            yield dg.MaterializeResult(asset_key=raw_key(mapping.source, feed.entity), metadata=feed_metadata(files))

    return ingest_drops


def policy_asset() -> dg.AssetsDefinition:
    """The policies of the deployment, checked: a run on contradictory rules stops before anything is computed."""

    @dg.asset(
        key=POLICY_KEY,
        group_name="policy",
        description="Programs, levels, decision tables and tags as the run uses them, checked for gaps and overlaps.",
        kinds={"csv"},
        required_resource_keys={RESOURCE_KEY},
    )
    def policy(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        run = the_run(context)
        with run.stage("policy"):
            policies = run.policies
            folders = policy_folders(run.deployment, run.ledger)
            findings = require_sound(policies, released_policies(run.ledger), folders, run.deployment.today())
        return dg.MaterializeResult(
            metadata={
                "policy_hash": policies.hash,
                "programs": ", ".join(sorted(policies.programs)),
                "warnings": dg.MetadataValue.md("\n".join(f"- {finding}" for finding in findings) or "None."),
            }
        )

    return policy


def landing_assets(deployment: Deployment, mappings: Sequence[SourceMapping]) -> dg.AssetsDefinition:
    """The relations that the models read, at the run's cut-off, and the plan of what is to be computed."""
    fed: dict[str, list[dg.AssetKey]] = {entity: [] for entity in sorted(load_contracts())}
    for mapping in mappings:
        for feed in mapping.feeds:
            fed[feed.entity].append(raw_key(mapping.source, feed.entity))
    specs = [
        *(
            dg.AssetSpec(
                ["landing", entity],
                deps=[*keys, POLICY_KEY],
                group_name="landing",
                description=f"Accepted rows of {entity}, newest per key, as known at the run's cut-off.",
                kinds={"parquet"},
            )
            for entity, keys in fed.items()
        ),
        dg.AssetSpec(
            PLAN_KEY,
            deps=[POLICY_KEY],
            group_name="landing",
            description="Which periods the run computes, from which months, policies and cut-off.",
            kinds={"duckdb"},
        ),
    ]

    @dg.multi_asset(
        name="prepare",
        specs=specs,
        partitions_def=monthly_partitions(deployment),
        backfill_policy=BACKFILL_POLICY,
        required_resource_keys={RESOURCE_KEY},
    )
    def prepare_warehouse(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run = the_run(context)
        with run.stage("prepare"):
            plan = prepare(run.deployment, run.ledger, list(context.partition_keys), run.policies, say=run.say)
            run.keep_plan(plan)
        for spec in specs:
            if spec.key != PLAN_KEY:
                yield dg.MaterializeResult(asset_key=spec.key, metadata={"cutoff_seq": plan.cutoff_seq})
        yield dg.MaterializeResult(
            asset_key=PLAN_KEY,
            metadata={
                "run_id": plan.run_id,
                "periods": ", ".join(plan.periods),
                "input_periods": ", ".join(plan.input_periods),
                "cutoff_seq": plan.cutoff_seq,
                "policy_hash": plan.policy_hash,
                "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in plan.reasons) or "None."),
            },
        )

    return prepare_warehouse


def model_assets(deployment: Deployment, project: DbtProject, manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """Every dbt model, in one invocation over the run's months; a failed dbt test fails the step."""

    @dbt_assets(  # type: ignore[untyped-decorator]
        manifest=manifest,
        project=project,
        name="models",
        partitions_def=monthly_partitions(deployment),
        backfill_policy=BACKFILL_POLICY,
        dagster_dbt_translator=LayerTranslator(),
        required_resource_keys={RESOURCE_KEY, "dbt"},
    )
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        run = the_run(context)
        dbt: DbtCliResource = context.resources.dbt
        with run.stage("dbt"):
            plan = run.require_plan(list(context.partition_keys))
            # The gate's library takes seconds to import; this process only waits for dbt meanwhile.
            threading.Thread(target=importlib.import_module, args=("great_expectations",), daemon=True).start()
            # Someone who chose models in the UI gets them, and no build: the months would count as read, though the models that read them
            # were left out, and no later run would look at their rows.
            chosen = sorted(key.path[-1] for key in context.selected_asset_keys) if context.is_subset else None
            target = dbt_target(deployment)
            (target / RESULTS).unlink(missing_ok=True)
            begin(run.ledger, plan, chosen)
            with environment(dbt_env(deployment)):
                invocation = dbt.cli(dbt_args(plan), context=context, target_path=target, raise_on_error=False)
            events = list(_follow(invocation.stream(), run))
            ok = invocation.is_successful()
            problem = "" if ok else what_failed(invocation)
            left_out = "" if chosen is None else SOME_MODELS
            finish(run.deployment, run.ledger, plan, ok=ok and not left_out, message=problem or left_out, say=run.say)
            if ok and left_out:
                run.say(f"{SOME_MODELS}: this is no build of {', '.join(plan.periods)}, and nothing of it is checked or released")
            if ok:
                events = _with_counts(events, run, plan.periods)
        yield from events
        if not ok:
            with run.stage("dbt"):
                remedy = "nothing was released; correct the model, the data or the test named, then run the same command again"
                raise disk_failure(problem, run.deployment.data) or Failed(f"dbt failed: {problem}", str(target / "dbt.log"), remedy)

    made: dg.AssetsDefinition = models
    return made


def release_asset(deployment: Deployment, marts: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """Publishing: immutable files per period and one move of the pointer. It asks the ledger for the gate itself."""

    @dg.asset(
        key=RELEASE_KEY,
        deps=list(marts),
        group_name="release",
        description="Immutable revisions of the run's periods and the catalog that names them.",
        partitions_def=monthly_partitions(deployment),
        backfill_policy=BACKFILL_POLICY,
        kinds={"parquet"},
        required_resource_keys={RESOURCE_KEY},
    )
    def publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        run = the_run(context)
        before, _ = run.ledger.head()
        try:
            with run.stage("release"):
                plan = run.require_plan(list(context.partition_keys))
                report = release(run.deployment, run.ledger, plan, say=run.say).as_json()
        except dg.Failure:
            # Held or failed at a later month: the months before it are released, and Dagster is told of those alone.
            for period in _published(run, before):
                context.log_event(dg.AssetMaterialization(RELEASE_KEY, partition=period))
            _deliver_what_is_released(context, run)
            raise
        rows = [(row["period"], row["status"].replace("_", " "), row["release"] or "nothing") for row in report["periods"]]
        table = markdown_table(["period", "status", "readers see"], rows)
        return dg.MaterializeResult(metadata={"releases": dg.MetadataValue.md(table), **_levels(run, plan.periods)})

    return publish


def _published(run: Run, head: int) -> list[str]:
    """The months of which a release made or confirmed, after entry ``head``, what readers see; none that stays rolled back."""
    seen = releases_in_catalog(run.ledger)
    made = run.ledger.entries("release", "confirmation", after=head)
    return sorted({entry.payload["period"] for entry in made if seen.get(entry.payload["period"]) == entry.payload["release"]})


def _deliver_what_is_released(context: dg.AssetExecutionContext, run: Run) -> None:
    """Send the catalog that readers see although the release ended held: the step of the channels is not reached then.

    A hold stops what is held and nothing else: channels and readers see the same catalog. An error here does not take the place of the
    hold; the next run sends what is outstanding.
    """
    if not isinstance(held := run.error, Held):
        return
    try:
        with run.stage("channels"):
            _deliver(run)
    except dg.Failure as failure:
        run.say(f"channels: {failure.description}")
    finally:
        run.error = held
    _log_deliveries(context, run, run.deliveries)


def _deliver(run: Run) -> None:
    """Deliver, and add to the run's deliveries what was sent, also where a channel cannot be served: those of an earlier attempt stay."""
    before, _ = run.ledger.head()
    try:
        deliver(run.deployment, run.ledger, say=run.say)
    finally:
        run.deliveries += [entry.payload for entry in run.ledger.entries("delivery", after=before)]


def _log_deliveries(context: dg.AssetExecutionContext, run: Run, deliveries: Sequence[Mapping[str, Any]]) -> None:
    """Tell Dagster of deliveries that no step hands over as its result."""
    for delivery in deliveries:
        asset = dg.AssetKey(["channel", delivery["channel"]])
        context.log_event(dg.AssetMaterialization(asset, metadata=_of_delivery(run, delivery)))


def _of_delivery(run: Run, delivery: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dagster/row_count": delivery["rows"],
        "as_of_period": delivery["as_of_period"],
        "catalog": delivery["catalog"],
        "path": dg.MetadataValue.path(str(run.deployment.data / delivery["path"])),
    }


def channel_assets(deployment: Deployment) -> dg.AssetsDefinition | None:
    """What each channel was sent. Not partitioned: a delivery is of a catalog, not of a month."""
    channels = channel_ids(deployment)
    if not channels:
        return None
    specs = [
        dg.AssetSpec(
            ["channel", channel],
            deps=[RELEASE_KEY],
            group_name="channels",
            description=f"Deliveries to {channel} by its contract.",
            skippable=True,
            kinds={"csv"},
        )
        for channel in channels
    ]

    @dg.multi_asset(name="deliver", specs=specs, retry_policy=RETRY, required_resource_keys={RESOURCE_KEY})
    def deliver_channels(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run = the_run(context)
        earlier = len(run.deliveries)
        try:
            with run.stage("channels"):
                _deliver(run)
        except dg.Failure:
            # The next attempt finds these channels served, and has no result of them.
            _log_deliveries(context, run, run.deliveries[earlier:])
            raise
        for delivery in run.deliveries[earlier:]:
            yield dg.MaterializeResult(asset_key=dg.AssetKey(["channel", delivery["channel"]]), metadata=_of_delivery(run, delivery))

    return deliver_channels


def _follow(stream: Iterator[Any], run: Run) -> Iterator[Any]:
    """Read dbt's events to the end, saying each finished model; dbt's own lines go to the run's log if it has one."""
    iterator = iter(stream)
    while True:
        with contextlib.ExitStack() as stack:
            if run.dbt_log is not None:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(run.dbt_log.open("a", encoding="utf-8"))))
            event = next(iterator, None)
        if event is None:
            return
        if isinstance(event, dg.Output):
            run.say(f"built {event.output_name.replace('__', '.', 1)}")
        yield event


def _with_counts(events: Sequence[Any], run: Run, periods: Sequence[str]) -> list[Any]:
    """dbt's events with row counts and the level chart, read once dbt has let go of the warehouse."""
    names = {event.output_name: event.output_name.partition("__")[::2] for event in events if isinstance(event, dg.Output)}
    counts = row_counts(run.deployment.warehouse, names.values())
    told: list[Any] = []
    for event in events:
        if not isinstance(event, dg.Output):
            told.append(event)
            continue
        extra: dict[str, Any] = {}
        if names[event.output_name] in counts:
            extra["dagster/row_count"] = counts[names[event.output_name]]
        if names[event.output_name] == tuple(DECISIONS_KEY.path):
            extra.update(_levels(run, periods))
        told.append(dg.Output(event.value, event.output_name, metadata={**event.metadata, **extra}, data_version=event.data_version))
    return told


def _levels(run: Run, periods: Sequence[str]) -> dict[str, Any]:
    return dict(level_metadata(level_counts(run.deployment.warehouse, periods)))
