"""The Python API: the same functions as the command line, with the same defaults.

On a CPU these functions make the C library keep freed memory in the process (`engine.memory`), which about halves the
time, and make the processor flush numbers below 10⁻³⁸ to 0 (`engine.device`). Both last as long as the process.
"""

from pathlib import Path
from typing import Any, Literal

import registry
from dsactl.data.load import check_no_folder_options, load_again, load_dataset
from dsactl.engine.arguments import keywords_of
from dsactl.engine.device import resolve_precision
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session, opened
from dsactl.engine.tasks import Executor
from dsactl.evaluation.evaluate import evaluate_cached
from dsactl.evaluation.protocol import Evaluation, Protocol, given_protocol
from dsactl.evaluation.resolve import check_protocol, learning_rate
from dsactl.expert_pools.fitting import choose_pool, remark_on
from dsactl.expert_pools.make import find_or_make
from dsactl.expert_pools.make import prepare as prepare_pool
from dsactl.expert_pools.pool import ExpertPool, pool_from_store
from dsactl.expert_pools.recipe import PoolRequest
from dsactl.expert_pools.teacher import Teacher
from dsactl.recipes.budget import budget_of
from dsactl.recipes.methods import WHOLE, protocol_of
from dsactl.recipes.recipe import Request
from dsactl.runs.budget import settle
from dsactl.runs.default_pool import default_pool
from dsactl.runs.job import OF_STUDIES, load_source, prepare
from dsactl.runs.run import execute
from dsactl.runs.tensorboard import check_log_dir, logged
from dsactl.synthetic.bundled import check_own_name, find, own_name
from dsactl.synthetic.full_data import whole_set
from dsactl.synthetic.relabelling import relabel as relabel_stored
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store
from registry import hub


def condense(
    dataset: str | Path,
    *,
    ipc: int,
    budget: str | float | None = None,
    device: str = "auto",
    fresh: bool = False,
    log_dir: str | Path | None = None,
    store: registry.Store | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SyntheticSet:
    """Condense a dataset and store the result; resume an interrupted run of the same recipe.

    Args:
        dataset: a dataset's name or an image folder.
        ipc: images per class.
        budget: time for making the set, as "30m", "2h", "90s" or "1h30m", or in seconds. A few steps are timed, and as
            many are made as fit, at most the method's default number. Experts that are needed and not in the store are
            trained within it. The set's recipe has the numbers; an equal call with the same budget uses them again.
            None for a number of steps that does not depend on time.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: ignore an earlier run of the same recipe, and time the steps again.
        log_dir: folder for TensorBoard, in which the run writes a folder of its own: distance or loss, seconds per
            step, images, and the recipe. It is no part of the recipe. None for no log.
        store: where the set goes; None for the default store.
        progress: the meter, which counts steps; None for none.
        options: any other field of `dsactl.recipes.recipe.Request`, or a setting of the method, e.g. `method="dc"`,
            `iterations=100`, `seed=1`.

    Raises:
        dsactl.Error: bad input; the store cannot be used; the run diverged; another process is making the set;
            `log_dir` is given, and the extra `tensorboard` is not installed. For an unknown option it names the closest
            ones.

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
    logs = check_log_dir(log_dir)
    session = Session.open(device, store, progress=progress)
    request = Request.parse({"dataset": str(dataset), "ipc": ipc, **options}, keywords_of(condense))
    seconds = None if budget is None else budget_of(request, budget)
    job = prepare(request, session.device, store=session.store, progress=session.progress.part(0, 0, 1))
    if seconds is not None:
        choice = settle(job, seconds, session, given=request.settings, fresh=fresh)
        for said in choice.sentences(job):
            session.progress.remark(said)
        job = choice.applied(job)
    with logged(logs, job, session) as (session, watch):
        return from_store(session.store, execute(job, session, fresh=fresh, watch=watch).stored)


def evaluate(
    reference: str | SyntheticSet | None = None,
    protocol: Protocol | str | None = None,
    *,
    data: str | Path | None = None,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int | None = None,
    device: str = "auto",
    fresh: bool = False,
    store: registry.Store | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Train networks from scratch on a stored set, test them on the real test images, and cache the results.

    Results under the same conditions are looked up, and an interrupted evaluation is resumed.

    Args:
        reference: `name`, `name:version`, `name:tag`, `@sha256:…` or a loaded set; None for the store's newest set,
            those of studies excepted.
        protocol: see `dsactl.Protocol`, or its name: "dsa", "dc", "idc" or "mtt"; None for the one that the set was
            made for.
        data: the image folder, for a set of a folder that was moved, or was condensed on another machine.
        image_size, test_fraction, split_seed: for that folder; None for the values that the set was made with. Without
            `data` they are refused, since the images are read with those values.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: ignore cached results.
        store: None for the default store.
        executor: trains the networks, see `dsactl.open_executor`; None for this process.
        progress: the meter, which counts networks; those in training count as fractions. None for none.
        options: attributes of `dsactl.Protocol` in place of a protocol, or beside its name, e.g. `networks=5`.

    Raises:
        dsactl.Error: bad input; the set is missing or damaged; the store cannot be written to. For an unknown keyword,
            it names the closest ones; then, and with both a protocol and its attributes, it is a TypeError as well.

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
    protocol = given_protocol(protocol, options, evaluate)
    given = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    given = {name: value for name, value in given.items() if value is not None}
    if data is None:
        check_no_folder_options(**given)
    session = Session.open(device, store, executor, progress)
    store = session.store
    if isinstance(reference, SyntheticSet):
        synthetic = reference
    else:
        found = (store, store.newest(passed_over=OF_STUDIES)) if reference is None else find(reference, store)
        synthetic = from_store(*found)
    store.check_writable()
    check_protocol(synthetic, protocol, session.device)
    reading = session.progress.part(0, 0, protocol.networks)
    if data is None:
        dataset = load_source(store, synthetic.recipe, reading)
    else:
        how = {**synthetic.folder_options, **given, "progress": reading}
        dataset = load_again(str(data), synthetic.recipe.checksum, **how)
    return evaluate_cached(synthetic, dataset, protocol, session, fresh=fresh)


def evaluate_whole(
    dataset: str | Path,
    protocol: Protocol | str | None = None,
    *,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    device: str = "auto",
    fresh: bool = False,
    store: registry.Store | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Train networks from scratch on a whole training split: the upper bound for condensed sets.

    Args:
        dataset: a dataset's name or an image folder.
        protocol, device, fresh, store, executor, progress, options: see `evaluate`.
        image_size, test_fraction, split_seed: for a folder.

    Raises:
        dsactl.Error: bad input; the store cannot be written to; a TypeError as well in the cases of `evaluate`.

    Examples:
        >>> import dsactl
        >>> found = dsactl.evaluate_whole("digits", networks=1, epochs=2, network=dsactl.NetworkSpec("mlp"))
        >>> found.test_images
        360
    """
    protocol = given_protocol(protocol, options, evaluate_whole)
    session = Session.open(device, store, executor, progress)
    session.store.check_writable()
    resolve_precision(protocol.precision, session.device)
    learning_rate(protocol.resolve_over(protocol_of(WHOLE)), f"the whole of {dataset}")
    how = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    real = load_dataset(str(dataset), **how, progress=session.progress.part(0, 0, protocol.networks))  # type: ignore[arg-type]
    return evaluate_cached(whole_set(real), real, protocol, session, fresh=fresh)


def experts(
    dataset: str | Path,
    *,
    name: str | None = None,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    device: str = "auto",
    fresh: bool = False,
    store: registry.Store | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ExpertPool:
    """Train a pool of networks on the real training images, and store it; or look it up by its recipe.

    An interrupted pool is continued. The test images are never read.

    Args:
        dataset: a dataset's name or an image folder.
        name: of the pool in the store; None for DATASET-experts-ARCH.
        image_size, test_fraction, split_seed: for a folder.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: ignore an earlier pool of the same recipe.
        store: where the pool goes; None for the default store.
        executor: trains the networks, see `dsactl.open_executor`; None for this process.
        progress: the meter, which counts epochs of all networks. None for none.
        options: attributes of `dsactl.expert_pools.recipe.PoolRequest`, e.g. `networks=5`, `epochs=60`,
            `keep=(0, 20, 60)`, `network=dsactl.NetworkSpec(norm="batch")`.

    Raises:
        dsactl.Error: bad input; the store cannot be used; a network diverged; another process makes the pool. For an
            unknown keyword it names the closest ones.

    Examples:
        >>> import dsactl
        >>> tiny = dsactl.NetworkSpec(width=8)
        >>> pool = dsactl.experts("digits", networks=1, epochs=2, network=tiny)
        >>> pool.reference, pool.epochs
        ('digits-experts-convnet-width8:1', (0, 2))
        >>> dsactl.load_experts("digits-experts-convnet-width8").digest == pool.digest
        True
    """
    request = PoolRequest.parse(options, keywords_of(experts))
    own = None if name is None else check_own_name(registry.parse_name(name))
    session = Session.open(device, store, executor, progress)
    folder: dict[str, Any] = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    reading = session.progress.part(0, 0, request.networks * request.epochs)
    real = load_dataset(str(dataset), **folder, progress=reading)
    made = find_or_make(prepare_pool(request, real, session.device, own, folder), session, fresh=fresh)
    return pool_from_store(session.store, made.stored)


def relabel(
    reference: str | SyntheticSet,
    *,
    experts: str | ExpertPool | None = None,
    teacher: int | Literal["mean"] = 0,
    epoch: int | None = None,
    temperature: float = 1.0,
    name: str | None = None,
    device: str = "auto",
    store: registry.Store | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> SyntheticSet:
    """Store the images of a set with one soft label each from a network that was trained on the real images.

    The label is softmax(logits / temperature) of the network in evaluation mode, without augmentation; with formation
    the mean over the decoded images. Soft labels that the set has are replaced. Test images are never used. The same
    again, with the same pool, is looked up.

    Args:
        reference: of a set, or a loaded one.
        experts: reference of a pool of experts, or a loaded one; None for the one that was trained on the same
            training images with the defaults of `experts`, or else the one on these images with the set's network and
            most epochs, with a remark. If there is none, it is trained with the defaults.
        teacher: number of the network in the pool, or "mean" for the mean of all networks' probabilities.
        epoch: after which the network was kept; None for the last.
        temperature: above 0.
        name: of the new set, another than the source's; None for SOURCE-soft, or SOURCE if it ends so already.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        store: None for the default store.
        executor: trains the experts if there are none, see `dsactl.open_executor`; None for this process.
        progress: the meter; None for none.

    Raises:
        dsactl.Error: bad input; the set or the pool is missing, damaged, or one does not fit the other; the store
            cannot be written to; the probabilities are not finite.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="random")
        >>> pool = dsactl.experts("digits", networks=1, epochs=1, network=dsactl.NetworkSpec(width=8))
        >>> soft = dsactl.relabel(condensed, experts=pool)
        >>> soft.reference, soft.soft_labels.shape
        ('digits-random-ipc1-soft:1', torch.Size([10, 10]))
    """
    chosen = Teacher(teacher, epoch, temperature)
    own = None if name is None else check_own_name(registry.parse_name(name))
    session = Session.open(device, store, executor, progress)
    where, source = find(_address(reference), session.store)
    pool, which = choose_pool(session.store, source, None if experts is None else _address(experts), chosen)
    if pool is None:
        job = default_pool(where, source, chosen, session.part(0, 0, 1), own)
        pool = find_or_make(job, session).stored
    for remark in remark_on(pool, which):
        session.progress.remark(remark)
    return from_store(session.store, relabel_stored(where, source, pool, chosen, session, own).stored)


def _address(given: str | SyntheticSet | ExpertPool) -> str:
    """Return the reference of a set or pool that is given by it or loaded; other values as they are, to be refused."""
    return f"@sha256:{given.digest}" if isinstance(given, SyntheticSet | ExpertPool) else given


def pull(address: str, *, name: str | None = None, store: registry.Store | None = None) -> SyntheticSet:
    """Download a set from the Hugging Face Hub, verify its checksums, store it, and load it.

    Args:
        address: `user/repo`, `user/repo:version`, or with a tag, branch or commit after the colon; the newest version
            for `user/repo` alone.
        name: its name in the store; None for `user/repo` in lower case.
        store: None for the default store.

    Raises:
        dsactl.Error: the Hub's client is not installed (the extra `hub`); the Hub refused or cannot be reached; the
            download is damaged; the store has that version with other content; or it is not a set but a pool of
            experts, which is stored all the same.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.pull("you/digits-ipc1")  # doctest: +SKIP
        >>> condensed.reference  # doctest: +SKIP
        'you/digits-ipc1:1'
    """
    store = opened(store)
    repo_id, revision = hub.parse_address(address)
    pulled = hub.pull(store, repo_id, revision, own_name(name, repo_id))
    try:
        return from_store(store, pulled.stored)
    except registry.KindError as error:
        raise registry.KindError(
            error.message, f"It is stored; load it with `load_experts({pulled.stored.reference!r})`."
        ) from None
