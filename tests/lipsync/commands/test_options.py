from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.core.errors import InputError
from lipsync.commands.evaluation import AblationChoice, EvaluationChoice, ablate, evaluate
from lipsync.commands.options import check_can_be_folder, write_json
from lipsync.commands.training import CorpusChoice, corpus


@pytest.mark.parametrize(
    ("command", "kind"),
    [(corpus, CorpusChoice), (evaluate, EvaluationChoice), (ablate, AblationChoice)],
)
def test_a_group_of_options_has_a_field_for_each(command: click.Command, kind: type) -> None:
    assert {option.name for option in command.params} == {field.name for field in fields(kind)}


def test_corpus_without_a_folder_is_a_usage_error() -> None:
    ended = CliRunner().invoke(corpus, [])
    assert ended.exit_code == 2 and "Missing option '--out'" in ended.stderr


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    check_can_be_folder(tmp_path / "new" / "deeper")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_can_be_folder(tmp_path / "file" / "deeper")


def test_figures_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "figures.json", {"a": 1}, indent=1)
    assert (tmp_path / "new" / "figures.json").read_text() == '{\n "a": 1\n}\n'
