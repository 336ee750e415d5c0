"""What the UI shows before the first run, and what holds for every asset."""

import dagster as dg
import pytest

from fusc_pipeline.base.schemas import TABLES
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.partitions import scan_batches
from fusc_pipeline.defs.engine.work import per_batch_assets, stored
from fusc_pipeline.defs.owners import OWNERS
from fusc_pipeline.operations.arrivals import CHAIN

GROUPS = {
    "ingestion": {"scans", "rejected_scans"},
    "text": {"burned_in_text", "pseudo_labels", "clean_images"},
    "dataset": {"corpus"},
    "representation": {f"{e}_{part}" for e in ("simclr", "dino") for part in ("encoder", "embeddings", "neighbors")},
    "clustering": {
        *(f"{method}_{encoder}" for method in ("kmeans", "fusc") for encoder in ("simclr", "dino")),
        *("fusc_simclr_selflabel", "fusc_dino_selflabel", "deepmcat", "supervised"),
    },
    "evaluation": {
        "purity_report",
        "cluster_composition",
        "cluster_gallery",
        "cluster_report",
        "external_purity",
        "inpainting_audit",
        "label_audit",
    },
    "service": {"candidate_model", "model_in_service", "batch_assignments"},
}
ON_GPU = {
    "burned_in_text",
    "batch_assignments",
    "candidate_model",
    "external_purity",
    "inpainting_audit",
    *(f"{encoder}_{part}" for encoder in ("simclr", "dino") for part in ("encoder", "embeddings")),
    *(GROUPS["clustering"] - {"kmeans_simclr", "kmeans_dino"}),
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


@pytest.fixture(scope="module")
def specs(definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_definitions_load(definitions):
    dg.Definitions.validate_loadable(definitions)


def test_groups_are_those_of_the_design(specs):
    found: dict[str, set[str]] = {}
    for name, spec in specs.items():
        found.setdefault(spec.group_name, set()).add(name)
    assert found == GROUPS


def test_every_asset_says_what_it_is(specs):
    for name, spec in specs.items():
        assert spec.description and len(spec.description) > 40, name
        assert spec.kinds, name
        assert spec.code_version, name
        assert spec.group_name in OWNERS and list(spec.owners) == OWNERS[spec.group_name], name


def test_tables_show_their_columns_with_meanings_before_the_first_run(specs):
    for name in TABLES:
        columns = specs[name].metadata["dagster/column_schema"].columns
        assert [c.name for c in columns] == TABLES[name].names, name
        assert all(c.description for c in columns), name


def test_per_batch_assets_are_partitioned_and_the_others_are_not(specs):
    for name, spec in specs.items():
        assert (spec.partitions_def == scan_batches) == (name in per_batch_assets()), name


def test_gpu_assets_share_the_pool_and_ask_kubernetes_for_a_device(definitions):
    found = set()
    for name in {n for names in GROUPS.values() for n in names}:
        op = definitions.resolve_assets_def(name).op
        if op.pool is not None:
            found.add(name)
            assert op.pool == "gpu" and op.retry_policy is None  # a policy would retry refusals as well
            limits = op.tags["dagster-k8s/config"]
            assert "nvidia.com/gpu" in str(limits)
    assert found == ON_GPU


def test_what_came_after_the_corpus_depends_on_nothing_before_it_but_the_report(definitions):
    graph = definitions.resolve_asset_graph()
    for name in GROUPS["representation"] | GROUPS["clustering"] | {"purity_report", "cluster_composition"}:
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys}
        assert not parents & per_batch_assets(), name


def test_every_config_field_is_described(definitions):
    for name in {n for names in GROUPS.values() for n in names}:
        fields = getattr(definitions.resolve_assets_def(name).op.config_schema.config_type, "fields", {})
        assert "force" in fields, name
        assert all(field.description for field in fields.values()), name


def test_what_a_delivery_must_go_through_is_what_the_graph_makes_of_a_batch_alone(definitions):
    per_batch = per_batch_assets()
    alone = {name: stored(name).deps for name in per_batch if stored(name).deps}
    assert {name: deps for name, deps in alone.items() if per_batch.issuperset(deps)} == dict(CHAIN)
