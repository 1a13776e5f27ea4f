"""The shape of the dbt project: every model is in the manifest, documented, and beside its description."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestration.deployment import PROJECT_ROOT
from orchestration.ingest.contracts import load_contracts
from orchestration.policy.load import clock_of
from orchestration.policy.subjects import MONTH_TABLES, SUBJECT_TYPES
from orchestration.warehouse import dbt_target
from tests.warehouse.place import Place, call_dbt

MODELS = PROJECT_ROOT / "models"
LAYERS = ["staging", "intermediate", "marts"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = Place(tmp_path_factory.mktemp("parse"))
    call_dbt(place.deployment, ["parse"])
    content = json.loads((dbt_target(place.deployment) / "manifest.json").read_text())
    assert isinstance(content, dict)
    return content


def models_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def test_the_manifest_holds_every_model_file(manifest: dict[str, Any]) -> None:
    assert set(models_of(manifest)) == {path.stem for path in [*MODELS.rglob("*.sql"), *MODELS.rglob("*.py")]}


def test_every_model_stands_beside_its_description() -> None:
    assert [path for path in MODELS.rglob("*.sql") if not path.with_suffix(".yml").exists()] == []


def test_every_model_says_its_grain_first(manifest: dict[str, Any]) -> None:
    assert [name for name, node in models_of(manifest).items() if not node["description"].startswith("Grain: one row per ")] == []


def test_marts_have_contracts_and_every_column_is_documented(manifest: dict[str, Any]) -> None:
    for name, node in models_of(manifest).items():
        if node["schema"] == "marts":
            assert node["config"]["contract"]["enforced"], name
            assert [column for column, about in node["columns"].items() if not about["description"]] == [], name
            amounts = [c for c, about in node["columns"].items() if c.endswith("_amount") and "currency" not in about["description"]]
            assert amounts == [] or amounts == ["missing_amount"], (name, amounts)


def test_a_model_reads_only_its_own_layer_or_those_before(manifest: dict[str, Any]) -> None:
    models = {node["unique_id"]: node for node in models_of(manifest).values()}
    for node in models.values():
        for parent in node["depends_on"]["nodes"]:
            if parent in models:
                assert LAYERS.index(models[parent]["schema"]) <= LAYERS.index(node["schema"]), (node["name"], parent)
            elif parent.startswith("source.tierhouse.landing"):
                assert node["schema"] == "staging", (node["name"], parent)


@pytest.mark.parametrize("kind", SUBJECT_TYPES)
def test_a_subject_waits_for_all_rows_that_a_policy_may_ask_for(manifest: dict[str, Any], kind: str) -> None:
    """What it reads is known when it is built, and not to dbt; a row without a staging model could not be read at all."""
    subject = SUBJECT_TYPES[kind]
    node = models_of(manifest)["int_customer_extras" if kind == "customer" else f"int_{kind}_metrics"]
    waited_for = {parent.rpartition("stg_landing__")[2] for parent in node["depends_on"]["nodes"]}
    readable = {
        name for name, contract in load_contracts().items() if subject.key in contract.columns and (clock_of(name) or contract.history)
    }
    # These a customer's other models read.
    elsewhere = {*MONTH_TABLES, "customers"} if kind == "customer" else set()
    assert readable - elsewhere - waited_for == set()


def test_tests_are_named_as_claims_about_a_model(manifest: dict[str, Any]) -> None:
    names = [node["name"] for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    names += [test["name"] for test in manifest["unit_tests"].values()]
    known = set(models_of(manifest))
    assert [name for name in names if not any(name.startswith(f"{model}__") for model in known)] == []


def test_channels_are_exposures(manifest: dict[str, Any]) -> None:
    assert {exposure["name"] for exposure in manifest["exposures"].values()} >= {"store_queue", "hotline"}
