from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lipsync.standard_evaluation import StandardEvaluation, evaluate_standard


class FakeLipsync:
    """Runner that records each command and answers with the next status."""

    def __init__(self, statuses: Sequence[int]) -> None:
        self._statuses = iter(statuses)
        self.commands: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> tuple[int, str]:
        self.commands.append(" ".join(arguments))
        return next(self._statuses), f"rows\nfigures {len(self.commands)}\n"


def evaluate(choice: StandardEvaluation, statuses: Sequence[int]) -> tuple[int, list[str], list[str]]:
    run, told = FakeLipsync(statuses), list[str]()
    return evaluate_standard(choice, run, told.append), run.commands, told


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder of reference media with two clips."""
    clips = tmp_path / "shared" / "media" / "real"
    clips.mkdir(parents=True)
    for name in ("grid_J_w_one.mp4", "grid_E_m_two.mp4", "grid_s1_learned.mp4"):
        (clips / name).touch()
    return tmp_path / "shared"


def test_puppets_and_people_are_evaluated(tmp_path: Path, shared: Path) -> None:
    out, clips = tmp_path / "out", shared / "media" / "real"
    choice = StandardEvaluation(out, shared, faces=tmp_path / "faces", arguments=("--limit", "3"))
    status, commands, told = evaluate(choice, [0, 0, 0])
    assert status == 0
    assert commands == [
        f"corpus --out {out}/puppets --clips 12 --voices 0 --held-out --faces {tmp_path}/faces",
        f"evaluate --limit 3 --corpus {out}/puppets --check --json {out}/puppets.json --html {out}/puppets_page",
        f"evaluate --limit 3 --clips {clips}/grid_E_m_two.mp4 --clips {clips}/grid_J_w_one.mp4 --check "
        f"--json {out}/people.json --html {out}/people_page",
    ]
    assert told[-1] == "puppets, figures 2; people, figures 3"
    assert (out / "puppets.txt").read_text() == "rows\nfigures 2\n" and (out / "people.txt").is_file()


def test_one_face_promises_nothing_and_a_corpus_is_not_made(tmp_path: Path) -> None:
    choice = StandardEvaluation(tmp_path / "out", tmp_path, corpus=tmp_path / "c", checkpoint=tmp_path / "w")
    status, commands, told = evaluate(choice, [0])
    assert status == 0 and told[-1] == "puppets, figures 1"
    [command] = commands
    assert command.startswith(f"evaluate --checkpoint {tmp_path}/w --corpus {tmp_path}/c") and "--check " not in command


@pytest.mark.parametrize(
    ("statuses", "status", "commands"),
    [([2], 2, 1), ([0, 1, 0], 1, 3), ([0, 1, 2], 2, 3), ([0, 0, 1], 1, 3)],
)
def test_the_last_failure_is_the_status(
    statuses: list[int], status: int, commands: int, tmp_path: Path, shared: Path
) -> None:
    ended, called, _ = evaluate(StandardEvaluation(tmp_path / "out", shared), statuses)
    assert ended == status and len(called) == commands
