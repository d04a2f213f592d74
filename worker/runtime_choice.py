"""The choice of the runtime: measured once on this machine, remembered in a file, and the same for all processes.

Two children may render segments of one job, so both must draw with the same runtime in the same precision. The parent
of the pool chooses before it forks. What it measured lies in a file whose name depends on everything that could change
the outcome: processor, threads, batch size, weights, versions. A lock lets one process measure while others wait for
its file. The choice itself is a function of that file and of the settings.

A file also holds the config of the weights, and its neighbours are the network as OpenVINO reads it. A process that
draws with OpenVINO thus never loads torch, which would take 200 MB.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

import model.runtimes
from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.files import file_sha256, replacing
from app.core.locks import locked
from app.core.own_modules import with_own_modules
from app.core.parent_death import tied_to_this_process
from app.core.settings import Settings
from model.checkpoint_config import CheckpointConfig, default_checkpoint
from model.runtimes.measure import MeasureAnswer, MeasureRequest
from model.runtimes.measured import Measured, choose
from model.runtimes.openvino_runtime import MISSING, is_installed
from model.runtimes.port import RuntimeUnavailableError

TIMEOUT_S: Final = 180.0
KEPT: Final = 8  # measurements with their networks, of 14 MB each
FOLDER: Final = "runtimes"
_GPU_NODES: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))

Measure = Callable[[MeasureRequest], MeasureAnswer]

_log = logging.getLogger("lipsync.worker")


class Remembered(BaseModel):
    """What was measured on a machine. sha256: of the network's converted files by suffix, empty without OpenVINO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: dict[str, str]
    measured_at: datetime
    config: str
    measured: list[Measured]
    sha256: dict[str, str]


@dataclass(frozen=True)
class ChosenRuntime:
    """Runtime and precision, and why. precision: `auto` is torch's own rule for its device.

    config, converted: of the weights, from the measurement; None if torch is to read the checkpoint itself. measured:
    all that was measured.
    """

    runtime: str
    precision: str
    reason: str
    config: CheckpointConfig | None = None
    converted: Path | None = None
    measured: tuple[Measured, ...] = ()


def choose_runtime(
    settings: Settings, threads: int, measure: Measure | None = None, installed: Callable[[], bool] = is_installed
) -> ChosenRuntime:
    """Choose the runtime of the network, and measure first if this machine has not been measured yet.

    threads: of the network. measure: None measures in a process of its own. installed: whether OpenVINO is. Raises
    InputError for a runtime or precision that cannot be used here, ServiceError for a checkpoint that cannot.
    """
    if settings.runtime == "torch":
        return ChosenRuntime("torch", settings.precision, "LIPSYNC_RUNTIME says so")
    asked, reason = settings.runtime == "openvino", _obstacle(settings, installed())
    if reason:
        if asked:
            raise _refused(reason)
        return ChosenRuntime("torch", settings.precision, reason)
    try:
        remembered, converted = _remembered(settings, threads, measure or measure_apart)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = f"the runtimes could not be measured ({' '.join(str(error).split())[-300:]})"
        if asked:
            raise _refused(reason) from None
        _log.warning("%s, so torch computes the network", reason)
        return ChosenRuntime("torch", settings.precision, reason)
    try:
        best = choose(remembered.measured, settings.runtime, settings.precision)
    except RuntimeUnavailableError as error:
        if asked:
            raise _refused(str(error)) from None
        return ChosenRuntime("torch", settings.precision, str(error))
    config, measured = CheckpointConfig.from_json(remembered.config), tuple(remembered.measured)
    return ChosenRuntime(
        best.runtime, best.precision, f"measured {remembered.measured_at:%Y-%m-%d}", config, converted, measured
    )


def settled(settings: Settings, chosen: ChosenRuntime) -> Settings:
    """Return the settings with the choice in place of `auto`, so that all children of a parent draw alike."""
    return settings.model_copy(update={"runtime": chosen.runtime, "precision": chosen.precision})


def _obstacle(settings: Settings, installed: bool) -> str:
    """Return why OpenVINO is out of the question, so that nothing need be measured; "" if it is not."""
    cpu_build = importlib.metadata.version("torch").endswith("+cpu")
    if settings.device.startswith("cuda"):
        return "openvino runs on the CPU only, and LIPSYNC_DEVICE names a GPU"
    if settings.device == "auto" and not cpu_build and any(node.exists() for node in _GPU_NODES):
        return "openvino runs on the CPU only, and this machine has a GPU; LIPSYNC_DEVICE=cpu leaves it unused"
    if not installed:
        return MISSING
    if settings.precision == "fp16":
        return "fp16 needs a GPU"
    return ""


def _remembered(settings: Settings, threads: int, measure: Measure) -> tuple[Remembered, Path]:
    """Return what is known of this machine and the converted network; measure if nothing is known."""
    checkpoint = settings.checkpoint or default_checkpoint()
    facts = _facts(checkpoint, threads, settings.batch_size)
    folder = _folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]}.json"
    with locked(folder / ".lock", never_stop):
        known = _read(path, facts)
        if known is None:
            _log.info("measuring the runtimes of this machine, once")
            request = MeasureRequest(
                checkpoint=checkpoint.absolute(),
                converted=path.with_suffix(".xml").absolute(),
                threads=threads,
                batch_size=settings.batch_size,
            )
            known = _measured(path, facts, measure, request)
            _log.info("measured %s", ", ".join(str(one) for one in known.measured))
            _remove_oldest(folder)
    return known, path.with_suffix(".xml")


def _measured(path: Path, facts: dict[str, str], measure: Measure, request: MeasureRequest) -> Remembered:
    for suffix in (".xml", ".bin"):
        path.with_suffix(suffix).unlink(missing_ok=True)
    answer = measure(request)
    if answer.refused:
        raise ServiceError(ErrorCode.CHECKPOINT_INVALID, f"The checkpoint cannot be used: {answer.refused}.")
    known = Remembered(
        facts=facts,
        measured_at=datetime.now(UTC),
        config=answer.config,
        measured=answer.measured,
        sha256=_hashes(path),
    )
    with replacing(path) as partial:
        partial.write_text(known.model_dump_json(indent=1))
    return known


def _read(path: Path, facts: Mapping[str, str]) -> Remembered | None:
    """Return what a file remembers; None if there is none, or if anything is not as it was written."""
    try:
        known = Remembered.model_validate_json(path.read_bytes())
        CheckpointConfig.from_json(known.config)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, ValueError) as error:
        _log.warning("the remembered runtimes cannot be read, they are measured again error=%s", type(error).__name__)
        return None
    if known.facts != facts or known.sha256 != _hashes(path):
        _log.warning("the remembered runtimes belong to something else or are damaged, they are measured again")
        return None
    return known


def _hashes(path: Path) -> dict[str, str]:
    """Return the hashes of the converted network's files that are there."""
    files = {suffix: path.with_suffix(suffix) for suffix in (".xml", ".bin")}
    return {suffix: file_sha256(file) for suffix, file in files.items() if file.is_file()}


def _remove_oldest(folder: Path) -> None:
    """Keep the newest measurements; a process reads the files of its own when it starts."""
    newest_first = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[KEPT:]:
        for suffix in (".json", ".xml", ".bin"):
            path.with_suffix(suffix).unlink(missing_ok=True)


def _facts(checkpoint: Path, threads: int, batch_size: int) -> dict[str, str]:
    """Return everything that could change what is measured."""
    processor, flags = _processor()
    return {
        "code": _own_code(),
        "processor": processor,
        "flags": hashlib.sha256(flags.encode()).hexdigest(),
        "threads": str(threads),
        "batch_size": str(batch_size),
        "checkpoint": file_sha256(checkpoint),
        **{name: importlib.metadata.version(name) for name in ("torch", "openvino", "numpy")},
    }


def _own_code() -> str:
    """Return a hash of the code that computes the network, because a converted network contains what it does."""
    root, total = Path(model.runtimes.__file__).parents[1], hashlib.sha256()
    for part in ("network", "runtimes"):
        for path in sorted((root / part).glob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()


def _processor() -> tuple[str, str]:
    """Return the name of the processor and its sorted instruction sets, where the system says them."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8", errors="replace").split("\n\n")[0] if listing.exists() else ""
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines.splitlines())}
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", platform.processor() or platform.machine()), " ".join(sorted(flags.split()))


def _folder(settings: Settings) -> Path:
    """Return the folder of measurements: in the data folder of a service; without one, in the user's cache."""
    if settings.data_dir.is_dir():
        return settings.data_dir / FOLDER
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "lipsync" / FOLDER


def measure_apart(request: MeasureRequest) -> MeasureAnswer:
    """Measure in a process of its own, which dies with this one; raises OSError, RuntimeError or SubprocessError."""
    done = subprocess.run(
        tied_to_this_process([sys.executable, "-m", "model.runtimes.measure"]),
        input=request.model_dump_json().encode(),
        env=with_own_modules(os.environ),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return read_answer(done)


def read_answer(done: subprocess.CompletedProcess[bytes]) -> MeasureAnswer:
    """Return the answer of a process that measured: its last line. Raises RuntimeError if it has none."""
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"status {done.returncode}: {lines[-1] if lines else 'no message'}")
    try:
        return MeasureAnswer.model_validate_json(b"".join(done.stdout.splitlines()[-1:]))
    except ValidationError as error:
        raise RuntimeError("the answer cannot be read") from error


def _refused(reason: str) -> InputError:
    return InputError(ErrorCode.OPTION_INVALID, f"LIPSYNC_RUNTIME: {reason}.")
