"""Running the graph, or part of it, on a small store in this process."""

import dagster as dg

from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.store.store import Store

# Every asset at its smallest: the graph is under test, not what it learns.
SMALL = {
    "simclr_encoder": {"epochs": 1, "batch_size": 16, "image_size": 32},
    "dino_encoder": {
        "epochs": 1,
        "batch_size": 8,
        "image_size": 32,
        "n_local": 1,
        "hidden_dim": 16,
        "bottleneck_dim": 8,
        "encoder": {"name": "vit_tiny_patch16_224"},
    },
    "simclr_neighbors": {"n_neighbors": 3},
    "dino_neighbors": {"n_neighbors": 3},
    "kmeans_simclr": {"n_clusters": [4], "seeds": [0, 1], "n_init": 1},
    "kmeans_dino": {"n_clusters": [4], "seeds": [0], "n_init": 1},
    "fusc_simclr": {"n_clusters": [4], "seeds": [0, 1], "epochs": 1, "batch_size": 16},
    "fusc_dino": {"n_clusters": [4], "seeds": [0], "epochs": 1, "batch_size": 16},
    "fusc_simclr_selflabel": {"epochs": 1, "batch_size": 16},
    "fusc_dino_selflabel": {"epochs": 1, "batch_size": 16},
    "deepmcat": {"n_clusters": [4], "epochs": 1, "batch_size": 16, "image_size": 32, "backbone": "resnet18"},
    "supervised": {"epochs": 1, "batch_size": 16, "image_size": 32},
    "inpainting_audit": {"sample": 8, "probe_steps": 2, "pictures": 2},
}
CORPUS_ON = 'key:"corpus"+'  # the corpus and everything made from it
_COMPUTING = {
    *(f"{encoder}_{part}" for encoder in ("simclr", "dino") for part in ("encoder", "embeddings")),
    *MODELS,
    "external_purity",
    "inpainting_audit",
    "candidate_model",
    "model_in_service",
}


def up_to(asset: str) -> str:
    """Selection of the corpus and what lies between it and the asset, the asset included."""
    return f'{CORPUS_ON} and +key:"{asset}"'


def run_config(**changes: dict) -> dict:
    """SMALL with the changed fields of the named assets, one thread each."""
    ops = {name: {"config": dict(fields)} for name, fields in SMALL.items()}
    for name, fields in changes.items():
        ops.setdefault(name, {"config": {}})["config"].update(fields)
    for name in _COMPUTING:
        ops.setdefault(name, {"config": {}})["config"].setdefault("threads", 1)
    return {"ops": ops, "loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def materialise(
    store: Store, selection: str = CORPUS_ON, config: dict | None = None, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """Run a selection of the real definitions on `store`, without what is made per batch; the result says what
    succeeded."""
    definitions = build_definitions(root=str(store.root))
    keys = dg.AssetSelection.from_string(selection).resolve(definitions.resolve_asset_graph())
    keys = {key for key in keys if key.to_user_string() not in per_batch_assets()}  # those need a batch's name
    names = {key.to_user_string() for key in keys}
    chosen = dict(config or run_config())
    chosen["ops"] = {name: body for name, body in chosen["ops"].items() if name in names}
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=sorted(keys), run_config=chosen, instance=instance, raise_on_error=False
    )


def cache_states(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """hit or miss of every asset the run made, by name."""
    return {
        event.step_materialization_data.materialization.asset_key.to_user_string(): (
            event.step_materialization_data.materialization.metadata["fusc/cache"].value
        )
        for event in result.get_asset_materialization_events()
    }


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The reason of every failed step, by name."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            user = data.user_failure_data
            found[event.step_key] = (user.description if user else None) or data.error.to_string()
    return found
