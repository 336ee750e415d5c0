"""The report's section on the model in service and the batches it has put into clusters since. No table is read."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ServedBatch:
    """A batch that the model in service was put to, and was neither trained nor tested on.

    frames: of the batch; new: those new to the model; unsure, unlike: shares of the frames that the model is less sure
    of than of 95 % of the held-out ones, and that are less like the training frames than 95 % of those, each 0 to 1;
    reasons: why it asks for a renewal, in words, none while the batch is as usual.
    """

    key: str
    frames: int
    new: int
    unsure: float
    unlike: float
    reasons: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return "; ".join(self.reasons) or "as usual"


@dataclass(frozen=True)
class ServiceSection:
    """number: of the model; since: when it came into service, as text; why: it was promoted, in words; made_of: method,
    K, seed, training images; n_models: how many models there have been; batches: see `ServedBatch`."""

    number: int
    since: str
    why: str
    made_of: str
    n_models: int
    batches: Sequence[ServedBatch] = ()

    @property
    def new_frames(self) -> int:
        return sum(batch.new for batch in self.batches)

    @property
    def conclusion(self) -> str:
        """What follows for a reader."""
        if not self.batches:
            return "No batch has come since that it was not trained or tested on."
        odd = [batch.key for batch in self.batches if batch.reasons]
        if not odd:
            return "Nothing in them asks for another model."
        which = f"Batch {odd[0]} asks" if len(odd) == 1 else f"{len(odd)} of them ask"
        return f"{which} for a new model: look at its frames, then renew it (job renew_model)."
