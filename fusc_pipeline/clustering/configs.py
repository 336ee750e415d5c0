"""The choices of a clustering run in this package, with their ranges; importable without torch.

`…Training` is what an asset's config offers, `…Config` has what the asset decides as well.
"""

from fusc_pipeline.base.settings import Settings, setting


class FuscTraining(Settings):
    """How FUSC's clustering step is trained."""

    epochs: int = setting(50, "passes over the training samples", 1, 5000)
    batch_size: int = setting(128, "anchors a step; 1024 and more on cached embeddings", 2, 65_536)
    lr: float = setting(1e-4, "learning rate of Adam for the backbone (cached embeddings have none)", 1e-7, 1.0)
    head_lr: float = setting(1e-4, "learning rate of Adam for the cluster heads", 1e-7, 10.0)
    weight_decay: float = setting(1e-4, "on kernels and matrices only", 0.0, 1.0)
    entropy_weight: float = setting(5.0, "lambda: higher spreads the samples more evenly over the clusters", 0.0, 100.0)
    neighbors_per_step: int = setting(1, "neighbours drawn for each anchor in a step", 1, 100)
    n_heads: int = setting(1, "heads trained side by side; the one with the lowest loss is kept", 1, 64)
    init: str = setting(
        "random", "heads start at random, or from k-means of the embeddings", choices=("random", "kmeans")
    )
    memory: int = setting(
        0, "recent predictions the entropy is taken over, beside the batch (cached embeddings only)", 0, 1_000_000
    )


class FuscConfig(FuscTraining):
    """Every choice of a FUSC fit; defaults are the reference code's (METHODS §1.4)."""

    n_clusters: int = setting(15, "K", 2, 10_000)
    seed: int = setting(0, "of heads, order, neighbours and views", 0, 2**31 - 1)


class SelfLabelTraining(Settings):
    """How self-labelling is trained."""

    epochs: int = setting(200, "passes over the training samples, at most", 1, 5000)
    batch_size: int = setting(1000, "samples a step", 2, 65_536)
    lr: float = setting(1e-4, "learning rate of Adam", 1e-7, 1.0)
    weight_decay: float = setting(1e-4, "on kernels and matrices only", 0.0, 1.0)
    threshold: float = setting(0.99, "least probability of a cluster for a sample to be trained on", 0.0, 1.0)
    balanced: bool = setting(True, "clusters present in a batch weigh the same")
    ema: float = setting(
        0.0, "decay a step of the averaged weights that label and are kept; 0: no averaging", 0.0, 0.9999
    )
    max_lost_clusters: int = setting(0, "stop when more clusters than this have become empty", 0, 10_000)
    min_agreement: float = setting(
        0.8, "stop when NMI with the partition before self-labelling is below this", 0.0, 1.0
    )


class SelfLabelConfig(SelfLabelTraining):
    """Every choice of a self-labelling run; defaults are the reference code's, but for the stop rules."""

    seed: int = setting(0, "of order and views", 0, 2**31 - 1)


class DeepClusterTraining(Settings):
    """How DeepCluster is trained."""

    epochs: int = setting(200, "passes over the training samples, each with a new assignment", 1, 5000)
    batch_size: int = setting(256, "images a step", 2, 8192)
    lr: float = setting(0.05, "learning rate of SGD, network and top layer", 1e-6, 10.0)
    momentum: float = setting(0.9, "of the network's SGD; the top layer has none", 0.0, 0.999)
    weight_decay: float = setting(1e-5, "on all weights", 0.0, 1.0)
    pca_dim: int = setting(256, "dimensions kept after whitening", 1, 4096)
    restarts: int = setting(1, "of k-means; the tightest is kept", 1, 100)


class DeepClusterConfig(DeepClusterTraining):
    """Every choice of a DeepCluster fit (DeepMCAT's row); defaults are DeepCluster's code (METHODS §1.6)."""

    n_clusters: int = setting(120, "K; DeepMCAT takes 8 times the number of views", 2, 10_000)
    seed: int = setting(0, "of order, views, k-means and sampling", 0, 2**31 - 1)
