"""The supervised row: the upper line. The training is `representation.supervised`'."""

from typing import Any

import numpy as np

from fusc_pipeline.base.schemas import CLUSTERS
from fusc_pipeline.base.settings import default_of, settings_of
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.defs.clustering.fits import Row
from fusc_pipeline.defs.engine.arrays import cluster_rows, label_numbers
from fusc_pipeline.defs.engine.networks import (
    WEIGHTS,
    CorpusPixels,
    ImagePixels,
    ModelFiles,
    PixelsConfig,
    curves_markdown,
    load_weights,
    log_device,
    save_weights,
    write_history,
)
from fusc_pipeline.defs.engine.progress import Progress
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.representation.configs import SupervisedConfig
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import HISTORY


class SupervisedAssetConfig(PixelsConfig, SupervisedConfig):
    """Every choice of a supervised run."""

    epochs: int = default_of(SupervisedConfig, "epochs", 25)
    batch_size: int = default_of(SupervisedConfig, "batch_size", 64)
    rotation_degrees: float = default_of(SupervisedConfig, "rotation_degrees", 90.0)


@stored_asset(
    deps=["corpus"],
    group="clustering",
    kinds={"pytorch", "parquet"},
    code_version="1",
    gpu=True,
)
def supervised(context: Request, config: SupervisedAssetConfig, store: Store) -> Work:
    """A ResNet18 trained on the pseudo-labels, from scratch: the upper line clustering is measured against.

    Its "clusters" are the views, in the order of `base.views.VIEWS`. Without labels the table is empty.
    """

    def holds():
        return [TABLE, HISTORY, *([WEIGHTS] if _labels_enough(store) else [])]

    def produce(draft):
        from fusc_pipeline.clustering.predictions import predict_probabilities
        from fusc_pipeline.representation.augment import plain_view
        from fusc_pipeline.representation.supervised import train_supervised

        corpus = CorpusPixels(store, config.image_size, config.resize)
        train = corpus.rows("train")
        labels = label_numbers(corpus.table, corpus.ids)
        if not _labels_enough(store):
            draft.write_table(CLUSTERS.empty_table())
            write_history(draft, [])
            draft.metadata |= {"dagster/row_count": 0, "skipped": "fewer than two training images have a label"}
            return
        compute = config.compute()
        log_device(context.run, compute)
        result = train_supervised(
            np.asarray(corpus.pixels[train]),
            labels[train],
            settings_of(config, SupervisedConfig),
            compute,
            draft.work / "checkpoint.pt",
            Progress(context.run, "supervised", config.epochs),
            n_classes=len(VIEWS),
        )
        probabilities = predict_probabilities(
            result.model, plain_view(corpus.pixels, compute), len(corpus.ids), compute
        )
        splits = corpus.table.column("split").to_pylist()
        draft.write_table(cluster_rows(corpus.ids, splits, probabilities, len(VIEWS), config.seed))
        save_weights(draft.path(WEIGHTS), result.model.state_dict())
        write_history(draft, result.history)
        draft.metadata |= {
            "dagster/row_count": len(corpus.ids),
            "train_accuracy": result.history[-1]["train_accuracy"],
            "curves": curves_markdown(result.history, ("loss", "train_accuracy")),
        }

    return Work(produce, holds=holds)


def _labels_enough(store: Store) -> bool:
    """Whether two training images or more have a label."""
    corpus = store.table("corpus", columns=["view", "split"]).to_pylist()
    return sum(row["split"] == "train" and row["view"] in VIEWS for row in corpus) >= 2


def _predict(store: ModelFiles, compute: Any, _n_clusters: int, _seed: int, images: ImagePixels) -> np.ndarray:
    from fusc_pipeline.clustering.predictions import predict_probabilities
    from fusc_pipeline.representation.augment import plain_view
    from fusc_pipeline.representation.supervised import build_classifier

    settings = store.require("supervised").config
    config = SupervisedConfig(**{name: settings[name] for name in SupervisedConfig.model_fields})
    model = build_classifier(config, len(VIEWS), compute)
    model.load_state_dict(load_weights(store.folder("supervised") / WEIGHTS))
    return predict_probabilities(model, plain_view(images.pixels, compute), len(images.ids), compute)


ROW = Row(supervised, "supervised", _predict, sees="supervised")
