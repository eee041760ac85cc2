"""Limit of what references in a torch.save file amount to: a few bytes of it can name one tensor many times over."""

from typing import Any

from torch import Tensor

from dsactl.errors import DataError
from dsactl.synthetic.importing.pickle_reader import MAX_OPERATIONS, NumpyArray

_DEPTH = 5  # a dict, its experiments, a pair, a list of images, and an image
_TIMES = 2
_FREE = 2**20  # numbers, which a small file may have several times


def check_references(content: Any, where: str) -> None:
    """Check that the tensors in some content have about as many numbers as are in memory.

    What layouts are made of is looked at, each part as often as it is referred to: the importer stacks and converts it
    as often.

    Args:
        content: as returned by `read_pickle`.
        where: the file's name, for the error message.

    Raises:
        DataError: the same tensors or lists are there many times.
    """
    refused = DataError(
        f"{where} is not read: it has the same tensors or lists many times.",
        "Save each image once: torch.save([images, labels], FILE).",
    )
    numbers, held, level = 0, dict[int, int](), [content]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for value in level:
            tensor = value.tensor if isinstance(value, NumpyArray) else value
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                numbers += tensor.numel()
                held[storage.data_ptr()] = storage.nbytes() // tensor.itemsize
            elif isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list | tuple):
                below += value
            if len(below) > _TIMES * MAX_OPERATIONS:
                raise refused
        level = below
    if numbers > _TIMES * sum(held.values()) + _FREE:
        raise refused
