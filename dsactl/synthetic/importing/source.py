"""Options of an import. Importing this does not import torch."""

from dataclasses import dataclass
from pathlib import Path

import registry
from dsactl.augmentation.strategy import parse_strategy
from dsactl.data.load import check_name
from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.methods import WHOLE, WORD
from dsactl.synthetic.bundled import check_own_name

NORMALISED, PIXELS = "normalised", "pixels"
SPACES = (NORMALISED, PIXELS)


@dataclass(frozen=True)
class Source:
    """Facts that a file or folder does not contain. None stands for the default.

    Attributes:
        dataset: a name or an image folder; required except for this program's own files and the authors' file names.
        name: name of the set in the store.
        space: space of the images in a `.pt` file: "normalised" by the dataset's constants, or "pixels". If not given,
            normalised; values that all lie in 0 … 1 are then refused.
        experiment: index of one of a file's experiments, from 0; all of them if not given.
        labels: the file with the labels of a `.pt` file that has only images.
        strategy: kinds of augmentation for training; by default the dataset's, none for DC's files.
        method: name of the method that made the set.
        image_size, test_fraction, split_seed: for a dataset that is a folder.

    Raises:
        DsactlError, registry.BadNameError: a value is invalid.
    """

    dataset: str | None = None
    name: str | None = None
    space: str | None = None
    experiment: int | None = None
    labels: Path | None = None
    strategy: str | None = None
    method: str | None = None
    image_size: int | None = None
    test_fraction: float | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.name is not None:
            check_own_name(registry.parse_name(self.name))
        if self.space is not None and self.space not in SPACES:
            raise UnknownNameError("space", self.space, SPACES)
        if self.strategy is not None:
            parse_strategy(self.strategy)
        if self.method is not None:
            check_method(self.method.lower())
        if self.dataset is not None:
            check_name(
                self.dataset,
                image_size=self.image_size,
                test_fraction=self.test_fraction,
                split_seed=self.split_seed,
            )


def check_method(word: str) -> None:
    """Check the name of a method.

    Raises:
        UsageError: it is not a word, or is the name reserved for whole datasets.
    """
    if not WORD.fullmatch(word) or word == WHOLE:
        raise UsageError(f"`method` must be a word of a-z, 0-9, '.', '_' and '-', not {word!r}.")
