"""Condense a labelled image dataset into a handful of synthetic images per class.

    condense       make a set and store it
    load           a stored set, ready to train on
    evaluate       train networks on a set from scratch and test them; evaluate_whole on a whole dataset
    compare_with_random
                   evaluate a set and random real images of the same size
    load_dataset   a dataset, to test on; datasets and architectures list names
    experts        train a pool of networks on real images, for methods; load_experts loads a stored pool
    list_runs      the runs that make sets and pools, finished or not
    relabel        a set with soft labels from such a network
    pull           bring a set from the Hugging Face Hub
    page           a set, several sets or the whole registry as an HTML file
    doctor         what slows this machine, and what is broken on it
    transfer, ablate, nas, continual, reproduce
                   the studies; each returns a `StudyResult`

Bad input is refused with an `Error`, whose message is one line that says what to do next; for an unknown keyword, it
names the closest ones. A wrong keyword of `evaluate` or `evaluate_whole` is a TypeError as well. How networks are
trained is a `Protocol`; which network, a `NetworkSpec`. Long work reports to a `Progress`; `open_executor` opens
workers on Ray.

The names are loaded when they are first used, so that importing the package does not import torch. Import it before
torch: it bounds the time for which OpenMP's threads spin, which is read when torch loads (docs/performance.md).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

SPINS = 3000
"""How often OpenMP's threads look for work before they give their core away: threads that spin for long take the cores
from those they wait for, if another process is busy."""

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))

if TYPE_CHECKING:
    from dsactl.api import condense, evaluate, evaluate_whole, experts, pull, relabel
    from dsactl.data.catalogue import datasets
    from dsactl.data.load import load_dataset
    from dsactl.diagnosis.doctor import doctor
    from dsactl.engine.on_ray import open_executor
    from dsactl.engine.progress import Progress
    from dsactl.evaluation.protocol import Evaluation, Protocol
    from dsactl.expert_pools.pool import ExpertPool, load_experts
    from dsactl.networks.catalogue import NetworkSpec, architectures
    from dsactl.pages.page import page
    from dsactl.runs.listing import Run, list_runs
    from dsactl.studies.ablate import ablate
    from dsactl.studies.against import compare_with_random
    from dsactl.studies.continual.continual_learning import continual
    from dsactl.studies.nas.architecture_search import nas
    from dsactl.studies.reproduce import reproduce
    from dsactl.studies.result import StudyResult
    from dsactl.studies.transfer import transfer
    from dsactl.synthetic.synthetic_set import SyntheticSet, load
    from registry.errors import Error

_HOMES = {
    "Error": "registry.errors",
    "Evaluation": "dsactl.evaluation.protocol",
    "ExpertPool": "dsactl.expert_pools.pool",
    "NetworkSpec": "dsactl.networks.catalogue",
    "Progress": "dsactl.engine.progress",
    "Protocol": "dsactl.evaluation.protocol",
    "Run": "dsactl.runs.listing",
    "StudyResult": "dsactl.studies.result",
    "SyntheticSet": "dsactl.synthetic.synthetic_set",
    "ablate": "dsactl.studies.ablate",
    "architectures": "dsactl.networks.catalogue",
    "compare_with_random": "dsactl.studies.against",
    "condense": "dsactl.api",
    "continual": "dsactl.studies.continual.continual_learning",
    "datasets": "dsactl.data.catalogue",
    "doctor": "dsactl.diagnosis.doctor",
    "evaluate": "dsactl.api",
    "evaluate_whole": "dsactl.api",
    "experts": "dsactl.api",
    "list_runs": "dsactl.runs.listing",
    "load": "dsactl.synthetic.synthetic_set",
    "load_dataset": "dsactl.data.load",
    "load_experts": "dsactl.expert_pools.pool",
    "nas": "dsactl.studies.nas.architecture_search",
    "open_executor": "dsactl.engine.on_ray",
    "page": "dsactl.pages.page",
    "pull": "dsactl.api",
    "relabel": "dsactl.api",
    "reproduce": "dsactl.studies.reproduce",
    "transfer": "dsactl.studies.transfer",
}

__all__ = [
    "Error",
    "Evaluation",
    "ExpertPool",
    "NetworkSpec",
    "Progress",
    "Protocol",
    "Run",
    "StudyResult",
    "SyntheticSet",
    "__version__",
    "ablate",
    "architectures",
    "compare_with_random",
    "condense",
    "continual",
    "datasets",
    "doctor",
    "evaluate",
    "evaluate_whole",
    "experts",
    "list_runs",
    "load",
    "load_dataset",
    "load_experts",
    "nas",
    "open_executor",
    "page",
    "pull",
    "relabel",
    "reproduce",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
