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

import cv2
import numpy as np

from model.arrays import F32, F64, I16, U8
from model.checkpoint_config import CheckpointConfig, default_checkpoint
from model.composition import FilmedCrops, Interior, Look, Part, compose, shrink
from model.known_pixels import PosedPicture, PosedReference
from model.runtimes.port import Runtime, is_out_of_memory
from model.sound import EncoderReader, MelReader, SoundReader
from model.speech_encoder.port import SpeechEncoder
from model.speech_encoder.sources import load_encoder


class Synthesizer:
    """A runtime with its network, ready to draw the face in each crop as it looks while saying the sound of its frame.

    encoder: the speech encoder that the config names; None if it names none.
    """

    def __init__(
        self, runtime: Runtime, config: CheckpointConfig, batch_size: int, encoder: SpeechEncoder | None = None
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"the batch size must be at least 1, not {batch_size}")
        self._runtime, self.config, self.encoder = runtime, config, encoder
        self.batch_size = batch_size

    @property
    def device_name(self) -> str:
        """Return the name of the device that the network runs on."""
        return self._runtime.device_name

    @property
    def precision(self) -> str:
        """Return the number format that the network computes in."""
        return self._runtime.precision

    @property
    def runtime(self) -> str:
        """Return the name of the runtime that computes the network."""
        return self._runtime.name

    @property
    def reader(self) -> SoundReader:
        """Return the front end that turns a recording into what the network hears."""
        return MelReader(self.config.mel_window) if self.encoder is None else EncoderReader(self.encoder)

    def synthesize(
        self,
        crops: U8 | FilmedCrops,
        sound: F32,
        references: U8 | Sequence[PosedReference] | None = None,
        interiors: Sequence[Interior | None] | None = None,
        movements: F32 | None = None,
        parts: Sequence[Part | None] | None = None,
    ) -> U8:
        """Synthesize N faces from the upper part of each crop and its whole reference.

        Without references, each crop is its own reference. crops: (N,P,P,3) uint8 RGB, P a multiple of
        config.image_size if config.keeps_detail, else config.image_size itself, or such crops with what the network
        sees of them; references: pictures like the crops, or N references that are read at full size only where they
        are shown. sound: (N,rows,columns) float32, rows and columns as config.sound_shape says, see model/sound.py.
        interiors: the inside of each mouth, if known; only a network that draws a `Drawing` shows it. movements: how
        far each person opens and spreads the lips, (N,2) float32 with 1 for the usual; only a network with a hearing
        network uses it. parts: the part of each crop that is needed; a network that draws a `Drawing` leaves the rest
        black. Returns (N,P,P,3) uint8 RGB. If memory runs out, the batch size is halved, and stays so. Raises
        MemoryError if a single crop needs too much memory, and ValueError for wrong shapes or types.
        """
        pixels = crops.pixels if isinstance(crops, FilmedCrops) else crops
        count = len(pixels)
        self._check(pixels, sound)
        filmed = crops if isinstance(crops, FilmedCrops) else FilmedCrops.of(crops, self.config.image_size)
        posed = self._posed(pixels if references is None else references, sound)
        moves = np.ones((count, 2), np.float32) if movements is None else movements
        insides = [None] * count if interiors is None else list(interiors)
        needed = [None] * count if parts is None else list(parts)
        looks = [Look(*wanted) for wanted in zip(insides, needed, strict=True)]
        done = np.zeros_like(pixels)
        start = 0
        while start < count:
            stop = min(start + self.batch_size, count)
            try:
                part = slice(start, stop)
                self._batch(filmed.some(part), posed[part], sound[part], moves[part], looks[part], done[part])
            except (MemoryError, RuntimeError) as error:
                self._shrink(error)
                continue
            start = stop
        return done

    def warm_up(self) -> None:
        """Draw a blank face, so that the first clip does not wait for what the runtime prepares once."""
        size, shape = self.config.image_size, self.config.sound_shape
        self.synthesize(np.zeros((1, size, size, 3), np.uint8), np.zeros((1, *shape), np.float32))

    def hear(self, samples: I16, times_s: F64) -> F32 | None:
        """Return the normal articulation (N,7) that the network hears at each time (N,) in seconds.

        samples: (n,) int16 at 16 kHz. Returns None if the network draws without an articulation.
        """
        sound = np.nan_to_num(self.reader.read(samples).windows(times_s))
        starts = range(0, len(sound), self.batch_size)
        rows = [self._runtime.hear(sound[start : start + self.batch_size]) for start in starts]
        heard = [part for part in rows if part is not None]
        return np.concatenate(heard) if heard else None

    def _check(self, crops: U8, sound: F32) -> None:
        size, (rows, columns) = self.config.image_size, self.config.sound_shape
        fits = crops.ndim == 4 and crops.shape[1:] == (crops.shape[1], crops.shape[1], 3)
        if crops.dtype != np.uint8 or not fits or crops.shape[1] % size or crops.shape[1] < size:
            raise ValueError(f"crops must be (N,{size},{size},3) uint8, not {crops.shape} {crops.dtype}")
        if crops.shape[1] > size and not self.config.keeps_detail:
            raise ValueError(f"{self.config.architecture} takes crops of {size} px, not {crops.shape[1]}")
        if sound.shape != (len(crops), rows, columns):
            raise ValueError(f"the sound must be ({len(crops)},{rows},{columns}), not {sound.shape}")

    def _posed(self, references: U8 | Sequence[PosedReference], sound: F32) -> Sequence[PosedReference]:
        """Return references that may be pictures (N,P,P,3) as references in the pose of their crops."""
        if not isinstance(references, np.ndarray):
            self._check(np.stack([reference.seen for reference in references]), sound)
            return references
        self._check(references, sound)
        seen = shrink(references, self.config.image_size)
        return [PosedReference(*one) for one in zip(seen, map(PosedPicture, references), strict=True)]

    def _shrink(self, error: Exception) -> None:
        """Halve the batch size after an error that means too little memory; raise any other error again."""
        if not is_out_of_memory(error):
            raise error
        if self.batch_size == 1:
            raise MemoryError("the memory does not suffice for a single crop") from error
        self.batch_size //= 2
        self._runtime.release()

    def _batch(
        self,
        crops: FilmedCrops,
        references: Sequence[PosedReference],
        sound: F32,
        movements: F32,
        looks: Sequence[Look],
        done: U8,
    ) -> None:
        """Synthesize at most a batch of faces into `done`, (n,P,P,3)."""
        count, config = len(crops.seen), self.config
        heard = np.zeros((self.batch_size, *sound.shape[1:]), np.float32)
        heard[:count] = np.nan_to_num(sound)
        moves = np.ones((self.batch_size, 2), np.float32)
        moves[:count] = movements
        drawn = self._runtime.draw(self._faces(crops.seen, references), heard, moves)
        levels = self._in_order(drawn.levels)[:count]
        if drawn.offsets is None or drawn.mask is None:
            done[...] = levels
            return
        faces = zip(crops.pixels, references, drawn.offsets, levels, drawn.mask, looks, strict=False)  # without padding
        for place, (crop, rest, offsets, colours, mask, look) in zip(done, faces, strict=True):
            shown = place if look.part is None else place[look.part.large]
            shown[...] = compose(crop, rest, config.framing.hidden_from, offsets, colours, mask, look)

    def _faces(self, targets: U8, references: Sequence[PosedReference]) -> U8:
        """Join targets (n,S,S,3), their lower rows hidden, with references, and fill up the batch with black ones.

        Returns (batch_size,S,S,6) uint8 in the network's channel order.
        """
        size, shown = self.config.image_size, self.config.hidden_row
        faces = np.zeros((self.batch_size, size, size, 6), np.uint8)
        order = (0, 1, 2) if self.config.channel_order == "rgb" else (2, 1, 0)
        to_target = [place for pair in zip(order, (0, 1, 2), strict=True) for place in pair]
        to_reference = [place for pair in zip(order, (3, 4, 5), strict=True) for place in pair]
        for face, target, reference in zip(faces, targets, references, strict=False):
            cv2.mixChannels([target[:shown]], [face[:shown]], to_target)
            cv2.mixChannels([reference.seen], [face], to_reference)
        return faces

    def _in_order(self, pixels: U8) -> U8:
        """Convert between RGB and the network's channel order, which is the same in both directions."""
        return np.ascontiguousarray(pixels[..., ::-1]) if self.config.channel_order == "bgr" else pixels


def load_synthesizer(
    path: Path | None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 16,
    encoder_folder: Path | None = None,
) -> Synthesizer:
    """Load a checkpoint for use with torch; None is the checkpoint that comes with the package.

    device: auto, cpu, cuda or cuda:N. precision: auto, fp32, bf16 or fp16. encoder_folder: of the speech encoder that
    the checkpoint may name; None is the one of the installed package. Raises CheckpointError for a file that
    cannot be used, and ValueError for a device or a precision that this machine does not have.
    """
    import torch

    from model.checkpoint import load_network
    from model.runtimes.devices import choose_device, choose_precision
    from model.runtimes.torch_runtime import TorchRuntime

    config, network = load_network(path or default_checkpoint())
    chosen = choose_device(device)
    runtime = TorchRuntime(network, chosen, choose_precision(precision, chosen), hidden_row=config.hidden_row)
    encoder = load_named_encoder(config, encoder_folder, torch.get_num_threads())
    return Synthesizer(runtime, config, batch_size, encoder)


def load_named_encoder(config: CheckpointConfig, folder: Path | None, threads: int) -> SpeechEncoder | None:
    """Load the speech encoder that a config names, None if it names none. Raises CheckpointError."""
    return load_encoder(config.speech_encoder, folder, threads) if config.speech_encoder else None
