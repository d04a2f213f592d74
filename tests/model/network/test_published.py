"""Our code of the published networks gives the same numbers as theirs."""

from pathlib import Path

import numpy as np
import torch

from model.network.folding import fold_batch_norms
from model.network.syncnet_v2 import SyncNetV2
from model.network.wav2lip import SyncNetColor, Wav2Lip
from tests.model.network.filled_weights import fill_by_formula, wave

TOLERANCE = 1e-4


def _assert_published(found: torch.Tensor, expected: np.ndarray) -> None:
    """Compare with numbers of another machine, whose float32 kernels round by the size of the largest value."""
    atol = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found.numpy(), expected, atol=atol, rtol=TOLERANCE)


def _mels() -> torch.Tensor:
    return wave((2, 1, 80, 16), 0.3, 4, 0)


@torch.no_grad()
def test_wav2lip(shared_dir: Path) -> None:
    parity = shared_dir / "parity"
    network = Wav2Lip()
    fill_by_formula(network, parity / "wav2lip_state_dict.json")
    faces = wave((2, 6, 96, 96), 0.9, 0.5, 0.5)
    expected = np.load(parity / "wav2lip.npz")["faces"]
    _assert_published(network(faces, _mels()), expected)
    fold_batch_norms(network)
    _assert_published(network(faces, _mels()), expected)


@torch.no_grad()
def test_syncnet_color(shared_dir: Path) -> None:
    parity = shared_dir / "parity"
    network = SyncNetColor()
    fill_by_formula(network, parity / "syncnet_color_state_dict.json")
    expected = np.load(parity / "syncnet_color.npz")
    audio, face = network(_mels(), wave((2, 15, 48, 96), 0.9, 0.5, 0.5))
    _assert_published(audio, expected["audio"])
    _assert_published(face, expected["face"])


@torch.no_grad()
def test_syncnet_v2(shared_dir: Path) -> None:
    parity = shared_dir / "parity"
    network = SyncNetV2()
    fill_by_formula(network, parity / "syncnet_v2_state_dict.json")
    expected = np.load(parity / "syncnet_v2.npz")
    audio = network.embed_audio(wave((2, 1, 13, 20), 0.3, 10, 0))
    lip = network.embed_lip(wave((2, 3, 5, 224, 224), 0.9, 127.5, 127.5))
    _assert_published(audio, expected["audio"])
    _assert_published(lip, expected["lip"])
