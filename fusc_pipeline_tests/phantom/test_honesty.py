"""Raw pixels must not sort the views. The whole measurement is benchmarks/phantom_honesty.py."""

import cv2
import numpy as np
import pytest
from sklearn.cluster import KMeans

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.phantom import PhantomConfig, iter_frames
from fusc_pipeline.phantom.config import plan


@pytest.mark.slow
def test_kmeans_on_raw_pixels_stays_under_45_percent_purity() -> None:
    config = PhantomConfig(n_frames=1500, seed=21)
    thumbnails = []
    for frame in iter_frames(config):
        rows, columns = np.flatnonzero(frame.fan.any(1)), np.flatnonzero(frame.fan.any(0))
        picture = frame.anatomy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        thumbnails.append(cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA).ravel())
    views = np.array([VIEWS.index(view) for view in plan(config).views])
    clusters = KMeans(15, n_init=3, random_state=0).fit_predict(np.array(thumbnails, np.float32) / 255)
    largest = sum(np.bincount(views[clusters == k]).max() for k in range(15) if (clusters == k).any())
    assert largest / len(views) < 0.45
