from __future__ import annotations

import pytest

from app.core.errors import InputError
from app.core.jobs import JobOptions
from app.core.options import check_options_fit, options_from_text
from tests.service import INPUT

GOOD = [
    ({}, {}),
    ({"sync_mode": "remap", "face": "point:1.5,2"}, {"sync_mode": "remap", "face": "point:1.5,2"}),
    ({"silence_gate": "false", "strength": "0.25", "crf": "0"}, {"silence_gate": False, "strength": 0.25, "crf": 0}),
    ({"start_s": "1", "end_s": "2.5", "output_height": "720"}, {"start_s": 1, "end_s": 2.5, "output_height": 720}),
    ({"metadata": '{"a": [1, null]}'}, {"metadata": {"a": [1, None]}}),
]


@pytest.mark.parametrize(("text", "values"), GOOD)
def test_text_becomes_typed_options(text, values):
    assert options_from_text(text) == JobOptions(**values)


BAD = [
    ({"sync_mode": "stretch"}, "sync_mode"),
    ({"face": "nobody"}, "face"),
    ({"face": "index:-1"}, "face"),
    ({"face": "point:nan,1"}, "face"),
    ({"strength": "1.01"}, "strength"),
    ({"strength": "nan"}, "strength"),
    ({"strength": "inf"}, "strength"),
    ({"crf": "18.5"}, "crf"),
    ({"crf": ""}, "crf"),
    ({"end_s": ""}, "end_s"),
    ({"silence_gate": "maybe"}, "silence_gate"),
    ({"start_s": "3", "end_s": "2"}, "end_s"),
    ({"metadata": "{"}, "metadata"),
    ({"metadata": "[1]"}, "metadata"),
    ({"metadata": '{"a": NaN}'}, "metadata"),
    ({"metadata": "[" * 8000}, "metadata"),
    ({"metadata": '{"a": "\\ud800"}'}, ""),
    ({"metadata": '{"a": "' + "x" * 5000 + '"}'}, "metadata"),
    ({"metadata": "x" * 9000}, "metadata"),
    ({"callback_url": "http://localhost"}, "callback_url"),
    ({"<script>": "1"}, "<script>"),
]


@pytest.mark.parametrize(("text", "named"), BAD)
def test_a_wrong_option_is_named(text, named):
    with pytest.raises(InputError) as caught:
        options_from_text(text)
    assert caught.value.code == "option_invalid"
    assert named in caught.value.message and len(caught.value.message) < 300


FITS = [
    (JobOptions(end_s=10.0), True),
    (JobOptions(start_s=9.9), True),
    (JobOptions(start_s=10.0), False),
    (JobOptions(end_s=10.5), False),
    (JobOptions(face="point:639,479"), True),
    (JobOptions(face="point:640,10"), False),
]


@pytest.mark.parametrize(("options", "fits"), FITS)
def test_options_have_to_fit_the_input(options, fits):
    if fits:
        check_options_fit(options, INPUT)
    else:
        with pytest.raises(InputError, match="option_invalid"):
            check_options_fit(options, INPUT)


def test_a_still_picture_has_no_end():
    still = INPUT.model_copy(update={"video": INPUT.video.model_copy(update={"kind": "image", "duration_s": 0.04})})
    check_options_fit(JobOptions(start_s=0, end_s=5), still)
