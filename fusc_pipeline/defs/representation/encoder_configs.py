"""The settings of the encoders' assets: the network, what it starts from, who trains it, and how."""

from pydantic import Field, create_model

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.defs.engine.config_fields import asset_config
from fusc_pipeline.defs.engine.networks import EncoderChoice, PixelsConfig
from fusc_pipeline.representation.configs import DinoConfig, SimclrConfig


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


def encoder_base(name: str, kind: type[EncoderConfig] = EncoderConfig) -> type[EncoderConfig]:
    """An encoder's config, with this network where none is named."""
    choice = (EncoderChoice, Field(default=EncoderChoice(name=name), description="Which network, and its weights."))
    return create_model("EncoderBase", __base__=kind, encoder=choice)


# Sized for two CPU cores and some thousand frames; the paper's own values are the dataclass's (500 epochs, batch 512).
SimclrEncoderConfig = asset_config(
    "SimclrEncoderConfig",
    SimclrConfig,
    base=encoder_base("resnet18", SeveralProcesses),
    without=("backbone", "weights"),
    epochs=50,
    batch_size=64,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-2,
    warmup_epochs=4.0,
    rotation_degrees=90.0,
)

# The same, for a vision transformer: few local views, a teacher that follows faster, a small head.
DinoEncoderConfig = asset_config(
    "DinoEncoderConfig",
    DinoConfig,
    base=encoder_base("vit_small_patch16_224"),
    without=("backbone", "weights"),
    epochs=60,
    batch_size=64,
    lr=1.25e-4,  # the authors' 5e-4 is for batches of 256
    warmup_epochs=6.0,
    hidden_dim=512,
    bottleneck_dim=128,
    momentum=0.99,
    n_local=4,
    local_share=0.5,
    rotation_degrees=90.0,
)
