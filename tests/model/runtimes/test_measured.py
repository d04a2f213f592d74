"""The choice is a function of what was measured and of the settings."""

from __future__ import annotations

import pytest

from model.runtimes.measured import Measured, choose
from model.runtimes.port import RuntimeUnavailableError

TORCH_32 = Measured(runtime="torch", precision="fp32", crops_per_s=100)
TORCH_16 = Measured(runtime="torch", precision="bf16", crops_per_s=150, psnr_db=58)
OPENVINO_32 = Measured(runtime="openvino", precision="fp32", crops_per_s=200, psnr_db=99)
OPENVINO_16 = Measured(runtime="openvino", precision="bf16", crops_per_s=300, psnr_db=58)
ALL = (TORCH_32, TORCH_16, OPENVINO_32, OPENVINO_16)


@pytest.mark.parametrize(
    ("changes", "runtime", "precision", "wanted"),
    [
        ({}, "auto", "auto", "openvino bf16"),
        ({}, "auto", "fp32", "openvino fp32"),
        ({}, "auto", "bf16", "openvino bf16"),
        ({}, "torch", "auto", "torch bf16"),
        ({}, "torch", "fp32", "torch fp32"),
        ({}, "openvino", "fp32", "openvino fp32"),
        # a less exact one must be clearly faster
        ({"openvino bf16": {"crops_per_s": 215}}, "auto", "auto", "openvino fp32"),
        ({"openvino fp32": {"crops_per_s": 105}, "openvino bf16": {"crops_per_s": 105}}, "auto", "auto", "torch bf16"),
        # the fastest draws otherwise, or fails
        ({"openvino bf16": {"psnr_db": 44.9}}, "auto", "auto", "openvino fp32"),
        ({"openvino bf16": {"error": "it crashed", "crops_per_s": 0}}, "auto", "auto", "openvino fp32"),
        ({"openvino fp32": {"psnr_db": None}}, "auto", "fp32", "openvino fp32"),
    ],
)
def test_the_fastest_that_draws_closely_is_chosen(changes, runtime, precision, wanted):
    measured = [one.model_copy(update=changes.get(f"{one.runtime} {one.precision}", {})) for one in ALL]
    best = choose(measured, runtime, precision)
    assert f"{best.runtime} {best.precision}" == wanted


@pytest.mark.parametrize(
    ("measured", "runtime", "precision", "reason"),
    [
        ([TORCH_32, OPENVINO_32], "auto", "bf16", "does not multiply in this precision"),
        ([TORCH_32, OPENVINO_32.model_copy(update={"error": "unknown operation"})], "openvino", "auto", "unknown op"),
        ([TORCH_32, OPENVINO_16.model_copy(update={"psnr_db": 30.0})], "openvino", "bf16", "PSNR 30.0 dB, under 45"),
    ],
)
def test_a_choice_that_is_impossible_gives_its_reasons(measured, runtime, precision, reason):
    with pytest.raises(RuntimeUnavailableError, match=reason):
        choose(measured, runtime, precision)
