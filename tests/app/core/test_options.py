from __future__ import annotations

import json

import pytest

from app.core.errors import InputError
from app.core.jobs import JobOptions
from app.core.options import check_options_fit, options_from_text, output_duration_s, output_size_px
from tests.service import INPUT

GOOD = [
    ({}, {}),
    ({"sync_mode": "remap", "face": "point:1.5,2"}, {"sync_mode": "remap", "face": "point:1.5,2"}),
    ({"silence_gate": "false", "strength": "0.25", "crf": "0"}, {"silence_gate": False, "strength": 0.25, "crf": 0}),
    ({"start_s": "1", "end_s": "2.5", "output_height": "720"}, {"start_s": 1, "end_s": 2.5, "output_height": 720}),
    ({"metadata": '{"a": [1, null]}'}, {"metadata": {"a": [1, None]}}),
    ({"metadata": '{"a": "\\ud83d\\ude00"}'}, {"metadata": {"a": "😀"}}),
    ({"metadata": '{"a": ' + "[" * 30 + "]" * 30 + "}"}, {"metadata": {"a": json.loads("[" * 30 + "]" * 30)}}),
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
    ({"metadata": '{"a": "\\ud800"}'}, "metadata"),
    ({"metadata": '{"\\udfff": 1}'}, "metadata"),
    ({"metadata": '{"a": ["x", {"b": "y\\udc00z"}]}'}, "metadata"),
    ({"metadata": '{"a": 1e999}'}, "metadata"),
    ({"metadata": '{"a": [-1e400]}'}, "metadata"),
    ({"metadata": '{"a": Infinity}'}, "metadata"),
    ({"metadata": '{"a": ' + "[" * 32 + "]" * 32 + "}"}, "metadata"),
    ({"metadata": '{"a": ' * 300 + "1" + "}" * 300}, "metadata"),
    ({"metadata": '{"a": ' + "[" * 900 + "]" * 900 + "}"}, "metadata"),
    ({"metadata": '{"a": ' + "9" * 5000 + "}"}, "metadata"),
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
    ({}, {"end_s": 10.0}, None),
    ({}, {"start_s": 9.9}, None),
    ({}, {"start_s": 9.97}, None),
    ({}, {"start_s": 9.985}, "option_invalid"),  # rounds to a frame behind the last one
    ({}, {"start_s": 10.0}, "option_invalid"),
    ({}, {"start_s": 1e300}, "option_invalid"),
    ({"frames": 299, "fps": "30000/1001", "duration_s": 9.976}, {"start_s": 9.96}, "option_invalid"),
    ({}, {"end_s": 10.5}, "option_invalid"),
    ({}, {"end_s": 1e300}, "option_invalid"),
    ({}, {"face": "point:639,479"}, None),
    ({}, {"face": "point:640,10"}, "option_invalid"),
    ({}, {"output_height": 4320}, None),
    ({"width": 7680, "height": 1080}, {"output_height": 2160}, None),
    ({"width": 4000, "height": 64}, {"output_height": 270}, "option_invalid"),  # 16874 px wide
    ({"width": 2048, "height": 1024}, {"output_height": 4320}, "option_invalid"),  # more pixels than H.264 has
    ({"width": 16385, "height": 200}, {}, "resolution_exceeded"),
    ({"width": 200, "height": 16386}, {}, "resolution_exceeded"),
    ({"width": 20000, "height": 400, "kind": "image"}, {}, "resolution_exceeded"),
    ({"width": 20000, "height": 400}, {"output_height": 300}, None),
]


@pytest.mark.parametrize(("video", "options", "code"), FITS)
def test_options_have_to_fit_the_input(video, options, code):
    job_input = INPUT.model_copy(update={"video": INPUT.video.model_copy(update=video)})
    if code is None:
        check_options_fit(JobOptions(**options), job_input, 3600)
    else:
        with pytest.raises(InputError, match=code):
            check_options_fit(JobOptions(**options), job_input, 3600)


@pytest.mark.parametrize("video", [(640, 480), (641, 361), (4096, 64)])
@pytest.mark.parametrize("height", [None, 64, 271, 480])
def test_the_output_has_an_even_size_of_the_same_shape(video, height):
    width, tall = output_size_px(video[0], video[1], JobOptions(output_height=height))
    assert width % 2 == tall % 2 == 0 and abs(tall - (height or video[1])) <= 1
    assert abs(width - video[0] * tall / video[1]) <= 2


def test_a_still_picture_has_no_end():
    still = INPUT.model_copy(update={"video": INPUT.video.model_copy(update={"kind": "image", "duration_s": 0.04})})
    check_options_fit(JobOptions(start_s=0, end_s=5), still, 3600)


@pytest.mark.parametrize(
    ("options", "duration_s"),
    [
        ({}, 4.0),
        ({"sync_mode": "silence"}, 10.0),
        ({"sync_mode": "loop"}, 4.0),
        ({"sync_mode": "remap"}, 4.0),
        ({"sync_mode": "silence", "start_s": 2, "end_s": 5}, 3.0),
        ({"start_s": 7}, 3.0),
        ({"sync_mode": "silence", "end_s": 99}, 10.0),
    ],
)
def test_the_length_of_the_output(options, duration_s):
    """The video lasts 10 s and the voice 4 s."""
    assert output_duration_s(INPUT, JobOptions(**options)) == duration_s


def test_a_picture_is_shown_as_long_as_the_voice():
    still = INPUT.model_copy(update={"video": INPUT.video.model_copy(update={"kind": "image"})})
    assert output_duration_s(still, JobOptions(sync_mode="silence")) == 4.0
