"""Numbers in words."""

import pytest

from dsactl.text.formatting import many


@pytest.mark.parametrize(
    ("count", "what", "said"),
    [
        (0, "set", "0 sets"),
        (1, "epoch", "1 epoch"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (None, "epoch", "None epochs"),
    ],
)
def test_a_count_has_its_noun_in_its_number(count: object, what: str, said: str) -> None:
    assert many(count, what) == said


def test_thousands_are_separated_on_request() -> None:
    assert many(1234, "image", ",") == "1,234 images"
    assert many(1234, "image") == "1234 images"
