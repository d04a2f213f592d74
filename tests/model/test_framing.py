import pytest

from model.framing import FOREHEAD_TO_CHIN, LOWER_FACE, Framing


@pytest.mark.parametrize(
    ("framing", "template_y", "row"),
    [
        (LOWER_FACE, 0.413, LOWER_FACE.hidden_from),
        (LOWER_FACE, 1.0, 0.836),
        (LOWER_FACE, 1.2, 0.979),
        (FOREHEAD_TO_CHIN, 1.0, 0.946),
        (FOREHEAD_TO_CHIN, -0.4, 0.0),
    ],
)
def test_template_y_lands_on_row(framing: Framing, template_y: float, row: float) -> None:
    assert framing.row(template_y) == pytest.approx(row, abs=0.001)


@pytest.mark.parametrize("row", [0.0, 1.0, float("nan")])
def test_hidden_rows_must_start_inside_the_crop(row: float) -> None:
    with pytest.raises(ValueError, match="hidden rows"):
        Framing(side=1.0, center_y=0.4, hidden_from=row)


def test_crop_is_centred_on_the_midline() -> None:
    assert Framing(side=2.0, center_y=0.5).left == -1.0


@pytest.mark.parametrize("side", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_side_is_refused(side: float) -> None:
    with pytest.raises(ValueError, match="positive side"):
        Framing(side=side, center_y=0.4)
