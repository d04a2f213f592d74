"""Find, verify and load the generator's checkpoint, and the speech encoder that it names, as the settings say."""

from __future__ import annotations

import logging
from pathlib import Path

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.settings import Settings
from model.arrays import F32
from model.checkpoint_config import CheckpointConfig, default_checkpoint
from model.errors import CheckpointError
from model.runtimes.openvino_runtime import OpenvinoRuntime
from model.runtimes.port import Runtime
from model.speech_encoder.sources import encoder_folder, verify_encoder
from model.synthesizer import Synthesizer, load_named_encoder, load_synthesizer
from worker.process_share import network_threads, settle_process
from worker.runtime_choice import ChosenRuntime, choose_runtime, settled

_log = logging.getLogger("lipsync.worker")


def checkpoint_path(settings: Settings) -> Path:
    """Return the path of the generator's checkpoint: from the settings, else the one in the package."""
    return settings.checkpoint or default_checkpoint()


def settle_network(settings: Settings) -> Settings:
    """Return the settings with the chosen runtime and precision in place of `auto`; keep nothing loaded.

    So neither this process nor its children choose, and perhaps measure, again. Raises ServiceError if the checkpoint
    or the speech encoder that it names cannot be used: checkpoint_missing if a file is missing, else
    checkpoint_invalid. Raises InputError for a runtime or a precision that this machine does not have.
    """
    path = checkpoint_path(settings)
    if not path.is_file():
        raise ServiceError(ErrorCode.CHECKPOINT_MISSING, f"There is no checkpoint named {path.name}.")
    chosen = choose(settings)
    config = chosen.config or _read_config(path)
    if config.speech_encoder:
        verify_speech_encoder(config.speech_encoder, settings)
    _log.info("network runtime=%s precision=%s reason=%s", chosen.runtime, chosen.precision, chosen.reason)
    return settled(settings, chosen)


def _read_config(path: Path) -> CheckpointConfig:
    """Read a checkpoint with all its weights and return its config; what was measured with it was read before."""
    import torch

    from model.checkpoint import read_checkpoint

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the parent of the pool forks after this, and threads of OpenMP do not survive a fork
    try:
        return read_checkpoint(path)[0]
    except CheckpointError as error:
        raise _invalid(error) from None
    finally:
        torch.set_num_threads(threads)


def verify_speech_encoder(name: str, settings: Settings) -> Path:
    """Return the folder of the named speech encoder; raises ServiceError as `settle_network` does."""
    try:
        encoder_folder(settings.speech_encoder)
    except CheckpointError as error:
        raise ServiceError(ErrorCode.CHECKPOINT_MISSING, f"The checkpoint cannot be used: {error}.") from None
    try:
        return verify_encoder(name, settings.speech_encoder)
    except CheckpointError as error:
        raise _invalid(error) from None


def _invalid(error: CheckpointError) -> ServiceError:
    return ServiceError(ErrorCode.CHECKPOINT_INVALID, f"The checkpoint cannot be used: {error}.")


def choose(settings: Settings) -> ChosenRuntime:
    """Choose the runtime for the settings; see `choose_runtime`."""
    return choose_runtime(settings, network_threads(settings))


def load_generator(settings: Settings) -> Synthesizer:
    """Load the generator, warm, onto the device of the settings; settle this process into its share of the machine.

    Raises ServiceError for a checkpoint that cannot be used, InputError for a device, a runtime or a precision that
    this machine does not have.
    """
    settle_process()
    chosen, path = choose(settings), checkpoint_path(settings)
    threads = network_threads(settings)
    try:
        if chosen.runtime == "openvino" and chosen.config is not None and chosen.converted is not None:
            encoder = load_named_encoder(chosen.config, settings.speech_encoder, threads)
            runtime = OpenvinoRuntime(chosen.converted, chosen.precision, threads, _Hearing(path, threads))
            synthesizer = Synthesizer(runtime, chosen.config, settings.batch_size, encoder)
        else:
            import torch

            torch.set_num_threads(threads)
            parts = settings.device, chosen.precision, settings.batch_size, settings.speech_encoder
            synthesizer = load_synthesizer(path, *parts)
    except CheckpointError as error:
        raise _invalid(error) from None
    except ValueError as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"LIPSYNC_DEVICE, LIPSYNC_PRECISION: {error}.") from None
    synthesizer.warm_up()
    return synthesizer


class _Hearing:
    """Hearing with torch, for a network that another runtime draws with; it is loaded when it is first asked."""

    def __init__(self, checkpoint: Path, threads: int) -> None:
        self._checkpoint, self._threads = checkpoint, threads
        self._runtime: Runtime | None = None

    def __call__(self, sound: F32) -> F32 | None:
        if self._runtime is None:
            import torch

            from model.checkpoint import load_network
            from model.runtimes.torch_runtime import TorchRuntime

            torch.set_num_threads(self._threads)
            self._runtime = TorchRuntime(load_network(self._checkpoint)[1], "cpu", "fp32")
        return self._runtime.hear(sound)
