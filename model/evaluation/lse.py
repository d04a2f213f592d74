"""LSE-D and LSE-C: how well lips and sound match, and how clearly, as measured by SyncNet.

As published with Wav2Lip (Prajwal et al. 2020, arXiv 2008.10010), five frames are compared with 0.2 s of sound at
offsets of -15 .. 15 frames. LSE-D is the smallest of the mean distances; LSE-C is their median minus the smallest. The
sound enters as MFCC with the conventions and defaults of the python_speech_features package, because the published
weights were trained on it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional as F

from model.arrays import F64, I16, U8
from model.audio import SAMPLE_RATE_HZ
from model.network.syncnet_v2 import SyncNetV2

FPS = 25
RUN = 5  # consecutive frames that SyncNet sees at once
MAX_OFFSET = 15
LEAST_S = (RUN + 2) / FPS  # shortest picture and sound: two distances at each offset
COEFFICIENTS = 13
_COLUMNS_PER_FRAME = 4  # 100 a second
_COLUMNS = RUN * _COLUMNS_PER_FRAME
_WINDOW, _STEP, _FFT_SIZE = 400, 160, 512  # 25 ms every 10 ms
_BANDS, _PREEMPHASIS, _LIFTER = 26, 0.97, 22
_BATCH = 8
_EPS = float(np.finfo(float).eps)


def mfcc(samples: I16) -> F64:
    """Return the MFCC of sound (n,) int16 at 16 kHz, (columns, 13) float64; the first coefficient is the log energy."""
    signal = samples.astype(np.float64)
    signal = np.concatenate([signal[:1], signal[1:] - _PREEMPHASIS * signal[:-1]])
    count = 1 + max(0, -(-(len(signal) - _WINDOW) // _STEP))
    padded = np.concatenate([signal, np.zeros((count - 1) * _STEP + _WINDOW - len(signal))])
    frames = padded[np.arange(count)[:, None] * _STEP + np.arange(_WINDOW)]  # (columns, 400)
    power = np.abs(np.fft.rfft(frames, _FFT_SIZE)) ** 2 / _FFT_SIZE  # (columns, 257)
    energy = np.maximum(power.sum(axis=1), _EPS)
    bands = np.maximum(power @ _bank().T, _EPS)
    cepstrum: F64 = dct(np.log(bands), type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    cepstrum = cepstrum * (1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER))
    cepstrum[:, 0] = np.log(energy)
    return cepstrum


@lru_cache(maxsize=1)
def _bank() -> F64:
    """Return triangular bands (26, 257), evenly spaced on the mel scale, with edges at whole FFT bins."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700), _BANDS + 2)
    edges = np.floor((_FFT_SIZE + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE_HZ)
    bins = np.arange(_FFT_SIZE // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


@torch.no_grad()
def sync_distances(network: SyncNetV2, faces: U8, samples: I16) -> F64:
    """Return the mean distance of lips and sound at every offset, (31,): from late sound to early sound.

    faces: (T, 224, 224, 3) uint8 RGB at 25 fps. samples: (n,) int16 at 16 kHz. Raises ValueError if they are shorter
    than five frames.
    """
    count = min(len(faces), len(samples) * FPS // SAMPLE_RATE_HZ) - RUN
    sound = mfcc(samples)
    count = min(count, (len(sound) - _COLUMNS) // _COLUMNS_PER_FRAME + 1)
    if count < 1:
        raise ValueError(f"{len(faces)} frames and {len(samples) / SAMPLE_RATE_HZ:.2f} s of sound are too short")
    bgr = torch.from_numpy(np.ascontiguousarray(faces[: count + RUN - 1, :, :, ::-1])).permute(3, 0, 1, 2)
    coefficients = torch.from_numpy(sound.T.astype(np.float32))
    lips, voices = [], []
    for first in range(0, count, _BATCH):
        places = range(first, min(count, first + _BATCH))
        lips.append(network.embed_lip(torch.stack([bgr[:, at : at + RUN].float() for at in places])))
        starts = [at * _COLUMNS_PER_FRAME for at in places]
        voices.append(network.embed_audio(torch.stack([coefficients[None, :, at : at + _COLUMNS] for at in starts])))
    return _distances(torch.cat(lips), torch.cat(voices)).double().numpy()


def _distances(lips: Tensor, voices: Tensor) -> Tensor:
    """Return the mean distance at every offset; the sound is padded with zeros on both sides, as published."""
    padded = F.pad(voices, (0, 0, MAX_OFFSET, MAX_OFFSET))
    count = len(lips)
    return torch.stack([F.pairwise_distance(lips, padded[k : k + count]).mean() for k in range(2 * MAX_OFFSET + 1)])


def scores(distances: F64) -> tuple[float, float]:
    """Return LSE-D and LSE-C of the distances at all offsets."""
    least = float(distances.min())
    return least, float(np.median(distances)) - least


def at_25_fps(frames: U8, fps: float) -> U8:
    """Return the frames that are shown at every 25th of a second."""
    count = int(len(frames) / fps * FPS)
    shown: U8 = frames[np.minimum((np.arange(count) * fps / FPS).round().astype(int), len(frames) - 1)]
    return shown
