"""The runtime is measured once for a machine, remembered, and the same for all processes."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.settings import Settings
from model.checkpoint import build_network, save_checkpoint
from model.checkpoint_config import CheckpointConfig
from model.runtimes.measure import MeasureAnswer, MeasureRequest
from model.runtimes.measured import Measured
from worker.loaded_network import load_generator, settle_network
from worker.runtime_choice import FOLDER, KEPT, choose_runtime, read_answer, settled

CONFIG = CheckpointConfig(image_size=32, width=0.25)
MEASURED = [
    Measured(runtime="torch", precision="fp32", crops_per_s=100),
    Measured(runtime="openvino", precision="fp32", crops_per_s=200, psnr_db=99),
]


@dataclass
class FakeMeasure:
    """Measurement with a known outcome that counts how often it is made."""

    measured: list[Measured] = field(default_factory=lambda: list(MEASURED))
    refused: str = ""
    error: Exception | None = None
    requests: list[MeasureRequest] = field(default_factory=list)

    def __call__(self, request: MeasureRequest) -> MeasureAnswer:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        for suffix in (".xml", ".bin"):
            request.converted.with_suffix(suffix).write_bytes(b"network")
        return MeasureAnswer(config=CONFIG.to_json(), refused=self.refused, measured=self.measured)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    checkpoint = tmp_path / "w.safetensors"
    save_checkpoint(checkpoint, build_network(CONFIG), CONFIG)
    (tmp_path / "data").mkdir()
    return Settings(checkpoint=checkpoint, data_dir=tmp_path / "data", device="cpu", precision="auto", runtime="auto")


def _with(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)


def _choose(settings, measure, threads=1, installed=True):
    return choose_runtime(settings, threads, measure, lambda: installed)


def _files(settings: Settings) -> list[Path]:
    return sorted((settings.data_dir / FOLDER).glob("*.json"))


def test_it_is_measured_once_and_remembered(settings):
    measure = FakeMeasure()
    first, second = _choose(settings, measure), _choose(settings, measure)
    assert (first.runtime, first.precision, first.config) == ("openvino", "fp32", CONFIG)
    assert first == second and len(measure.requests) == 1
    assert first.converted is not None and first.converted.read_bytes() == b"network"
    assert [str(one) for one in first.measured] == ["torch fp32: 100 crops/s", "openvino fp32: 200 crops/s"]
    assert _choose(_with(settings, runtime="torch"), measure).runtime == "torch"
    assert _choose(settled(settings, first), measure).converted == first.converted  # as a child of the pool asks
    assert len(measure.requests) == 1


def test_processes_that_start_together_measure_once(settings):
    measure, together = FakeMeasure(), threading.Barrier(4)

    def start(_: int):
        together.wait()
        return _choose(settings, measure)

    with ThreadPoolExecutor(4) as pool:
        chosen = list(pool.map(start, range(4)))
    assert len(measure.requests) == 1 and len({str(one) for one in chosen}) == 1


@pytest.mark.parametrize("change", ["threads", "batch", "weights"])
def test_what_could_change_the_outcome_is_measured_anew(settings, change):
    measure = FakeMeasure()
    _choose(settings, measure)
    if change == "weights":
        save_checkpoint(settings.checkpoint, build_network(CONFIG), CONFIG)
    changed = _with(settings, batch_size=settings.batch_size + 1) if change == "batch" else settings
    _choose(changed, measure, threads=2 if change == "threads" else 1)
    assert len(measure.requests) == 2 and len(_files(settings)) == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def _foreign(path: Path) -> None:
    path.write_text(path.read_text().replace('"processor": "', '"processor": "another '))


def _older(path: Path) -> None:
    path.write_text(path.read_text().replace('"measured_at"', '"measured_when"'))


def _other_network(path: Path) -> None:
    path.with_suffix(".bin").write_bytes(b"another")


def _no_network(path: Path) -> None:
    path.with_suffix(".xml").unlink()


@pytest.mark.parametrize("damage", [_cut, _foreign, _older, _other_network, _no_network])
def test_what_is_not_as_it_was_written_is_measured_again(settings, damage, caplog):
    measure = FakeMeasure()
    _choose(settings, measure)
    damage(_files(settings)[0])
    assert _choose(settings, measure).runtime == "openvino" and len(measure.requests) == 2
    assert "measured again" in caplog.text
    assert _choose(settings, measure).runtime == "openvino" and len(measure.requests) == 2


@pytest.mark.parametrize(
    ("changes", "installed", "reason"),
    [
        ({"device": "cuda"}, True, "names a GPU"),
        ({}, False, "pip install 'lipsync-service[openvino]'"),
        ({"precision": "fp16"}, True, "fp16 needs a GPU"),
    ],
)
def test_without_a_way_for_openvino_torch_is_chosen_and_the_reason_said(settings, changes, installed, reason):
    measure = FakeMeasure()
    changed = _with(settings, **changes)
    chosen = _choose(changed, measure, installed=installed)
    assert (chosen.runtime, chosen.precision) == ("torch", changed.precision) and reason in chosen.reason
    with pytest.raises(InputError, match="LIPSYNC_RUNTIME") as caught:
        _choose(_with(changed, runtime="openvino"), measure, installed=installed)
    assert caught.value.code == ErrorCode.OPTION_INVALID and reason in caught.value.message
    assert not measure.requests


def test_a_measurement_that_fails_leaves_torch_and_is_not_remembered(settings, caplog):
    measure = FakeMeasure(error=RuntimeError("status -4: no message"))
    chosen = _choose(settings, measure)
    assert chosen.runtime == "torch" and "status -4" in chosen.reason and "status -4" in caplog.text
    assert not _files(settings)
    with pytest.raises(InputError, match="status -4"):
        _choose(_with(settings, runtime="openvino"), measure)


ANSWER = MeasureAnswer(config=CONFIG.to_json(), measured=MEASURED)


@pytest.mark.parametrize("printed", [b"", b"a library says hello\n", b"{}\n"])
def test_the_last_line_of_a_process_that_measured_is_its_answer(printed):
    output = printed + ANSWER.model_dump_json().encode() + b"\n"
    assert read_answer(subprocess.CompletedProcess([], 0, output, b"")) == ANSWER


@pytest.mark.parametrize(
    ("status", "output", "told", "said"),
    [
        (0, b"", b"", "cannot be read"),
        (0, b'{"config": ', b"", "cannot be read"),
        (0, b"\xff\xfe", b"", "cannot be read"),
        (-4, ANSWER.model_dump_json().encode(), b"", "status -4: no message"),
        (1, b"", b"first\nlast\n", "status 1: last"),
    ],
)
def test_a_process_that_measured_nothing_is_an_error_that_leaves_torch(settings, status, output, told, said):
    def measure(_: MeasureRequest) -> MeasureAnswer:
        return read_answer(subprocess.CompletedProcess([], status, output, told))

    chosen = _choose(settings, measure)
    assert chosen.runtime == "torch" and said in chosen.reason


def test_a_network_that_openvino_does_not_know_stays_with_torch(settings):
    unknown = Measured(runtime="openvino", precision="fp32", error="openvino cannot convert it: unknown operation")
    measure = FakeMeasure([MEASURED[0], unknown])
    chosen = _choose(settings, measure)
    assert (chosen.runtime, chosen.precision) == ("torch", "fp32") and "unknown operation" in str(chosen.measured[1])
    with pytest.raises(InputError, match="unknown operation"):
        _choose(_with(settings, runtime="openvino"), measure)


def test_a_bad_checkpoint_is_refused(settings):
    with pytest.raises(ServiceError, match=r"head\.bias is missing") as caught:
        _choose(settings, FakeMeasure(refused="head.bias is missing"))
    assert caught.value.code == ErrorCode.CHECKPOINT_INVALID and not _files(settings)


def test_only_the_newest_measurements_are_kept(settings):
    measure = FakeMeasure()
    for batch_size in range(1, KEPT + 3):
        _choose(_with(settings, batch_size=batch_size), measure)
    assert len(_files(settings)) == KEPT
    assert len(list((settings.data_dir / FOLDER).glob("*.bin"))) == KEPT


@pytest.mark.slow
def test_a_real_measurement_lets_a_worker_draw(settings):
    pytest.importorskip("openvino")
    common = settle_network(settings)
    assert common.runtime in ("torch", "openvino") and common.precision in ("fp32", "bf16")
    crops = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    sound = np.random.default_rng(2).standard_normal((3, *CONFIG.sound_shape)).astype(np.float32)
    one, two = (load_generator(common).synthesize(crops, sound) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    exact = load_generator(_with(settings, runtime="torch", precision="fp32"))
    assert np.abs(exact.synthesize(crops, sound).astype(int) - one).mean() < 4
    drawing = load_generator(_with(settings, runtime="openvino", precision="fp32"))
    heard = [one.hear(np.zeros(16000, np.int16), np.array([0.5])) for one in (drawing, exact)]
    assert heard[0] is not None and heard[1] is not None
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-4)
