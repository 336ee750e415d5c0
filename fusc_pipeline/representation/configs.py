"""The choices of a training run in this package: dataclasses with ranges, importable without torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusc_pipeline.settings import check_settings, setting

if TYPE_CHECKING:
    from fusc_pipeline.representation.augment import Augmentation


@dataclass(frozen=True)
class SimclrConfig:
    """Every choice of a SimCLR run."""

    epochs: int = setting(500, "passes over the training images", 1, 5000)
    batch_size: int = setting(512, "images a step, two views of each; more images give more negatives", 4, 8192)
    lr: float = setting(0.4, "peak learning rate at this batch size (adamw: about 1e-3)", 1e-6, 20.0)
    optimizer: str = setting("sgd", "sgd as the FUSC code, adamw for short runs", choices=("sgd", "adamw"))
    momentum: float = setting(0.9, "of sgd", 0.0, 0.999)
    weight_decay: float = setting(1e-4, "on kernels and matrices only", 0.0, 1.0)
    warmup_epochs: float = setting(0.0, "linear warm-up, in epochs", 0.0, 100.0)
    temperature: float = setting(0.1, "of NT-Xent; lower weighs hard negatives more", 0.01, 2.0)
    projection_dim: int = setting(128, "width of the projection the loss sees", 8, 2048)
    projection_batch_norm: bool = setting(False, "batch norm inside the projection head (off in the FUSC code)")
    min_crop_scale: float = setting(0.2, "smallest crop, as a share of the image's area", 0.01, 1.0)
    rotation_degrees: float = setting(0.0, "views are turned by up to this; 0 as in the paper", 0.0, 180.0)
    gamma: float = setting(0.0, "views' grey levels are raised to exp(± this)", 0.0, 1.0)
    blur_p: float = setting(0.0, "probability of a blurred view; 0 as in the paper", 0.0, 1.0)
    backbone: str = setting("resnet18", "network, one of backbones.BACKBONES")
    seed: int = setting(0, "of weights, order and views", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)

    def augmentation(self) -> "Augmentation":
        from fusc_pipeline.representation.augment import Augmentation

        return Augmentation(
            min_crop_scale=self.min_crop_scale,
            rotation_degrees=self.rotation_degrees,
            gamma=self.gamma,
            blur_p=self.blur_p,
        )


@dataclass(frozen=True)
class SupervisedConfig:
    """Every choice of a supervised run."""

    epochs: int = setting(40, "passes over the labelled images", 1, 1000)
    batch_size: int = setting(128, "images a step", 2, 8192)
    lr: float = setting(1e-3, "peak learning rate of AdamW", 1e-6, 1.0)
    weight_decay: float = setting(0.05, "on kernels and matrices only", 0.0, 1.0)
    warmup_epochs: float = setting(2.0, "linear warm-up, in epochs", 0.0, 100.0)
    label_smoothing: float = setting(0.1, "share of the target spread over the other classes", 0.0, 0.9)
    balanced: bool = setting(False, "weigh classes by the inverse of their frequency")
    min_crop_scale: float = setting(0.5, "smallest crop, as a share of the image's area", 0.01, 1.0)
    rotation_degrees: float = setting(0.0, "views are turned by up to this", 0.0, 180.0)
    backbone: str = setting("resnet18", "network, one of backbones.BACKBONES")
    seed: int = setting(0, "of weights, order and views", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)
