from pathlib import Path

import pytest

from model.audio import STARTING_AT_FRAME
from model.errors import RecipeError
from model.framing import LOWER_FACE
from model.training.recipe import read_recipe, shipped_recipe

EXPERT = '[run]\nobjective = "expert"\nsteps = 10\nlearning_rate = 1e-3\n'
GENERATOR = '[run]\nobjective = "generator"\nsteps = 10\nlearning_rate = 1e-3\n'


@pytest.mark.parametrize("name", ["hearing", "expert", "generator"])
def test_shipped_recipes_can_be_read(name: str) -> None:
    recipe = read_recipe(shipped_recipe(name))
    assert recipe.run.objective == name
    assert recipe.network.image_size == 96
    assert not recipe.losses.lpips or recipe.lpips.backbone == "hed-vgg16"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[run", "cannot be read"),
        ("", "run is missing"),
        (GENERATOR.replace("steps = 10", ""), "run.steps is missing"),
        (GENERATOR + "[lossses]\nl1 = 1.0", r"\[lossses\] is not known"),
        (GENERATOR + "[losses]\nl2 = 1.0", "losses.l2 is not known"),
        (GENERATOR + '[losses]\nl1 = "1"', "losses.l1 must be a finite number of at least 0, not '1'"),
        (GENERATOR + "[network]\nuse_cbam = 1", "network.use_cbam must be true or false, not 1"),
        (GENERATOR + "[batch]\nruns = true", "batch.runs must be a whole number of at least 0, not True"),
        (GENERATOR + "[losses]\nlpips = 0.1", "needs lpips.backbone"),
        (GENERATOR + "[lpips]\nstages = 6", "lpips.stages must be"),
        (GENERATOR + "[lpips]\nevery = 0", "lpips.every must be"),
        (GENERATOR + "[batch]\nruns = 0\n[losses]\nsync = 0.1", "need batch.runs"),
        (GENERATOR + "[batch]\nruns = 0\nsingles = 0", "nothing to draw"),
        (GENERATOR.replace("generator", "critic"), "must be hearing, expert or generator"),
        (GENERATOR.replace("steps = 10", "steps = 0"), "at least 1"),
        (GENERATOR + 'precision = "int8"', "run.precision must be"),
        (GENERATOR + '[network]\narchitecture = "unet"', "network.architecture must be lpips_attnwav2lip or wav2lip"),
        (
            GENERATOR + '[network]\narchitecture = "wav2lip"\nimage_size = 128',
            "network.image_size must be 96 for wav2lip",
        ),
        (GENERATOR + '[network]\narchitecture = "wav2lip"', "losses.behind.* must be 0 for wav2lip"),
    ],
)
def test_wrong_recipes_are_refused_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=f"r.toml.*{sentence}"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("run = 3", r"\[run\] must be a table, not 3"),
        ("network = 3\n" + GENERATOR, r"\[network\] must be a table, not 3"),
        (
            GENERATOR + "[network]\nimage_size = 100",
            "network.image_size must be a multiple of 16 from 32 .*, not 100",
        ),
        (GENERATOR + "[network]\nimage_size = 0", "network.image_size must be .* not 0"),
        (GENERATOR + "[network]\nimage_size = -96", "network.image_size must be .* not -96"),
        (GENERATOR + "[network]\nimage_size = 4096", "network.image_size must be .* to 1024, not 4096"),
        (GENERATOR + "[network]\nwidth = 0", "network.width must be a finite number from 0.25 to 8, not 0"),
        (GENERATOR + "[network]\nwidth = nan", "network.width must be a finite number"),
        (EXPERT + "[network]\nwidth = -1", "network.width must be a finite number from 0.25 to 8, not -1"),
        (EXPERT + "[network]\nimage_size = 8", "network.image_size must be .* not 8"),
        (GENERATOR.replace("1e-3", "-1"), "run.learning_rate must be a finite number of at least 1e-09, not -1"),
        (GENERATOR.replace("1e-3", "nan"), "run.learning_rate must be .* not nan"),
        (GENERATOR.replace("1e-3", "inf"), "run.learning_rate must be .* not inf"),
        (GENERATOR + "threads = -1", "run.threads must be a whole number from 0 to 1024, not -1"),
        (GENERATOR + "seed = -1", "run.seed must be .* not -1"),
        (GENERATOR + "ema_decay = 2.0", "run.ema_decay must be a finite number from 0 to 1, not 2.0"),
        (GENERATOR + "save_every = 0", "run.save_every must be a whole number of at least 1"),
        (GENERATOR + "[batch]\nruns = -1", "batch.runs must be a whole number of at least 0"),
        (GENERATOR + "[batch]\nknown = 1.5", "batch.known must be a finite number from 0 to 1"),
        (GENERATOR + "[losses]\nl1 = -1", "losses.l1 must be a finite number of at least 0"),
        (EXPERT + "[batch]\nclips = 0", "batch.clips must be a whole number of at least 1"),
        (EXPERT + "[batch]\nmoments = 0", "batch.moments must be a whole number of at least 2"),
        (EXPERT + "[batch]\nmoments = -3", "batch.moments must be a whole number of at least 2"),
        (
            EXPERT.replace("expert", "hearing") + "[batch]\nvoices = 0",
            "batch.voices must be a whole .* at least 1",
        ),
        (
            EXPERT.replace("expert", "hearing") + "[batch]\nvoice_moments = 0",
            "batch.voice_moments must be .* at least 1",
        ),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=f"r.toml.*{sentence}"):
        read_recipe(path)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_whole_numbers_may_be_weights(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(GENERATOR + "[losses]\nl1 = 2")
    assert read_recipe(path).losses.l1 == 2


def test_the_baseline_gets_our_crops_and_its_own_mel_window(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(GENERATOR + '[network]\narchitecture = "wav2lip"\n[losses]\nbehind = 0')
    config = read_recipe(path).checkpoint_config("10 steps")
    assert (config.architecture, config.channel_order, config.notes) == ("wav2lip", "rgb", "10 steps")
    assert (config.framing, config.mel_window) == (LOWER_FACE, STARTING_AT_FRAME)
