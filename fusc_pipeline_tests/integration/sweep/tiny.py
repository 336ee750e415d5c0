"""The whole graph at its smallest: twelve drawn frames of six patients, an engine that costs nothing, networks of a few
thousand weights, two fits of everything.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from fusc_pipeline.text.engine import Word
from fusc_pipeline_tests.scans.make import sector

BATCH, FRAMES, SUBJECTS = "b", 12, 6
_WORDS = ("femur", "brain", "abdomen")
_NET = "{name: test_resnet, weights: '', frozen: false}"
SETTINGS = f"""\
ops:
  scans: {{config: {{workers: 1}}}}
  burned_in_text: {{config: {{workers: 1}}}}
  clean_images: {{config: {{workers: 1, check_text: false}}}}
  corpus: {{config: {{test_share: 0.34}}}}
  simclr_encoder: {{config: {{epochs: 2, batch_size: 4, image_size: 32, threads: 1, encoder: {_NET}}}}}
  dino_encoder: {{config: {{epochs: 1, batch_size: 4, image_size: 32, n_local: 1, hidden_dim: 16, bottleneck_dim: 8,
    threads: 1, encoder: {{name: test_vit}}}}}}
  simclr_embeddings: {{config: {{threads: 1}}}}
  dino_embeddings: {{config: {{threads: 1}}}}
  simclr_neighbors: {{config: {{n_neighbors: 3}}}}
  dino_neighbors: {{config: {{n_neighbors: 3}}}}
  kmeans_simclr: {{config: {{n_clusters: [2, 3], seeds: [0], n_init: 1, threads: 1}}}}
  kmeans_dino: {{config: {{n_clusters: [2], seeds: [0, 1], n_init: 1, threads: 1}}}}
  fusc_simclr: {{config: {{n_clusters: [2, 3], seeds: [0], epochs: 1, batch_size: 4, threads: 1}}}}
  fusc_dino: {{config: {{n_clusters: [2], seeds: [0, 1], epochs: 1, batch_size: 4, threads: 1}}}}
  fusc_simclr_selflabel: {{config: {{epochs: 1, batch_size: 4, threads: 1}}}}
  fusc_dino_selflabel: {{config: {{epochs: 1, batch_size: 4, threads: 1}}}}
  deepmcat: {{config: {{n_clusters: [2, 3], seeds: [0], epochs: 1, batch_size: 4, image_size: 32,
    backbone: test_resnet, threads: 1}}}}
  supervised: {{config: {{epochs: 1, batch_size: 4, image_size: 32, threads: 1, backbone: test_resnet}}}}
  inpainting_audit: {{config: {{sample: 4, probe_steps: 1, probe_frames: 8, pictures: 1, attention_size: 96,
    attention_epochs: 1, attention_frames: 8}}}}
  candidate_model: {{config: {{n_clusters: 3, threads: 1}}}}
  model_in_service: {{config: {{threads: 1}}}}
  batch_assignments: {{config: {{threads: 1}}}}
  external_purity: {{config: {{threads: 1}}}}
"""


def deliver(folder: Path) -> None:
    """Write the frames, each patient's into a folder of its own."""
    for index in range(FRAMES):
        picture, _ = sector(120, 160, r0=14, r1=106, apex_y=-4, seed=index)
        picture = np.minimum(picture, 250)
        picture[2:8, 2:12] = 255  # what the engine reads, outside the fan
        place = folder / f"patient{index % SUBJECTS}" / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place)


class Engine:
    """Reads one word where there is a white pixel; which one is decided by the picture."""

    name, fingerprint = "tiny", "tiny-1"

    def read(self, pixels: np.ndarray) -> list[Word]:
        if pixels.max() < 255:
            return []
        return [Word(2, 2, 12, 8, _WORDS[int(pixels.sum()) % len(_WORDS)], 0.9)]


def cheap() -> None:
    """Read, in this process and from now on, with the engine above, and without worker processes."""
    import fusc_pipeline.scans.batch as batch
    import fusc_pipeline.text.engines as engines
    import fusc_pipeline.text.pool as pool

    read_frames = pool.read_frames
    batch._in_order = lambda jobs, *_: (batch.scan_file(*job) for job in jobs)
    engines.engine_factory = lambda *_, **__: Engine
    pool.read_frames = lambda frames, engine, *_, **__: read_frames(frames, engine, 0)
