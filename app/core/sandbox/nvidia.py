"""What a confined child needs of the system to use an NVIDIA GPU: device nodes, and facts that the driver reads.

The list is the one that Ubuntu gives confined programs with CUDA (snapd, interface `opengl`), narrowed to the GPUs' own
folders in /sys. The driver's libraries lie in the folders that every program reads. The service of MPS is not reached,
because its processes connect to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.core.sandbox.landlock import FileAccess

DEVICE_NAMES: Final = "nvidia*"  # nvidiactl, nvidia0, nvidia-uvm, nvidia-uvm-tools, nvidia-modeset, nvidia-caps
FACTS: Final = (
    "/proc/driver/nvidia /proc/devices /proc/modules /proc/sys/vm/mmap_min_addr /proc/sys/vm/overcommit_memory "
    "/sys/devices/system/memory /sys/devices/system/node"
).split()
GPUS: Final = Path("/proc/driver/nvidia/gpus")
PCI_DEVICES: Final = Path("/sys/bus/pci/devices")


def gpu_devices(folder: Path = Path("/dev")) -> tuple[Path, ...]:
    """Return the device nodes of NVIDIA's driver; none where there is no such driver."""
    return tuple(sorted(folder.glob(DEVICE_NAMES)))


def with_gpu(access: FileAccess, devices: Sequence[Path]) -> FileAccess:
    """Return an access with these device nodes and all that belongs to them; unchanged if there are none."""
    if not devices:
        return access
    gpus = [PCI_DEVICES / gpu.name for gpu in sorted(GPUS.glob("*"))]
    return replace(
        access,
        reads=(*access.reads, *map(Path, FACTS), *gpus),
        listed=(*access.listed, PCI_DEVICES),
        devices=tuple(devices),
    )
