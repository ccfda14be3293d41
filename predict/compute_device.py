"""Where a network runs and in which arithmetic; chosen explicitly, never guessed silently."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Literal

import torch

from analysis.input_error import InputError

DeviceName = Literal["auto", "cpu", "cuda"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A torch device and whether convolutions run in bfloat16 on it."""

    name: str
    bfloat16: bool
    description: str

    @property
    def torch_device(self) -> torch.device:
        """Return the torch device."""
        return torch.device(self.name)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs."""
        return torch.autocast(self.torch_device.type, torch.bfloat16, enabled=self.bfloat16)

    def clock_s(self) -> float:
        """Return a clock of computing: of a GPU, or CPU time of this process by torch's threads.

        CPU time does not run while other programs have the core.
        """
        if self.torch_device.type == "cpu":
            return time.process_time() / torch.get_num_threads()
        torch.cuda.synchronize()
        return time.perf_counter()


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones, where it runs on glibc.

    Otherwise a tensor of more than 32 MiB is mapped anew each time and each of its pages faults,
    which took a third of the time of a U-Net of 16, 32 and 64 channels on blocks of 128^3 voxels.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1)):
            mallopt(parameter, value)


def choose_device(name: DeviceName = "auto", *, bfloat16: bool | None = None) -> ComputeDevice:
    """Choose the device: a GPU where there is one, else the CPU.

    Args:
        name: `auto`, `cpu` or `cuda`.
        bfloat16: True and False force the arithmetic; None takes bfloat16 where the hardware
            computes in it (avx512_bf16 or AMX on a CPU), because emulated bfloat16 is slower
            than float32.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device is cuda, but torch sees no GPU here.")
    if name != "cpu" and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        chosen = fast if bfloat16 is None else bfloat16
        what = torch.cuda.get_device_name()
        _sum_in_one_order()
        return ComputeDevice("cuda", chosen, f"GPU {what}, {_arithmetic(chosen)}")
    chosen = _cpu_computes_bfloat16() if bfloat16 is None else bfloat16
    capability = torch.backends.cpu.get_cpu_capability()
    return ComputeDevice("cpu", chosen, f"CPU ({capability}), {_arithmetic(chosen)}")


def _sum_in_one_order() -> None:
    """Let this process use algorithms of a GPU that give the same bits in every run."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
    # Of max_pool3d torch says that it has no such algorithm, but its windows do not overlap here.
    torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.filterwarnings("ignore", "max_pool3d_with_indices_backward_cuda does not have")
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def _cpu_computes_bfloat16() -> bool:
    """Tell whether this CPU has bfloat16 instructions and torch was built to use them."""
    if not torch.backends.mkldnn.is_available():
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _arithmetic(bfloat16: bool) -> str:
    return "bfloat16" if bfloat16 else "float32"
