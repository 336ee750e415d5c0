"""Which device, precision and how many threads: decided once, used by every model. Imports torch only when asked."""

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from fusc_pipeline.base.errors import BadSetting


def usable_cores() -> int:
    """Cores this process may run on (its affinity mask, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads() -> int:
    """Threads a process of this program computes with: OMP_NUM_THREADS where somebody set it, else the usable cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else usable_cores()


@dataclass(frozen=True)
class Compute:
    """A device and how to use it. CPU is a first-class device: bf16 where the silicon multiplies it, fp32 elsewhere.

    device: "cuda", "mps" or "cpu"; bf16: run forward passes under bfloat16 autocast; channels_last: NHWC convolutions;
    threads: OpenMP threads of this process. Several threads fall off a cliff when other work takes part of the cores
    (measured: SimCLR from 160 to 1 image/s); OMP_NUM_THREADS=1 is the way out, and is respected.
    """

    device: str = "cpu"
    bf16: bool = False
    channels_last: bool = True
    threads: int = 1

    @classmethod
    def detect(cls, device: str | None = None, threads: int | None = None) -> "Compute":
        """The best device here (`cuda` > `mps` > `cpu`), or the one named; raises BadSetting when that is missing."""
        import torch

        found = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
        chosen = device or found[0]
        if chosen not in found:
            raise BadSetting(f"device is {chosen!r}, which is not usable here; usable: {', '.join(found)}")
        on_cuda = chosen == "cuda" and torch.cuda.is_bf16_supported()
        bf16 = on_cuda or (chosen == "cpu" and _cpu_multiplies_bf16())
        return cls(device=chosen, bf16=bf16, threads=threads or usable_threads())

    def apply_threads(self) -> None:
        """Set torch's thread count for this process."""
        import torch

        torch.set_num_threads(self.threads)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 autocast on this device, or nothing where bf16 is off."""
        import torch

        return torch.autocast(self.device, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def place(self, module: Any) -> Any:
        """A torch module on the device, in channels_last memory format when that is on."""
        import torch

        module = module.to(self.device)
        if self.device == "cpu":
            # torch's fused attention has a slow backward on CPU: with it a ViT-S step on 64 x 64 images takes 1.6 times
            # as long.
            for part in module.modules():
                if hasattr(part, "fused_attn"):
                    part.fused_attn = False
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def formatted(self, inputs: Any) -> Any:
        """A batch in the memory format of `place`: (B, C, H, W) tensors are channels_last when that is on."""
        import torch

        images = self.channels_last and inputs.ndim == 4
        return inputs.contiguous(memory_format=torch.channels_last) if images else inputs


def _cpu_multiplies_bf16() -> bool:
    """AMX-BF16 or AVX512-BF16: without either, bf16 on CPU is emulated and slower than fp32."""
    try:
        with open("/proc/cpuinfo") as stream:
            flags = next((line for line in stream if line.startswith("flags")), "")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
