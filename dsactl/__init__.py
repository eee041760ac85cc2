"""Condense a labelled image data set into a handful of synthetic images per class.

    condense       make a set and store it
    load           a stored set, ready to train on
    evaluate       train networks on a set from scratch and test them; evaluate_whole on a whole data set
    load_dataset   a data set, to test on
    pull           bring a set from the Hugging Face Hub

Bad input is refused with an `Error`, whose message is one line that says what to do next; for an unknown keyword, it
names the closest ones. A wrong keyword of `evaluate` or `evaluate_whole` is a TypeError as well. How networks are
trained is a `Protocol`; which network, a `NetworkSpec`.

The names are loaded when they are first used, so that importing the package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dsactl.api import condense, evaluate, evaluate_whole, pull
    from dsactl.data.load import load_dataset
    from dsactl.evaluation.protocol import Evaluation, Protocol
    from dsactl.networks.catalogue import NetworkSpec
    from dsactl.synthetic.synthetic_set import SyntheticSet, load
    from registry.errors import Error

_HOMES = {
    "Error": "registry.errors",
    "Evaluation": "dsactl.evaluation.protocol",
    "NetworkSpec": "dsactl.networks.catalogue",
    "Protocol": "dsactl.evaluation.protocol",
    "SyntheticSet": "dsactl.synthetic.synthetic_set",
    "condense": "dsactl.api",
    "evaluate": "dsactl.api",
    "evaluate_whole": "dsactl.api",
    "load": "dsactl.synthetic.synthetic_set",
    "load_dataset": "dsactl.data.load",
    "pull": "dsactl.api",
}

__all__ = [
    "Error",
    "Evaluation",
    "NetworkSpec",
    "Protocol",
    "SyntheticSet",
    "__version__",
    "condense",
    "evaluate",
    "evaluate_whole",
    "load",
    "load_dataset",
    "pull",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
