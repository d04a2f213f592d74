"""Devices and precisions of torch: what a setting means on this machine."""

from __future__ import annotations

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str) -> str:
    """Return the torch device for a setting. Raises ValueError if this machine does not have it."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and (kind == "cpu" or not number.isdecimal())):
        raise ValueError(f"the device must be auto, cpu, cuda or cuda:N, not {device!r}")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise ValueError(f"this machine has no device {device!r}")
    return device


def choose_precision(precision: str, device: str) -> str:
    """Return fp32, bf16 or fp16 for a setting on a device. Raises ValueError if the device cannot compute in it."""
    on_cpu = device == "cpu"
    if precision == "auto":
        # An older CPU converts bfloat16 to float32 for every operation, so that bfloat16 is the slower of the two.
        fast = multiplies_bf16() if on_cpu else torch.cuda.is_bf16_supported()
        return "bf16" if fast else "fp32"
    if precision not in DTYPES:
        raise ValueError(f"the precision must be auto, {', '.join(DTYPES)}, not {precision!r}")
    if precision == "fp16" and on_cpu:
        raise ValueError("fp16 needs a GPU; use auto, fp32 or bf16")
    return precision


def multiplies_bf16() -> bool:
    """Return whether this CPU has instructions that multiply bfloat16 (AMX, AVX512-BF16)."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
