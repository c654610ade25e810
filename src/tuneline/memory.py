"""Memory that a process keeps for its next step, and takes as it is.

glibc gives a large buffer back to the kernel when it is freed, and the next step has every page of it made and zeroed
again: at 512 tokens that is half of the time of attention.
"""

import ctypes
import sys
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as malloc.h numbers them
NEVER = 2**31 - 1  # bytes


def keep_memory() -> None:
    """Tell the allocator to keep what is freed. Nothing happens where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, NEVER)


def leave_fresh_memory() -> None:
    """Where algorithms are deterministic, torch fills every fresh tensor with NaN, so that a read of what was never
    written shows. Nothing here reads so."""
    settings: Any = torch.utils.deterministic
    settings.fill_uninitialized_memory = False
