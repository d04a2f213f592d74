"""The option `segments`: which texts are accepted, what is said of the others, and what a record keeps."""

from __future__ import annotations

import json

import pytest

from app.core.dub_voices import check_all_used, check_voices, options_to_keep
from app.core.dubs import MAX_DUBS, Dub, voice_names, without_addresses
from app.core.errors import InputError
from app.core.jobs import JobOptions
from app.core.options import check_options_fit, effective_options, options_from_text, output_duration_s
from app.core.sound_warnings import sound_warnings
from tests.service import AUDIO, INPUT, VIDEO

ONE = {"start_s": 1, "end_s": 3, "audio": "anna"}


def options_of(*dubs: dict[str, object], **others: str) -> JobOptions:
    return options_from_text({"segments": json.dumps(dubs)} | others)


GOOD: list[tuple[list[dict[str, object]], dict[str, str]]] = [
    ([], {}),
    ([ONE], {}),
    ([ONE | {"end_s": 1.1}], {"sync_mode": "silence"}),
    ([ONE, ONE | {"start_s": 3, "end_s": 4}], {}),  # one after the other
    ([ONE | {"face": "index:0"}, ONE | {"face": "index:1"}], {}),
    ([ONE, ONE | {"face": "index:1"}], {"face": "index:0"}),
    ([ONE | {"options": {"strength": 0.5, "silence_gate": False, "padding": 0.1, "on_missing_face": "fail"}}], {}),
    ([ONE | {"audio": "https://host/" + "x" * 4000}], {}),
]


@pytest.mark.parametrize(("dubs", "others"), GOOD)
def test_dubs_that_fit_each_other_are_accepted(dubs: list[dict[str, object]], others: dict[str, str]) -> None:
    assert len(options_of(*dubs, **others).segments) == len(dubs)


BAD: list[tuple[str, dict[str, str], str]] = [
    ("{", {}, "segments: must be JSON"),
    ('{"start_s": NaN}', {}, "segments: must be JSON"),
    ("[" * 20_000, {}, "segments: must be JSON"),
    ('"x"', {}, "segments: "),
    ("{}", {}, "segments: "),
    ("[1]", {}, "segments[0]: "),
    (json.dumps([ONE, {"start_s": 4, "end_s": 5}]), {}, "segments[1].audio: "),
    (json.dumps([ONE | {"audio": ""}]), {}, "segments[0].audio: "),
    (json.dumps([ONE | {"audio": "x" * 4097}]), {}, "segments[0].audio: "),
    (json.dumps([ONE | {"end_s": 1}]), {}, "segments[0]: end_s must be at least 0.1 s after start_s"),
    (json.dumps([ONE | {"start_s": -1}]), {}, "segments[0].start_s: "),
    (json.dumps([ONE | {"face": "nobody"}]), {}, "segments[0].face: "),
    (json.dumps([ONE | {"options": {"crf": 20}}]), {}, "segments[0].options.crf: "),
    (json.dumps([ONE | {"options": {"strength": 2}}]), {}, "segments[0].options.strength: "),
    (json.dumps([ONE | {"voice": "anna"}]), {}, "segments[0].voice: "),
    (json.dumps([ONE | {"v" * 5000: "anna"}]), {}, f"segments[0].'{'v' * 40}': "),
    (json.dumps([ONE | {"a\nb": "anna"}]), {}, r"segments[0].'a\nb': "),
    (json.dumps([ONE, ONE | {"start_s": 2.9, "end_s": 4}]), {}, "segments[1] overlaps segments[0]"),
    (json.dumps([ONE, ONE | {"face": "index:0"}]), {"face": "index:0"}, "segments[1] overlaps segments[0]"),
    (json.dumps([ONE, ONE | {"face": "all"}]), {}, "segments[1] overlaps segments[0]"),
    (json.dumps([ONE, ONE | {"face": "index:1"}]), {"face": "speaking"}, "segments[1] overlaps segments[0]"),
    (json.dumps([ONE | {"face": f"index:{k}"} for k in range(9)]), {}, "at most 8 segments may overlap"),
    (json.dumps([ONE | {"start_s": k, "end_s": k + 1} for k in range(MAX_DUBS + 1)]), {}, "segments: "),
    (json.dumps([ONE]), {"sync_mode": "loop"}, "sync_mode cannot be loop with segments"),
    (json.dumps([ONE]), {"sync_mode": "remap"}, "sync_mode cannot be remap with segments"),
]


@pytest.mark.parametrize(("text", "others", "said"), BAD)
def test_a_wrong_dub_is_named(text: str, others: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        options_from_text({"segments": text} | others)
    assert caught.value.code == "option_invalid"
    assert said in caught.value.message and len(caught.value.message) < 300


FITS: list[tuple[dict[str, object], dict[str, object], dict[str, str], str | None]] = [
    ({}, {}, {}, None),
    ({}, {"end_s": 10.05}, {}, None),
    ({}, {"end_s": 10.2}, {}, "segments[0].end_s: 10.2 is beyond the end of the video (10.00 s)"),
    ({}, {"start_s": 10.0, "end_s": 10.1}, {}, "segments[0]: the output does not show this stretch"),
    ({}, {}, {"end_s": "1"}, "segments[0]: the output does not show this stretch"),
    ({}, {}, {"start_s": "3"}, "segments[0]: the output does not show this stretch"),
    ({}, {}, {"start_s": "2"}, None),
    ({}, {"face": "point:639,479"}, {}, None),
    ({}, {}, {"face": "speaking"}, "face: `speaking` needs a video with sound of its own"),
    ({}, {"face": "speaking"}, {}, "face: `speaking` needs a video with sound of its own"),
    ({}, {"face": "point:640,1"}, {}, "segments[0].face: the point lies outside the picture"),
    ({"kind": "image", "duration_s": 0.04, "frames": 1}, {"end_s": 60.0}, {}, None),
    ({"kind": "image", "duration_s": 0.04, "frames": 1}, {"end_s": 60.1}, {}, "The segments end after 60 s"),
]


@pytest.mark.parametrize(("video", "dub", "others", "said"), FITS)
def test_dubs_have_to_fit_the_video(
    video: dict[str, object], dub: dict[str, object], others: dict[str, str], said: str | None
) -> None:
    facts = INPUT.model_copy(update={"audio": None, "segments": (AUDIO,), "video": VIDEO.model_copy(update=video)})
    options = options_of(ONE | dub, **others)
    if said is None:
        check_options_fit(options, facts, 60)
    else:
        with pytest.raises(InputError) as caught:
            check_options_fit(options, facts, 60)
        assert said in caught.value.message


@pytest.mark.parametrize(
    ("video", "others", "duration_s"), [({}, {}, 10.0), ({}, {"start_s": "2"}, 8.0), ({"kind": "image"}, {}, 3.0)]
)
def test_the_output_is_as_long_as_the_video(
    video: dict[str, object], others: dict[str, str], duration_s: float
) -> None:
    facts = INPUT.model_copy(update={"audio": None, "video": VIDEO.model_copy(update=video)})
    assert output_duration_s(facts, options_of(ONE, **others)) == duration_s


def test_a_record_holds_what_applies_and_no_address() -> None:
    options = options_of(
        ONE | {"audio": "https://host/a?key=secret"},
        ONE | {"start_s": 3, "end_s": 4, "options": {"strength": 0.5}},
        ONE | {"start_s": 4, "end_s": 5, "face": "all", "audio": "https://host/a?key=secret"},
        face="index:1",
        strength="0.8",
        silence_gate="false",
    )
    kept = options_to_keep(options)
    assert [dub.audio for dub in kept.segments] == ["url:0", "anna", "url:0"]
    assert [dub.face for dub in kept.segments] == ["index:1", "index:1", "all"]
    assert [dub.options.strength for dub in kept.segments] == [0.8, 0.5, 0.8]
    assert [dub.options.silence_gate for dub in kept.segments] == [False] * 3
    assert kept.sync_mode == "silence" and "secret" not in kept.model_dump_json()
    assert voice_names(kept.segments) == voice_names(options.segments) == ["voice-0", "voice-1", "voice-0"]
    assert options_to_keep(kept) == kept  # a record that is read again
    assert effective_options(JobOptions()) == JobOptions() and without_addresses(()) == ()


VOICES: list[tuple[list[str], set[str], set[str], str | None]] = [
    ([], {"video", "audio"}, {"video", "audio"}, None),
    ([], {"video"}, {"video"}, "audio: this file is required"),
    (["anna"], {"video", "anna"}, {"video", "anna"}, None),
    (["anna"], {"video", "audio_mix", "anna"}, {"video", "audio_mix", "anna"}, None),
    (["audio"], {"video", "audio"}, {"video", "audio"}, None),
    (["video"], {"video"}, {"video"}, None),
    (["http://host/a"], set(), {"video"}, None),
    (["anna", "ben"], {"video", "anna"}, {"video", "anna"}, "segments[1].audio: the form has no file of this name"),
    (["url:0"], {"video"}, {"video"}, "segments[0].audio: the form has no file of this name"),
    (["anna"], {"video", "anna", "ben"}, {"video", "anna", "ben"}, "'ben': no entry of `segments` names this file"),
    (["anna"], {"video", "anna", "audio"}, {"video", "anna", "audio"}, "'audio': no entry of `segments`"),
    (["anna"], {"video", "anna"}, {"video", "anna", "audio"}, "audio: with segments, each of them names its own"),
    ([], {"video", "audio", "ben"}, {"video", "audio", "ben"}, "'ben': no entry of `segments` names this file"),
]


@pytest.mark.parametrize(("voices", "files", "parts", "said"), VOICES)
def test_every_voice_is_there_and_every_file_is_used(
    voices: list[str], files: set[str], parts: set[str], said: str | None
) -> None:
    dubs = tuple(Dub(start_s=number, end_s=number + 1, audio=voice) for number, voice in enumerate(voices))
    options = JobOptions(segments=dubs)
    if said is None:
        check_voices(options, files, parts)
        check_all_used(options, files)
    else:
        with pytest.raises(InputError) as caught:
            check_voices(options, files, parts)
            check_all_used(options, files)
        assert said in caught.value.message


@pytest.mark.parametrize(
    ("voice_s", "has_sound", "said"),
    [
        (2.0, True, []),
        (2.2, True, []),
        (3.5, True, ["segments[0]: The voice is 1.50 s longer than its stretch"]),
        (0.5, True, ["segments[0]: The voice ends 1.50 s before its stretch"]),
        (2.0, False, ["The video's own sound cannot be read"]),
    ],
)
def test_what_becomes_of_a_voice_is_told(voice_s: float, has_sound: bool, said: list[str]) -> None:
    voice = AUDIO.model_copy(update={"duration_s": voice_s})
    film = AUDIO if has_sound else None
    facts = INPUT.model_copy(update={"audio": None, "segments": (voice,), "film_audio": film})
    warnings = sound_warnings(facts, options_of(ONE))
    assert len(warnings) == len(said) and all(words in warning for words, warning in zip(said, warnings, strict=True))
