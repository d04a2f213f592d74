"""The weights that come with the package are the ones that their README describes."""

import hashlib

from model.checkpoint import load_expert, verify_checkpoint
from model.checkpoint_config import default_checkpoint

FOLDER = default_checkpoint().parent
MOST_BYTES = 32 * 10**6


def test_the_readme_names_every_file_with_its_hash() -> None:
    readme = (FOLDER / "README.md").read_text()
    files = sorted(FOLDER.glob("*.safetensors"))
    names = ["lip_voice.safetensors", "lpips_attnwav2lip.safetensors", "sync_expert.safetensors"]
    assert [file.name for file in files] == names
    for file in files:
        assert f"`{file.name}`" in readme and hashlib.sha256(file.read_bytes()).hexdigest() in readme
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


def test_the_weights_load_and_fit_together() -> None:
    config = verify_checkpoint(default_checkpoint())
    assert load_expert(FOLDER / "sync_expert.safetensors").config.image_size == config.image_size
