"""OpenVINO draws what torch draws."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from model.checkpoint import build_network, load_network, save_checkpoint
from model.checkpoint_config import PUBLISHED_WAV2LIP, CheckpointConfig
from model.runtimes.devices import multiplies_bf16
from model.runtimes.measure import example_batch
from model.runtimes.measured import LEAST_PSNR_DB
from model.runtimes.openvino_runtime import OpenvinoRuntime, convert
from model.runtimes.port import RuntimeUnavailableError
from model.runtimes.torch_runtime import TorchRuntime
from model.speech_encoder.whisper import NAME
from model.synthesizer import Synthesizer
from tests.conftest import ROOT

pytest.importorskip("openvino")
THREADS = 1
CONFIGS = {
    "mels": CheckpointConfig(image_size=32, width=0.25),
    "features": CheckpointConfig(image_size=32, width=0.25, speech_encoder=NAME),
    "plain": CheckpointConfig(image_size=32, width=0.25, use_cbam=False, use_ffc=False, use_adain=False),
    "wav2lip": PUBLISHED_WAV2LIP,
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return config, checkpoint and converted network by the name of a config, converted when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            torch.manual_seed(1)
            path = folder / "w.safetensors"
            save_checkpoint(path, build_network(CONFIGS[name]), CONFIGS[name], dtype=torch.float32)
            convert(path, folder / "w.xml")
            made[name] = CONFIGS[name], path, folder / "w.xml"
        return made[name]

    return get


def _openvino(path, precision="fp32"):
    return OpenvinoRuntime(path, precision, THREADS, lambda _: None)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_draws_what_torch_draws(converted, name):
    config, checkpoint, path = converted(name)
    batch = example_batch(config, 3)
    drawn = _openvino(path).draw(batch.faces(), batch.sound, batch.movements)
    plain = TorchRuntime(load_network(checkpoint)[1], "cpu", "fp32", hidden_row=config.hidden_row)
    wanted = plain.draw(batch.faces(), batch.sound, batch.movements)
    assert drawn.levels.dtype == np.uint8 and drawn.levels.shape == wanted.levels.shape
    assert np.abs(drawn.levels.astype(int) - wanted.levels).max() <= 1
    if wanted.offsets is None or wanted.mask is None:
        assert drawn.offsets is None and drawn.mask is None
    else:
        np.testing.assert_allclose(drawn.offsets, wanted.offsets, atol=1e-4)
        np.testing.assert_allclose(drawn.mask, wanted.mask, atol=1e-4)


def test_half_precision_is_close_enough_to_be_chosen(converted):
    if not multiplies_bf16():
        pytest.skip("this processor does not multiply bfloat16")
    _, _, path = converted("mels")
    batch = example_batch(CONFIGS["mels"], 3)
    exact, rough = (batch.drawn_by(_openvino(path, precision)).astype(float) for precision in ("fp32", "bf16"))
    assert 10 * np.log10(255**2 / np.square(exact - rough).mean()) > LEAST_PSNR_DB


def test_a_crop_does_not_depend_on_its_batch(converted):
    config, _, path = converted("features")
    batch = example_batch(config, 7)
    synthesizer = Synthesizer(_openvino(path), config, 4)
    whole = synthesizer.synthesize(batch.crops, batch.sound, batch.references, movements=batch.movements)
    for at in range(7):
        part = slice(at, at + 1)
        alone = synthesizer.synthesize(
            batch.crops[part], batch.sound[part], batch.references[part], movements=batch.movements[part]
        )
        np.testing.assert_array_equal(alone, whole[part])


def test_it_takes_smaller_batches_when_memory_runs_out(converted):
    config, _, path = converted("mels")
    batch, runtime = example_batch(config, 4), _openvino(path)
    for count in (4, 2):
        drawn = runtime.draw(batch.faces()[:count], batch.sound[:count], batch.movements[:count])
        assert len(drawn.levels) == count
        runtime.release()


def test_it_refuses_other_precisions(converted):
    with pytest.raises(RuntimeUnavailableError, match="fp32 or bf16, not in fp16"):
        _openvino(converted("mels")[2], "fp16")


def test_a_missing_package_is_named():
    """A process in which the package cannot be found stands for an installation without the extra."""
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from pathlib import Path; from model.runtimes.openvino_runtime import OpenvinoRuntime\n"
        "OpenvinoRuntime(Path('w.xml'), 'fp32', 1, print)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "pip install 'lipsync-service[openvino]'" in done.stderr.splitlines()[-1]


def test_drawing_loads_no_torch(converted):
    _, _, path = converted("mels")
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path; from model.runtimes.openvino_runtime import OpenvinoRuntime\n"
        "from model.runtimes.measure import example_batch; from model.checkpoint_config import CheckpointConfig\n"
        "batch = example_batch(CheckpointConfig(image_size=32, width=0.25), 2)\n"
        f"runtime = OpenvinoRuntime(Path({str(path)!r}), 'fp32', 1, print)\n"
        "runtime.draw(batch.faces(), batch.sound, batch.movements)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
