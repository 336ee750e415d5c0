"""What the assets that train or infer share: the device, the corpus's pixels, weights on disk, learning curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.defs.engine.materialize import AssetConfig
from fusc_pipeline.defs.engine.preview import image_markdown
from fusc_pipeline.store.pixel_caches import pixel_cache
from fusc_pipeline.store.store import Draft, Store
from fusc_pipeline.store.whole import HISTORY

WEIGHTS = "weights.safetensors"


class ComputeConfig(AssetConfig):
    """Where an asset computes."""

    device: str = Field(
        default="",
        description="cuda, mps or cpu; empty: the best there is.",
        json_schema_extra={"runtime": True},
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of this process; 0: one per core it may use.",
        json_schema_extra={"runtime": True},
    )

    def compute(self):
        """The device as `fusc_pipeline.base.compute.Compute`, with this process's threads set."""
        from fusc_pipeline.base.compute import Compute

        found = Compute.detect(self.device or None, self.threads or None)
        found.apply_threads()
        return found


class PixelsConfig(ComputeConfig):
    """How a network sees an image."""

    image_size: int = Field(default=64, ge=32, le=1024, description="Side of the square the network sees, in pixels.")
    resize: str = Field(
        default="letterbox", description="letterbox keeps the aspect ratio, squash does not (the reference code)."
    )


class EncoderChoice(dg.Config):
    """Which network is the encoder, and what it starts from."""

    name: str = Field(default="resnet18", description="Network: resnet18, resnet18_medium, vgg16_bn, or any of timm's.")
    weights: str = Field(
        default="",
        description="A checkpoint on this machine (.safetensors, or a torch file of tensors) to start from: a DINOv2, "
        "a foundation model, an earlier run's weights.safetensors. imagenet: ImageNet's, for tf_efficientnet_lite0 "
        "from the package of the extra encoder-offline, else timm's own where it has them. Empty: random weights.",
        json_schema_extra={"runtime": True},  # its content decides, wherever it lies
    )
    frozen: bool = Field(default=False, description="Use the checkpoint as it is, without training.")

    def content(self) -> dict[str, str]:
        """What of the checkpoint decides a result: its hash. Raises BadInput when there is no such file, BadSetting
        when nothing is there to be frozen."""
        from fusc_pipeline.base.hashing import sha256_file
        from fusc_pipeline.representation.imagenet import IMAGENET, imagenet_content

        if not self.weights:
            if self.frozen:
                raise BadSetting("encoder.frozen is on without encoder.weights; name a checkpoint, or let it train")
            return {}
        if self.weights == IMAGENET:
            return {"weights": imagenet_content(self.name)}
        if not Path(self.weights).is_file():
            raise BadInput(f"encoder.weights {self.weights} is no file on this machine; give the checkpoint's path")
        return {"weights": sha256_file(Path(self.weights))}


class _Made(Protocol):
    """What is known of how an asset was made."""

    @property
    def config(self) -> Mapping[str, Any]: ...


class ModelFiles(Protocol):
    """Where a finished model lies: the store, or the bundle of a model in service."""

    def require(self, asset: str) -> _Made: ...

    def folder(self, asset: str) -> Path: ...


class ImagePixels:
    """Clean images as one uint8 array (N, S, S), in the order of `table` (columns image_id, scan_batch); decoded once.

    version: tells one set of images from another; sets of one version and size share a cache on the disk, `folder`.
    vectors: an encoder's name → embeddings (N, d) of these images, for those who need them more than once.
    """

    def __init__(self, store: Store, table: pa.Table, version: str, size: int, resize: str):
        from fusc_pipeline.representation.pixels import PixelCache, build_pixel_cache, resize_mode

        self.table = table
        self.ids: list[str] = self.table.column("image_id").to_pylist()
        self.vectors: dict[str, np.ndarray] = {}
        self.folder = folder = pixel_cache(store, version, size, resize)
        try:
            cache = PixelCache.open(folder)
            if cache.ids != self.ids:
                raise BadInput(f"{folder} holds other images")
        except BadInput:
            position = {image_id: i for i, image_id in enumerate(self.ids)}
            encoded: list[bytes | None] = [None] * len(self.ids)
            for image_id, png in clean_pngs(store, self.table):
                encoded[position[image_id]] = png
            pairs = ((i, png) for i, png in zip(self.ids, encoded, strict=True) if png is not None)
            cache = build_pixel_cache(pairs, len(self.ids), size, folder, resize_mode(resize))
        self.pixels = cache.pixels


class CorpusPixels(ImagePixels):
    """The corpus's images, in the corpus's order."""

    def __init__(self, store: Store, size: int, resize: str):
        super().__init__(store, store.table("corpus"), store.require("corpus").data_version, size, resize)

    def rows(self, split: str) -> list[int]:
        """Row numbers of a split."""
        return [i for i, name in enumerate(self.table.column("split").to_pylist()) if name == split]


def clean_pngs(store: Store, images: pa.Table):
    """(image_id, PNG bytes) of the images of a table (columns image_id, scan_batch), batch by batch."""
    import pyarrow.compute as pc

    for batch in images.column("scan_batch").unique().to_pylist():
        ids = images.filter(pc.field("scan_batch") == batch).column("image_id")
        wanted = pc.field("image_id").isin(ids.combine_chunks()) & pc.field("quarantined").is_null()
        scans = store.dataset("clean_images", batch)
        for piece in scans.to_batches(columns=["image_id", "image"], filter=wanted, batch_size=64):
            for row in piece.to_pylist():
                yield row["image_id"], row["image"]["bytes"]


def save_weights(path: Path, state: dict[str, Any]) -> None:
    """A state dict as safetensors: no pickle, so loading it runs no code."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, path)


def load_weights(path: Path) -> dict[str, Any]:
    """The state dict `save_weights` wrote; raises BadInput when the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} holds no readable weights ({error}); materialise its asset again with force") from error


def load_backbone(store: ModelFiles, compute, encoder: str = "simclr_encoder"):
    """The pretrained backbone of an encoder asset, on the device."""
    from fusc_pipeline.representation.backbones import restore_backbone

    name = store.require(encoder).config["encoder"]["name"]
    return compute.place(restore_backbone(name, load_weights(store.folder(encoder) / WEIGHTS)))


_TIMES = frozenset({"seconds", "images_per_second"})  # of a history's entry: how long it took is not what it learned


def write_history(draft: Draft, history: list[dict[str, Any]]) -> None:
    """Write what each epoch of a training, or of each fit's, came to; times in it make no other data version."""
    draft.path(HISTORY).write_text(json.dumps(history))
    draft.tells(HISTORY, _without_times(history))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(entry) for name, entry in value.items() if name not in _TIMES}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def curves_markdown(history: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, str]:
    """A learning-curve picture for an asset's metadata, small enough for the event log."""
    from fusc_pipeline.pictures.figures import learning_curves

    picture = learning_curves({"": history}, names)
    return {"md": image_markdown(picture, "learning curves") if picture else "no epoch was run"}


def log_device(context: dg.AssetExecutionContext, compute) -> None:
    context.log.info(
        f"{context.asset_key.to_user_string()}: {compute.device}, bf16 {compute.bf16}, {compute.threads} threads"
    )
