"""The choices of a training run in this package, with their ranges; importable without torch.

`…Training` is what an asset's config offers, `…Config` has what the asset decides as well.
"""

from typing import TYPE_CHECKING

from fusc_pipeline.base.settings import Settings, setting

if TYPE_CHECKING:
    from fusc_pipeline.representation.augment import Augmentation


class SimclrTraining(Settings):
    """How SimCLR is trained."""

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
    seed: int = setting(0, "of weights, order and views", 0, 2**31 - 1)

    def augmentation(self) -> "Augmentation":
        from fusc_pipeline.representation.augment import Augmentation

        return Augmentation(
            min_crop_scale=self.min_crop_scale,
            rotation_degrees=self.rotation_degrees,
            gamma=self.gamma,
            blur_p=self.blur_p,
        )


class SimclrConfig(SimclrTraining):
    """Every choice of a SimCLR run."""

    backbone: str = setting("resnet18", "network: resnet18, or any of timm's")
    weights: str = setting("", "checkpoint the training starts from; empty: random weights")


class DinoTraining(Settings):
    """How DINO is trained."""

    epochs: int = setting(300, "passes over the training images", 1, 5000)
    batch_size: int = setting(256, "images a step, each seen in 2 global and n_local local views", 2, 8192)
    lr: float = setting(5e-4, "peak learning rate of AdamW at this batch size", 1e-7, 1.0)
    min_lr: float = setting(1e-6, "learning rate at the end", 0.0, 1.0)
    warmup_epochs: float = setting(10.0, "linear warm-up, in epochs", 0.0, 100.0)
    weight_decay: float = setting(0.04, "at the start, on kernels and matrices only", 0.0, 1.0)
    weight_decay_end: float = setting(0.4, "at the end; follows half a cosine", 0.0, 1.0)
    clip_grad: float = setting(3.0, "largest norm of one parameter's gradient; 0: not clipped", 0.0, 100.0)
    drop_path: float = setting(0.1, "stochastic depth of the student", 0.0, 0.9)
    out_dim: int = setting(0, "prototypes of the head; 0: by the number of images (see dino.head_size)", 0, 262_144)
    hidden_dim: int = setting(2048, "width of the head's two hidden layers", 8, 8192)
    bottleneck_dim: int = setting(256, "width before the prototypes", 4, 2048)
    norm_last_layer: bool = setting(False, "prototypes keep unit length: steadier, a little worse")
    frozen_last_epochs: float = setting(1.0, "epochs in which the prototypes do not move", 0.0, 100.0)
    momentum: float = setting(0.996, "of the teacher's moving average at the start; 1 at the end", 0.0, 1.0)
    student_temperature: float = setting(0.1, "sharpness of the student's distribution", 0.01, 1.0)
    teacher_temperature: float = setting(0.04, "lower if the teacher's entropy stays near its maximum", 0.005, 1.0)
    teacher_temperature_start: float = setting(0.04, "teacher temperature before its warm-up", 0.005, 1.0)
    teacher_warmup_epochs: float = setting(0.0, "epochs of the teacher temperature's linear warm-up", 0.0, 500.0)
    center_momentum: float = setting(0.9, "of the centre that keeps one prototype from taking all", 0.0, 1.0)
    n_local: int = setting(8, "local views an image", 0, 32)
    local_share: float = setting(96 / 224, "side of a local view over a global one's", 0.1, 1.0)
    min_global_scale: float = setting(0.4, "smallest global crop, as a share of the image's area", 0.01, 1.0)
    min_local_scale: float = setting(0.05, "smallest local crop; the largest is min_global_scale", 0.01, 1.0)
    rotation_degrees: float = setting(0.0, "views are turned by up to this; 0 as in the authors' code", 0.0, 180.0)
    solarise_p: float = setting(0.2, "probability of inverted highlights in the second global view", 0.0, 1.0)
    seed: int = setting(0, "of weights, order and views", 0, 2**31 - 1)


class DinoConfig(DinoTraining):
    """Every choice of a DINO run; defaults are the authors' ViT-S/16 (METHODS §1.2) but for out_dim."""

    backbone: str = setting("vit_small_patch16_224", "network: resnet18, or any of timm's")
    weights: str = setting("", "checkpoint the training starts from; empty: random weights")


class SupervisedConfig(Settings):
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
    backbone: str = setting("resnet18", "network: resnet18, or any of timm's")
    seed: int = setting(0, "of weights, order and views", 0, 2**31 - 1)
