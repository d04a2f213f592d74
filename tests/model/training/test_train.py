import copy
import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from model.audio import AROUND_FRAME
from model.checkpoint import load_expert, load_hearing, load_network, save_hearing, verify_checkpoint
from model.errors import CheckpointError, CorpusError, RecipeError, TrainingError
from model.framing import LOWER_FACE
from model.network.generator import Generator, GeneratorConfig, join_faces, known_face
from model.network.hearing import Hearing, HearingConfig
from model.speech_encoder.whisper import NAME
from model.synthesizer import load_synthesizer
from model.training.batches import draw_faces
from model.training.clips import Corpus
from model.training.objectives.faces import LossNetworks
from model.training.objectives.generator import GeneratorObjective
from model.training.recipe import (
    BatchPart,
    LossPart,
    NetworkPart,
    Recipe,
    RunPart,
)
from model.training.tensors import to_faces, to_sound
from model.training.train import TrainingSources, compile_parts, follow, train
from tests.model.clips import SIZE, write_corpus
from tests.model.level_encoder import LevelEncoder

# A learning rate that stays as it is, so that the length of a run does not change its curve.
GENERATOR = Recipe(
    RunPart(
        "generator",
        steps=6,
        learning_rate=2e-3,
        warmup_steps=1,
        decay_from=1.0,
        save_every=2,
        validate_every=3,
        device="cpu",
    ),
    NetworkPart(image_size=SIZE, width=0.25),
    BatchPart(runs=1, singles=2, others=3, clips=2, moments=3),
    LossPart(l1=1.0, mouth=1.0, edges=0.5, motion=0.5),
)
EXPERT = replace(GENERATOR, run=replace(GENERATOR.run, objective="expert"))
HEARING = replace(GENERATOR, run=replace(GENERATOR.run, objective="hearing"))
WAV2LIP = replace(
    GENERATOR,
    run=replace(GENERATOR.run, steps=2),
    network=NetworkPart(architecture="wav2lip"),
    losses=LossPart(l1=1.0, mouth=0.0, behind=0.0, motion=0.5),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", labelled=True)


@pytest.fixture(scope="module")
def expert(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(EXPERT, corpus, tmp_path_factory.mktemp("expert"))


@pytest.fixture(scope="module")
def hearing(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(HEARING, corpus, tmp_path_factory.mktemp("hearing"))


def _log(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_batch_can_be_overfitted(corpus: Path) -> None:
    torch.manual_seed(0)
    batch = draw_faces(Corpus.open(corpus, "train", SIZE, AROUND_FRAME), np.random.default_rng(5), 0, 4)
    device = torch.device("cpu")
    target, faces = to_faces(batch.targets, device), to_faces(batch.references, device)
    network = Generator(GeneratorConfig(SIZE, 0.25))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)  # a higher rate fails on some processors
    errors = []
    for _ in range(60):
        drawing = network(join_faces(target, faces, 0.5), to_sound(batch.mels, device))
        error = (drawing.compose(known_face(target, faces, 0.5)) - target).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]


def test_expert_run_leaves_a_usable_expert(corpus: Path, expert: Path) -> None:
    assert load_expert(expert).config.image_size == SIZE
    rows = _log(expert.parent)
    assert [int(row["step"]) for row in rows] == list(range(1, 7))
    assert rows[2]["val_found"] and not rows[1]["val_found"]


def test_generator_keeps_the_hearing_of_a_hearing_run(corpus: Path, hearing: Path, tmp_path: Path) -> None:
    row = _log(hearing.parent)[-1]
    assert all(-1 <= float(row[f"val_{name}_r"]) <= 1 for name in ("aperture", "width", "tuck"))
    kept = load_network(train(GENERATOR, corpus, tmp_path, TrainingSources(hearing=hearing)))[1].get_submodule(
        "hearing"
    )
    learned = load_hearing(hearing)
    for name, tensor in learned.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], tensor, atol=1e-2, rtol=1e-2)  # stored in bfloat16
    assert bool((learned.emphasis >= 1).all())


def test_generator_run_with_every_term(corpus: Path, expert: Path, hearing: Path, tmp_path: Path) -> None:
    recipe = replace(GENERATOR, losses=replace(GENERATOR.losses, sync=0.1, flow=1.0, mask=0.3))
    exported = train(recipe, corpus, tmp_path, TrainingSources(expert, hearing))
    config = verify_checkpoint(exported)
    assert (config.image_size, config.width, config.notes) == (SIZE, 0.25, "6 steps")
    rows = _log(tmp_path)
    for name in ("total", "l1", "mouth", "behind", "edges", "motion", "sync", "flow", "mask"):
        assert all(np.isfinite(float(row[name])) for row in rows)
    assert float(rows[-1]["val_mouth_wrong_sound"]) > 0
    with Image.open(tmp_path / "sheet_000006.png") as sheet:
        assert sheet.size == (10 * SIZE, 6 * SIZE)
    drawn = load_synthesizer(exported, "cpu", "fp32").synthesize(
        np.zeros((1, SIZE, SIZE, 3), np.uint8), np.zeros((1, 80, 32), np.float32)
    )
    assert drawn.shape == (1, SIZE, SIZE, 3)


def test_interrupted_run_follows_the_same_curve(corpus: Path, tmp_path: Path) -> None:
    train(GENERATOR, corpus, tmp_path / "whole")
    train(replace(GENERATOR, run=replace(GENERATOR.run, steps=4)), corpus, tmp_path / "parts")
    # A killed process leaves a half-written state, and lines that it logged after the last whole state.
    (tmp_path / "parts" / ".state.pt.partial").write_bytes(b"half")
    log = tmp_path / "parts" / "log.csv"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines, "5" + lines[-1][1:], ""]))
    train(GENERATOR, corpus, tmp_path / "parts")
    assert not list((tmp_path / "parts").glob(".state.pt*"))
    whole, parts = _log(tmp_path / "whole"), _log(tmp_path / "parts")
    assert [row["step"] for row in parts] == [row["step"] for row in whole] == list("123456")
    for name in ("total", "l1", "motion"):
        assert [float(row[name]) for row in parts] == pytest.approx([float(row[name]) for row in whole], abs=2e-5)


def test_a_critic_is_trained_too_and_a_resumed_run_follows_the_same_curve(corpus: Path, tmp_path: Path) -> None:
    recipe = replace(GENERATOR, losses=replace(GENERATOR.losses, adversarial=0.1))
    whole = train(recipe, corpus, tmp_path / "whole")
    train(replace(recipe, run=replace(recipe.run, steps=2)), corpus, tmp_path / "parts")
    train(recipe, corpus, tmp_path / "parts")
    curves = [[float(row["adversarial"]) for row in _log(tmp_path / name)] for name in ("whole", "parts")]
    assert curves[0] == pytest.approx(curves[1], abs=2e-5) and len(set(curves[0])) == 6
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True)["helpers"] for name in ("whole", "parts")]
    assert states[0]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], atol=1e-4, rtol=1e-3)
    assert not [name for name in load_network(whole)[1].state_dict() if "patches" in name]
    with pytest.raises(TrainingError, match="trained with another critic"):
        train(GENERATOR, corpus, tmp_path / "parts")


def test_a_state_from_before_critic_and_architecture_existed_is_resumed(corpus: Path, tmp_path: Path) -> None:
    train(replace(GENERATOR, run=replace(GENERATOR.run, steps=2)), corpus, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["helpers"], state["recipe"]["critic"], state["recipe"]["network"]["architecture"]
    torch.save(state, tmp_path / "state.pt")
    train(GENERATOR, corpus, tmp_path)
    assert len(_log(tmp_path)) == 6


@pytest.mark.timeout(900)  # a network of full size
def test_wav2lip_is_trained_on_the_same_crops_and_can_serve(corpus: Path, tmp_path: Path) -> None:
    exported = train(WAV2LIP, corpus, tmp_path)
    assert verify_checkpoint(exported) == WAV2LIP.checkpoint_config("2 steps")
    with Image.open(tmp_path / "sheet_000002.png") as sheet:
        assert sheet.size == (10 * 96, 5 * 96)
    synthesizer = load_synthesizer(exported, "cpu", "fp32", batch_size=1)
    crops = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    same_above = crops[[0, 0]]
    same_above[1, round(96 * LOWER_FACE.hidden_from) :] = 0
    drawn = synthesizer.synthesize(same_above, np.zeros((2, 80, 16), np.float32), crops[[0, 0]])
    assert drawn.std() > 0
    np.testing.assert_array_equal(drawn[0], drawn[1])  # the hidden rows have no effect
    with pytest.raises(RecipeError, match="leave the hearing out"):
        train(WAV2LIP, corpus, tmp_path, TrainingSources(hearing=tmp_path / "hearing.safetensors"))


def test_finished_run_is_not_trained_further(corpus: Path, tmp_path: Path) -> None:
    train(GENERATOR, corpus, tmp_path)
    before = _log(tmp_path)
    assert train(GENERATOR, corpus, tmp_path).is_file()
    assert _log(tmp_path) == before


@pytest.mark.parametrize("recipe", [EXPERT, HEARING])
def test_a_kill_before_the_last_export_is_repaired(
    corpus: Path, expert: Path, hearing: Path, tmp_path: Path, recipe: Recipe
) -> None:
    exported = {EXPERT: expert, HEARING: hearing}[recipe]
    run = Path(shutil.copytree(exported.parent, tmp_path / "run"))
    (run / exported.name).unlink()
    assert train(recipe, corpus, run) == run / exported.name
    torch.testing.assert_close(load_file(run / exported.name), load_file(exported), rtol=0, atol=1e-6)


def test_calibrated_buffers_of_the_average_stay() -> None:
    network = Hearing(HearingConfig())
    average = copy.deepcopy(network)
    average.emphasis.fill_(2.0)
    average.silence.fill_(-3.0)
    network.train()
    network(torch.randn(2, 1, 80, 32))
    follow(average, network, 0.5)
    assert bool((average.emphasis == 2).all()) and bool((average.silence == -3).all())
    kept = {name: tensor for name, tensor in average.state_dict().items() if "running" in name}
    torch.testing.assert_close(kept, {name: network.state_dict()[name] for name in kept})


def test_a_run_with_a_hearing_is_not_resumed_without_it(corpus: Path, hearing: Path, tmp_path: Path) -> None:
    short = replace(GENERATOR, run=replace(GENERATOR.run, steps=2))
    train(short, corpus, tmp_path, TrainingSources(hearing=hearing))
    with pytest.raises(TrainingError, match="trained with another hearing; give the same"):
        train(short, corpus, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["recipe"].pop("hearing") is True
    torch.save(state, tmp_path / "state.pt")  # as saved before this field existed
    assert train(short, corpus, tmp_path).is_file()


def test_a_run_started_anew_removes_the_older_state_at_once(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"of the older run")
    with pytest.raises(TrainingError, match="not finite"):
        train(replace(GENERATOR, losses=LossPart(l1=1e39)), corpus, tmp_path, resume=False)
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("state", [{}, [], {"recipe": 3}, {"recipe": {"network": {}}}, torch.zeros(2)])
def test_a_file_that_is_no_state_is_refused(corpus: Path, tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=r"state\.pt is not the state of a run; remove it to start anew"):
        train(EXPERT, corpus, tmp_path)


def test_a_file_in_the_place_of_the_curves_is_an_error(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("not a folder")
    with pytest.raises(TrainingError, match="cannot hold the curves"):
        train(EXPERT, corpus, tmp_path)


def test_time_budget_ends_a_run(corpus: Path, tmp_path: Path) -> None:
    endless = replace(GENERATOR, run=replace(GENERATOR.run, steps=10**9))
    assert train(endless, corpus, tmp_path, minutes=0.001).is_file()
    assert 1 <= len(_log(tmp_path)) < 50


@pytest.mark.parametrize(
    ("recipe", "error", "sentence"),
    [
        (replace(GENERATOR, losses=LossPart(sync=0.1)), RecipeError, "needs a trained expert"),
        (replace(GENERATOR, losses=LossPart(l1=1e39)), TrainingError, "the loss of step 0 is not finite"),
        (replace(GENERATOR, run=replace(GENERATOR.run, precision="fp16")), TrainingError, "fp16 needs a GPU"),
        (replace(GENERATOR, run=replace(GENERATOR.run, device="cuda:99")), TrainingError, "no device 'cuda:99'"),
    ],
)
def test_impossible_runs_end_with_a_sentence(
    corpus: Path, tmp_path: Path, recipe: Recipe, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        train(recipe, corpus, tmp_path)


@pytest.mark.parametrize(
    ("recipe", "names", "sentence"),
    [
        (GENERATOR, ["filmed"], "only hearing learns from films: leave them out for generator"),
        (EXPERT, ["filmed"], "only hearing learns from films: leave them out for expert"),
        (EXPERT, ["start", "hearing"], "only our own generator can continue a drawing: leave the start out for expert"),
        (HEARING, ["start"], "only our own generator can continue a drawing: leave the start out for hearing"),
        (WAV2LIP, ["start"], "only our own generator can continue a drawing: leave the start out for wav2lip"),
        (GENERATOR, ["start"], "to continue a drawing, name its hearing too"),
    ],
)
def test_files_without_a_place_in_the_recipe_are_refused(
    corpus: Path, tmp_path: Path, recipe: Recipe, names: list[str], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        train(recipe, corpus, tmp_path / "run", TrainingSources(**dict.fromkeys(names, tmp_path)))


def test_a_hearing_of_other_sound_is_refused(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "hearing.safetensors"
    save_hearing(path, Hearing(HearingConfig(speech_encoder=NAME)))
    with pytest.raises(RecipeError, match=f"was trained on {NAME}, the recipe asks for mels"):
        train(GENERATOR, corpus, tmp_path / "run", TrainingSources(hearing=path))


def test_a_generator_continues_a_drawing_and_keeps_its_hearing(corpus: Path) -> None:
    clips = Corpus.open(corpus, "train", SIZE, AROUND_FRAME)
    hearing = Hearing(HearingConfig())
    objective = GeneratorObjective(
        GENERATOR, clips, clips, torch.device("cpu"), LossNetworks(None, None), copy.deepcopy(hearing)
    )
    start = Generator(GeneratorConfig(SIZE, 0.25))
    objective.continue_drawing(start)
    weights = objective.network.state_dict()
    for name, theirs in start.state_dict().items():
        wanted = hearing.state_dict()[name.removeprefix("hearing.")] if name.startswith("hearing.") else theirs
        torch.testing.assert_close(weights[name], wanted, rtol=0, atol=0)
    assert any(
        not torch.equal(theirs, weights[name]) for name, theirs in start.state_dict().items() if "hearing." in name
    ), "the two hearings differ"
    with pytest.raises(RecipeError, match="has another shape than the recipe's network"):
        objective.continue_drawing(Generator(GeneratorConfig(SIZE, 0.5)))


def test_hearing_learns_from_films_too(corpus: Path, tmp_path: Path) -> None:
    films = write_corpus(tmp_path / "films")
    for folder in films.iterdir():
        labels = np.random.default_rng(len(folder.name)).random((25, 2)).astype(np.float32)
        np.save(folder / "labels.npy", labels)
    short = replace(HEARING, run=replace(HEARING.run, steps=2))
    train(short, corpus, tmp_path / "run", TrainingSources(filmed=films))
    row = _log(tmp_path / "run")[-1]
    assert all(-1 <= float(row[f"val_filmed_{name}_r"]) <= 1 for name in ("aperture", "width"))
    with pytest.raises(TrainingError, match="trained with another choice of films"):
        train(HEARING, corpus, tmp_path / "run")


def test_a_generator_learns_from_the_features_of_a_speech_encoder(corpus: Path) -> None:
    clips = Corpus.open(corpus, "train", SIZE, AROUND_FRAME, encoder=LevelEncoder())
    recipe = replace(GENERATOR, network=replace(GENERATOR.network, speech_encoder=NAME))
    objective = GeneratorObjective(recipe, clips, clips, torch.device("cpu"), LossNetworks(None, None), None)
    total = objective.losses(np.random.default_rng(0))["total"]
    total.backward()
    assert bool(torch.isfinite(total))
    gradients = [value.grad for name, value in objective.network.named_parameters() if name.startswith("hearing.")]
    assert any(gradient is not None and bool(gradient.any()) for gradient in gradients)


def test_expert_must_fit(corpus: Path, expert: Path, tmp_path: Path) -> None:
    recipe = replace(GENERATOR, losses=LossPart(sync=0.1))
    with pytest.raises(RecipeError, match="32 px, the recipe for 48 px"):
        train(replace(recipe, network=NetworkPart(48, 0.25)), corpus, tmp_path, TrainingSources(expert))
    (tmp_path / "no.safetensors").write_bytes(b"junk")
    for name in ("no.safetensors", "missing.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            train(recipe, corpus, tmp_path, TrainingSources(tmp_path / name))


def test_state_of_another_shape_is_refused(corpus: Path, tmp_path: Path) -> None:
    train(GENERATOR, corpus, tmp_path)
    with pytest.raises(TrainingError, match="trained with another network"):
        train(replace(GENERATOR, network=NetworkPart(SIZE, 0.5)), corpus, tmp_path)
    (tmp_path / "state.pt").write_bytes(b"junk")
    with pytest.raises(TrainingError, match="remove it to start anew"):
        train(GENERATOR, corpus, tmp_path)


def test_curves_are_drawn_for_tensorboard_too(corpus: Path, tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logged: list[str] = []
    train(replace(GENERATOR, run=replace(GENERATOR.run, steps=4)), corpus, tmp_path, log=logged.append)
    train(GENERATOR, corpus, tmp_path, log=logged.append)
    board = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = _log(tmp_path)
    drawn = board.Scalars("training/total")
    assert [event.step for event in drawn] == [int(row["step"]) for row in rows]
    assert [event.value for event in drawn] == pytest.approx([float(row["total"]) for row in rows], abs=1e-5)
    assert all(float(row["crops_per_s"]) > 0 for row in rows)
    assert {"training/crops_per_s", "validation/val_mouth"} <= set(board.Tags()["scalars"]) and logged == []


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # raised inside torch's compiler
def test_parts_are_compiled_and_weights_keep_their_names() -> None:
    network = Generator(GeneratorConfig(SIZE, 0.25))
    names = list(network.state_dict())
    compile_parts(network)
    assert list(network.state_dict()) == names
    assert all(part._compiled_call_impl is not None for part in (network.hearing, network.ups[0], network.head))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds 0 clips"):
        train(GENERATOR, tmp_path, tmp_path / "run")
    with pytest.raises(CorpusError, match="holds 0 voices"):
        train(HEARING, tmp_path, tmp_path / "run")
