"""The synthesizer: a network behind an interface of arrays.

The synthesizer takes care of device and precision, normalisation, hiding the lower rows, channel order and batches, so
that its callers need not. If crops are larger than the network's size, the network gets them shrunk, and its drawing is
composed with the crops at full size, which keeps their detail. A crop's result does not depend on the other crops in
its batch: all batches have the same size, and short ones are filled up. Cutting a clip into segments therefore changes
no pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import F32, F64, I16, U8
from model.checkpoint import CheckpointConfig, default_checkpoint, load_network
from model.composition import Interior, Look, Part, compose, shrink
from model.network.folding import fold_batch_norms
from model.network.generator import Drawing, Generator
from model.sound import EncoderReader, MelReader, SoundReader
from model.speech_encoder.port import SpeechEncoder
from model.speech_encoder.sources import load_encoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Synthesizer:
    """Network, ready to draw the face in each crop as it looks while saying the sound around its frame.

    encoder: the speech encoder that the config names; None if it names none. The network must be in eval mode. The
    constructor changes it: folds its batch norms, moves it to the device and converts it to the precision. The caller
    must not use it afterwards.
    """

    def __init__(
        self,
        network: nn.Module,
        config: CheckpointConfig,
        device: str,
        precision: str,
        batch_size: int,
        encoder: SpeechEncoder | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"the batch size must be at least 1, not {batch_size}")
        fold_batch_norms(network)
        self._device, self._dtype = torch.device(device), DTYPES[precision]
        network.to(self._device, self._dtype).requires_grad_(False)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config, self.encoder = config, encoder
        self.device_name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        self.precision = precision
        self.batch_size = batch_size

    @property
    def reader(self) -> SoundReader:
        """Return the front end that turns a recording into what the network hears."""
        return MelReader(self.config.mel_window) if self.encoder is None else EncoderReader(self.encoder)

    def synthesize(
        self,
        crops: U8,
        sound: F32,
        references: U8 | None = None,
        interiors: Sequence[Interior | None] | None = None,
        movements: F32 | None = None,
        parts: Sequence[Part | None] | None = None,
    ) -> U8:
        """Synthesize N faces from the upper part of each crop and its whole reference.

        Without references, each crop is its own reference. crops, references: (N,P,P,3) uint8 RGB, P a multiple of
        config.image_size if config.keeps_detail, else config.image_size itself. sound: (N,rows,columns) float32, rows
        and columns as config.sound_shape says, see model/sound.py. interiors: the inside of each mouth, if known; only
        a network that draws a `Drawing` shows it. movements: how far each person opens and spreads the lips, (N,2)
        float32 with 1 for the usual; only a network with a hearing network uses it. parts: the part of each crop that
        is needed; a network that draws a `Drawing` leaves the rest black. Returns (N,P,P,3) uint8 RGB. If memory runs
        out, the batch size is halved, and stays so. Raises MemoryError if a single crop needs too much memory, and
        ValueError for wrong shapes or types.
        """
        references = crops if references is None else references
        moves = np.ones((len(crops), 2), np.float32) if movements is None else movements
        insides = [None] * len(crops) if interiors is None else list(interiors)
        needed = [None] * len(crops) if parts is None else list(parts)
        looks = [Look(*wanted) for wanted in zip(insides, needed, strict=True)]
        for pixels in (crops, references):
            self._check(pixels, sound)
        done = np.empty_like(crops)
        start = 0
        while start < len(crops):
            stop = min(start + self.batch_size, len(crops))
            try:
                part = slice(start, stop)
                done[part] = self._batch(crops[part], references[part], sound[part], moves[part], looks[part])
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                self._shrink(error)
                continue
            start = stop
        return done

    @torch.inference_mode()
    def hear(self, samples: I16, times_s: F64) -> F32 | None:
        """Return the normal articulation (N,7) that the network hears at each time (N,) in seconds.

        samples: (n,) int16 at 16 kHz. Returns None if the network draws without an articulation.
        """
        if not isinstance(self._network, Generator):
            return None
        hearing, sound = self._network.hearing, self.reader.read(samples).windows(times_s)
        rows: list[F32] = []
        for start in range(0, len(sound), self.batch_size):
            part = torch.from_numpy(np.nan_to_num(sound[start : start + self.batch_size, None]))
            _, predicted = hearing(part.to(self._device, self._dtype))
            rows.append(hearing.emphasised(predicted).float().cpu().numpy())
        return np.concatenate(rows)

    def _check(self, crops: U8, sound: F32) -> None:
        size, (rows, columns) = self.config.image_size, self.config.sound_shape
        fits = crops.ndim == 4 and crops.shape[1:] == (crops.shape[1], crops.shape[1], 3)
        if crops.dtype != np.uint8 or not fits or crops.shape[1] % size or crops.shape[1] < size:
            raise ValueError(f"crops must be (N,{size},{size},3) uint8, not {crops.shape} {crops.dtype}")
        if crops.shape[1] > size and not self.config.keeps_detail:
            raise ValueError(f"{self.config.architecture} takes crops of {size} px, not {crops.shape[1]}")
        if sound.shape != (len(crops), rows, columns):
            raise ValueError(f"the sound must be ({len(crops)},{rows},{columns}), not {sound.shape}")

    def _shrink(self, error: Exception) -> None:
        """Halve the batch size after an error that means too little memory; raise any other error again."""
        if not is_out_of_memory(error):
            raise error
        if self.batch_size == 1:
            raise MemoryError("the memory does not suffice for a single crop") from error
        self.batch_size //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _batch(self, crops: U8, references: U8, sound: F32, movements: F32, looks: Sequence[Look]) -> U8:
        count, size = len(crops), self.config.image_size
        heard = torch.zeros(self.batch_size, 1, *sound.shape[1:])
        heard[:count, 0] = torch.from_numpy(np.nan_to_num(sound))
        target, reference = self._pixels(shrink(crops, size)), self._pixels(shrink(references, size))
        faces = join_faces(target, reference, self.config.framing.hidden_from)
        inputs = [faces, heard.to(self._device, self._dtype)]
        if isinstance(self._network, Generator):
            moves = torch.ones(self.batch_size, 2)
            moves[:count] = torch.from_numpy(movements)
            inputs.append(moves.to(self._device))
        drawn = self._network(*inputs)
        if isinstance(drawn, Drawing):
            return self._composed(drawn, crops, references, looks)
        return self._levels(drawn)[:count]

    def _composed(self, drawing: Drawing, crops: U8, references: U8, looks: Sequence[Look]) -> U8:
        """Compose the drawings of a batch with the pixels of their crops; drawings of padding are left out."""
        offsets, colours = drawing.offsets.cpu().numpy(), self._levels(drawing.colours)
        masks, hidden_from = drawing.mask[:, 0].cpu().numpy(), self.config.framing.hidden_from
        faces = zip(crops, references, offsets, colours, masks, looks, strict=False)
        return np.stack([compose(crop, rest, hidden_from, *drawn) for crop, rest, *drawn in faces])

    def _levels(self, drawn: Tensor) -> U8:
        """Convert (N,3,S,S) in 0..1, in the network's channel order, to (N,S,S,3) uint8 RGB."""
        ordered = drawn.flip(1) if self.config.channel_order == "bgr" else drawn
        levels = (ordered * 255).round().clamp(0, 255).to(torch.uint8)
        pixels: U8 = levels.permute(0, 2, 3, 1).cpu().numpy()
        return pixels

    def _pixels(self, crops: U8) -> Tensor:
        """Move crops to the device, in the network's channel order and range, padded to a whole batch.

        (N,S,S,3) uint8 RGB -> (batch_size,3,S,S) in 0..1.
        """
        pixels = torch.zeros(self.batch_size, *crops.shape[1:], dtype=torch.uint8)
        pixels[: len(crops)] = torch.from_numpy(np.ascontiguousarray(crops))
        faces = pixels.to(self._device).permute(0, 3, 1, 2).to(self._dtype) / 255  # channels last, without a copy
        return faces.flip(1) if self.config.channel_order == "bgr" else faces


def join_faces(target: Tensor, reference: Tensor, hidden_from: float) -> Tensor:
    """Hide the lower rows of the target and join the reference.

    Two (N,3,S,S) in 0..1; hidden_from: the first hidden row, as a share of the height. Returns (N,6,S,S) in 0..1,
    channels last in memory; hidden rows are 0.
    """
    masked = target.clone()
    masked[:, :, round(target.shape[2] * hidden_from) :] = 0
    return torch.cat([masked, reference], dim=1).contiguous(memory_format=torch.channels_last)


def load_synthesizer(
    path: Path | None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 16,
    encoder_folder: Path | None = None,
) -> Synthesizer:
    """Load a checkpoint for use; None is the checkpoint that comes with the package.

    device: auto, cpu, cuda or cuda:N. precision: auto, fp32, bf16 or fp16. encoder_folder: of the speech encoder that
    the checkpoint may name; None is the one of the installed package. Raises CheckpointError for a file that
    cannot be used, and ValueError for a device or a precision that this machine does not have.
    """
    config, network = load_network(path or default_checkpoint())
    chosen = choose_device(device)
    encoder = None
    if config.speech_encoder:
        encoder = load_encoder(config.speech_encoder, encoder_folder, torch.get_num_threads())
    return Synthesizer(network, config, chosen, choose_precision(precision, chosen), batch_size, encoder)


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
        fast = _multiplies_bf16() if on_cpu else torch.cuda.is_bf16_supported()
        return "bf16" if fast else "fp32"
    if precision not in DTYPES:
        raise ValueError(f"the precision must be auto, {', '.join(DTYPES)}, not {precision!r}")
    if precision == "fp16" and on_cpu:
        raise ValueError("fp16 needs a GPU; use auto, fp32 or bf16")
    return precision


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "not enough memory" in str(error) or "out of memory" in str(error).lower()


def _multiplies_bf16() -> bool:
    """Return whether this CPU has instructions that multiply bfloat16 (AMX, AVX512-BF16)."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
