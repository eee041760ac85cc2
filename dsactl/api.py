"""The Python API: the same functions as the command line, with the same defaults.

On a CPU these functions make the C library keep freed memory in the process (`engine.memory`), which about halves the
time, and make the processor flush numbers below 10⁻³⁸ to 0 (`engine.device`). Both last as long as the process.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import registry
from dsactl.data.dataset import OnRead
from dsactl.data.load import check_no_folder_options, load_again, load_dataset
from dsactl.engine.device import resolve_device
from dsactl.engine.tasks import Executor
from dsactl.evaluation.evaluate import evaluate_cached
from dsactl.evaluation.protocol import Evaluation, Protocol
from dsactl.recipes.recipe import Request
from dsactl.runs.job import OF_STUDIES, load_source, prepare
from dsactl.runs.progress import Progress
from dsactl.runs.run import execute
from dsactl.synthetic.bundled import find, own_name
from dsactl.synthetic.full_data import whole_set
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store
from registry import hub


def condense(
    dataset: str | Path,
    *,
    ipc: int,
    device: str = "auto",
    fresh: bool = False,
    store: registry.Store | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> SyntheticSet:
    """Condense a dataset and store the result; resume an interrupted run of the same recipe.

    Args:
        dataset: a dataset's name or an image folder.
        ipc: images per class.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: ignore an earlier run of the same recipe.
        store: where the set goes; None for the default store.
        report: called after every inner step, and when the work changes.
        options: any other field of `dsactl.recipes.recipe.Request`, or a setting of the method, e.g. `method="dc"`,
            `iterations=100`, `seed=1`.

    Raises:
        dsactl.Error: bad input; the store cannot be used; the run diverged; another process is making the set.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, iterations=2, width=16)
        >>> condensed.reference
        'digits-dsa-convnet-width16-ipc1:1'
        >>> condensed.images.shape
        torch.Size([10, 1, 8, 8])
        >>> dsactl.condense("digits", ipc=2, method="herding", width=16, epochs=1).labels[:4]
        tensor([0, 0, 1, 1])
    """
    store = store or registry.Store()
    job = prepare(Request.parse({"dataset": str(dataset), "ipc": ipc, **options}), device)
    return from_store(store, execute(job, store, fresh=fresh, report=report).stored)


def evaluate(
    reference: str | SyntheticSet | None = None,
    protocol: Protocol | None = None,
    *,
    data: str | Path | None = None,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int | None = None,
    device: str = "auto",
    fresh: bool = False,
    store: registry.Store | None = None,
    report: Callable[[float], None] = lambda networks: None,
    keeping: Callable[[int], None] = lambda networks: None,
    on_read: OnRead | None = None,
    workers: Executor | None = None,
    **options: Any,
) -> Evaluation:
    """Train networks from scratch on a stored set, test them on the real test images, and cache the results.

    Results under the same conditions are looked up, and an interrupted evaluation is resumed.

    Args:
        reference: `name`, `name:version`, `name:tag`, `@sha256:…` or a loaded set; None for the store's newest set,
            those of studies excepted.
        protocol: see `dsactl.Protocol`; None for the paper's.
        data: the image folder, for a set of a folder that was moved, or was condensed on another machine.
        image_size, test_fraction, split_seed: for that folder; None for the values that the set was made with. Without
            `data` they are refused, since the images are read with those values.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: ignore cached results.
        store: None for the default store.
        report: called after every epoch with the number of finished networks; those in training count as fractions.
        keeping: called with the number of finished networks in the cache, from which an interrupted evaluation is
            resumed.
        on_read: see `load_dataset`.
        workers: the executor that trains the networks (`dsactl.engine.on_ray.workers`); None for this process.
        options: attributes of `dsactl.Protocol` instead of a protocol, e.g. `networks=5`.

    Raises:
        dsactl.Error: bad input; the set is missing or damaged; the store cannot be written to.
        TypeError: both a protocol and its attributes, or an unknown attribute.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="random")
        >>> mlp = dsactl.NetworkSpec("mlp")
        >>> found = dsactl.evaluate(condensed, networks=3, epochs=10, network=mlp)
        >>> found.n, found.network
        (3, 'mlp')
        >>> dsactl.evaluate("digits-random-ipc1", networks=3, epochs=10, network=mlp).repeated
        True
    """
    protocol = _protocol(protocol, options)
    given = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    given = {name: value for name, value in given.items() if value is not None}
    if data is None:
        check_no_folder_options(**given)
    target = resolve_device(device)
    store = store or registry.Store()
    if isinstance(reference, SyntheticSet):
        synthetic = reference
    else:
        found = (store, store.newest(passed_over=OF_STUDIES)) if reference is None else find(reference, store)
        synthetic = from_store(*found)
    if data is None:
        dataset = load_source(store, synthetic.recipe, on_read)
    else:
        how = {**synthetic.folder_options, **given, "on_read": on_read}
        dataset = load_again(str(data), synthetic.recipe.checksum, **how)
    return evaluate_cached(
        store, synthetic, dataset, protocol, target, report, fresh=fresh, on_saved=keeping, workers=workers
    )


def evaluate_whole(
    dataset: str | Path,
    protocol: Protocol | None = None,
    *,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    device: str = "auto",
    fresh: bool = False,
    store: registry.Store | None = None,
    report: Callable[[float], None] = lambda networks: None,
    keeping: Callable[[int], None] = lambda networks: None,
    on_read: OnRead | None = None,
    workers: Executor | None = None,
    **options: Any,
) -> Evaluation:
    """Train networks from scratch on a whole training split: the upper bound for condensed sets.

    Args:
        dataset: a dataset's name or an image folder.
        protocol, device, fresh, store, report, keeping, on_read, workers, options: see `evaluate`.
        image_size, test_fraction, split_seed: for a folder.

    Raises:
        dsactl.Error: bad input; the store cannot be written to.
        TypeError: both a protocol and its attributes, or an unknown attribute.

    Examples:
        >>> import dsactl
        >>> found = dsactl.evaluate_whole("digits", networks=1, epochs=2, network=dsactl.NetworkSpec("mlp"))
        >>> found.test_images
        360
    """
    protocol = _protocol(protocol, options)
    target = resolve_device(device)
    how = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    real = load_dataset(str(dataset), **how, on_read=on_read)  # type: ignore[arg-type]
    store = store or registry.Store()
    return evaluate_cached(
        store, whole_set(real), real, protocol, target, report, fresh=fresh, on_saved=keeping, workers=workers
    )


def _protocol(protocol: Protocol | None, options: dict[str, Any]) -> Protocol:
    if protocol is not None and options:
        raise TypeError(f"both a protocol and {', '.join(options)}: use dataclasses.replace")
    unknown = options.keys() - {field.name for field in fields(Protocol)}
    if unknown:
        raise TypeError(f"evaluate() and dsactl.Protocol have no {', '.join(sorted(unknown))}")
    return protocol or Protocol(**options)


def pull(address: str, *, name: str | None = None, store: registry.Store | None = None) -> SyntheticSet:
    """Download a set from the Hugging Face Hub, verify its checksums, store it, and load it.

    Args:
        address: `user/repo`, `user/repo:version`, or with a tag, branch or commit after the colon; the newest version
            for `user/repo` alone.
        name: its name in the store; None for `user/repo` in lower case.
        store: None for the default store.

    Raises:
        dsactl.Error: the Hub's client is not installed (the extra `hub`); the Hub refused or cannot be reached; the
            download is damaged or not a set; the store has that version with other content.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.pull("you/digits-ipc1")  # doctest: +SKIP
        >>> condensed.reference  # doctest: +SKIP
        'you/digits-ipc1:1'
    """
    store = store or registry.Store()
    repo_id, revision = hub.parse_address(address)
    pulled = hub.pull(store, repo_id, revision, own_name(name, repo_id))
    return from_store(store, pulled.stored)
