"""Options of an import. Importing this does not import torch."""

from dataclasses import dataclass
from pathlib import Path

import registry
from dsactl.augmentation.strategy import parse_strategy
from dsactl.data.load import check_name
from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.methods import MAX_WORD, WHOLE, WORD
from dsactl.synthetic.bundled import check_own_name

NORMALISED, PIXELS, ZCA = "normalised", "pixels", "zca"
CHANNELS = FIRST, LAST = "first", "last"
MAX_FORMATION = 8
SPACES = (NORMALISED, PIXELS, ZCA)


@dataclass(frozen=True)
class Source:
    """Facts that a file or folder does not contain. None stands for the default.

    Attributes:
        dataset: a name or an image folder; required except for this program's own files and the authors' file names.
        name: name of the set in the store.
        space: space of the images in a file: "normalised" by the dataset's constants, "pixels", or "zca", whitened
            as MTT does. If not given, pixels if they have 8 bits, else normalised; values that look like pixels are
            then refused.
        experiment: index of one of a file's experiments, from 0; all of them if not given.
        labels: the file with the labels of a file that has only images.
        logits: the labels are logits, whose softmax are soft labels.
        channels: "first" or "last", for images whose shape fits N×C×H×W and N×H×W×C.
        formation: IDC's factor F: each image has F×F tiles. They stay tiles of a set with formation F; where F does not
            divide the images, or these are whitened, they are decoded into full images. By default what the file says,
            else 1.
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
    logits: bool = False
    channels: str | None = None
    formation: int | None = None
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
        if self.channels is not None and self.channels not in CHANNELS:
            raise UnknownNameError("channels", self.channels, CHANNELS)
        if self.formation is not None and not 1 <= self.formation <= MAX_FORMATION:
            raise UsageError(f"`formation` must be from 1 to {MAX_FORMATION}, not {self.formation}.")
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
        raise UsageError(
            f"`method` must be a word of a-z, 0-9, '.', '_' and '-', at most {MAX_WORD} long, not {word!r}."
        )
