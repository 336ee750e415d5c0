"""Another data set, clustered by finished models (the paper's "Model Generalizability"): its figures and its section.

Applying the models is the caller's; here clusters are scored against that set's own classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fusc_pipeline.evaluation import metrics


@dataclass(frozen=True)
class ExternalSet:
    """The scored images of an external batch: a label or None each; unseen: labels that none of our views shows.

    Fields are named as the columns of `schemas.EXTERNAL_PURITY`.
    """

    scan_batch: str
    data_set: str
    label_source: str
    labels: Sequence[str | None]
    unseen: Sequence[str] = ()
    n_excluded: int = 0
    n_in_corpus: int = 0

    @property
    def n_classes(self) -> int:
        return len({label for label in self.labels if label is not None})

    def _facts(self, model: str, n_clusters: int) -> dict:
        names = ("scan_batch", "data_set", "label_source", "n_excluded", "n_in_corpus", "n_classes")
        k = {"n_clusters": n_clusters, "as_many_as_classes": n_clusters == self.n_classes}
        return {name: getattr(self, name) for name in names} | {"model": model, **k}

    def scored(self, model: str, n_clusters: int, seed: int, clusters: np.ndarray, note: str | None = None) -> dict:
        """The row of `schemas.EXTERNAL_PURITY` of one fit that put image i into clusters[i]."""
        scores = asdict(metrics.score(list(self.labels), clusters, n_clusters))
        places = unseen_places(self.labels, clusters, self.unseen)
        return {**self._facts(model, n_clusters), "seed": seed, **scores, "unseen": places, "note": note}

    def not_fitted(self, model: str, n_clusters: int, note: str) -> dict:
        """The row of a model without a fit of this K."""
        n = sum(label is not None for label in self.labels)
        sizes = {"n": n, "n_unlabelled": len(self.labels) - n}
        return {**self._facts(model, n_clusters), **sizes, "unseen": [], "note": note}


def unseen_places(labels: Sequence[str | None], clusters: np.ndarray, unseen: Sequence[str]) -> list[dict]:
    """For each label of `unseen` that occurs: n images, the cluster with most of them, the share of them in it, and
    their share of that cluster's labelled images (`purity`)."""
    known = metrics.has_label(list(labels))
    truth, found = np.asarray(labels, dtype=object)[known], np.asarray(clusters)[known]
    places = []
    for label in unseen:
        mine = found[truth == label]
        if len(mine):
            cluster = int(np.bincount(mine).argmax())
            held = int((mine == cluster).sum())
            purity = held / int((found == cluster).sum())
            places.append(
                {"label": label, "n": len(mine), "cluster": cluster, "share": held / len(mine), "purity": purity}
            )
    return places
