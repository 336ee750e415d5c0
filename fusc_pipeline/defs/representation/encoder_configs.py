"""The settings of the encoders' assets: the network, what it starts from, who trains it, and how."""

from pydantic import Field

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.settings import default_of
from fusc_pipeline.defs.engine.networks import EncoderChoice, PixelsConfig
from fusc_pipeline.representation.configs import DinoTraining, SimclrTraining


class EncoderConfig(PixelsConfig):
    """What every encoder asset's config has, beside its network and its training."""

    encoder: EncoderChoice = Field(description="Which network, and its weights.")
    monitor_every: int = Field(
        default=10,
        ge=0,
        description="Epochs between two measurements of k-NN accuracy on the test split's labels; 0: never.",
        json_schema_extra={"runtime": True},
    )
    warm_start: bool = Field(
        default=False,
        description="Start from the encoder of the model in service, where there is one of the same network. A renewal "
        "does so; its metadata tells the model's number. Another model in service by itself changes nothing.",
        json_schema_extra={"later": True},
    )

    def content(self) -> dict[str, str]:
        """What of the files named here decides the result; raises BadInput or BadSetting when it cannot be used."""
        if self.encoder.frozen and self.warm_start:
            raise BadSetting("warm_start trains on from the model in service, encoder.frozen does not train: take one")
        return self.encoder.content()


class SeveralProcesses(EncoderConfig):
    """For an encoder that several processes can train together.

    DINO is none: its stochastic depth draws from torch's global generator inside the network, so that ranks would not
    see what one process sees; its training takes one device.
    """

    processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that train together, each on its device; 0: one per visible GPU, one on a CPU. They "
        "learn what one process learns, up to rounding.",
        json_schema_extra={"runtime": True},
    )

    def devices(self) -> int:
        """As many as processes."""
        return 1 if self.encoder.frozen else self.processes


class SimclrEncoderConfig(SeveralProcesses, SimclrTraining):
    """How SimCLR is trained."""

    # Sized for two CPU cores and some thousand frames; the paper's own values are `SimclrConfig`'s (500 epochs, batch
    # 512).
    encoder: EncoderChoice = default_of(EncoderConfig, "encoder", EncoderChoice(name="resnet18"))
    epochs: int = default_of(SimclrTraining, "epochs", 50)
    batch_size: int = default_of(SimclrTraining, "batch_size", 64)
    optimizer: str = default_of(SimclrTraining, "optimizer", "adamw")
    lr: float = default_of(SimclrTraining, "lr", 1e-3)
    weight_decay: float = default_of(SimclrTraining, "weight_decay", 1e-2)
    warmup_epochs: float = default_of(SimclrTraining, "warmup_epochs", 4.0)
    rotation_degrees: float = default_of(SimclrTraining, "rotation_degrees", 90.0)


class DinoEncoderConfig(EncoderConfig, DinoTraining):
    """How DINO is trained."""

    # The same, for a vision transformer: few local views, a teacher that follows faster, a small head. The authors'
    # learning rate, 5e-4, is for batches of 256.
    encoder: EncoderChoice = default_of(EncoderConfig, "encoder", EncoderChoice(name="vit_small_patch16_224"))
    epochs: int = default_of(DinoTraining, "epochs", 60)
    batch_size: int = default_of(DinoTraining, "batch_size", 64)
    lr: float = default_of(DinoTraining, "lr", 1.25e-4)
    warmup_epochs: float = default_of(DinoTraining, "warmup_epochs", 6.0)
    hidden_dim: int = default_of(DinoTraining, "hidden_dim", 512)
    bottleneck_dim: int = default_of(DinoTraining, "bottleneck_dim", 128)
    momentum: float = default_of(DinoTraining, "momentum", 0.99)
    n_local: int = default_of(DinoTraining, "n_local", 4)
    local_share: float = default_of(DinoTraining, "local_share", 0.5)
    rotation_degrees: float = default_of(DinoTraining, "rotation_degrees", 90.0)
