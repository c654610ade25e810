"""In which numbers a model computes: float32, or bfloat16 where the processor has instructions for it."""

from contextlib import AbstractContextManager

import torch

CPU_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "arm_bf16")


def has_bf16() -> bool:
    """Whether this host's processor multiplies bfloat16 by itself. One that emulates it is ten times slower."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in CPU_INSTRUCTIONS)


def computing(bf16: bool, device: torch.device) -> AbstractContextManager[None]:
    """Compute in bfloat16 inside. The weights stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
