"""What a set gains over random real images, by the same evaluation protocol.

Every group has as many networks as the set. Those of random images are divided among several sets, since accuracies
differ from draw to draw. Nothing is chosen by the test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import registry
from dsactl.augmentation.strategy import Strategy, default_strategy
from dsactl.data.load import check_no_folder_options, load_again
from dsactl.data.paths import absolute, is_folder
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session
from dsactl.engine.tasks import Executor
from dsactl.evaluation.evaluate import evaluate_cached
from dsactl.evaluation.protocol import Evaluation, Protocol, given_protocol
from dsactl.evaluation.resolve import check_matches, check_protocol, evaluated_network
from dsactl.runs.job import OF_STUDIES, source_of
from dsactl.studies.comparison import HARD, SET, Comparison, Group, shares
from dsactl.studies.random_sets import Compared, make_random_sets, stored_bytes
from dsactl.studies.study import keeping_finished_work
from dsactl.studies.whole_result import whole_group
from dsactl.synthetic.bundled import find
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store
from dsactl.text.formatting import many
from dsactl.training.protocols import NAMED
from registry.cost import Cost

MOST_DRAWS = 5
"""The largest number of sets of random images in a group: ours."""


def compare_with_random(
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
) -> Comparison:
    """Evaluate a stored set and random real images, as many and of as many bytes, by the same protocol.

    If the set has soft labels, also random images with labels of the same teacher, and the set with hard labels; the
    whole training split if its result is cached (`evaluate_whole`). Sets of random images are stored under `studies/`,
    and results recorded and cached like all evaluations, so that the same call again trains nothing.

    Args:
        reference, protocol: see `evaluate`.
        data, image_size, test_fraction, split_seed: see `evaluate`.
        device, fresh, store, executor, options: see `evaluate`.
        progress: the meter, which counts networks of all groups; None for none.

    Raises:
        dsactl.Error: in the cases of `evaluate`; or a class has fewer training images than the set.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="herding", width=16, epochs=1)
        >>> found = dsactl.compare_with_random(condensed, networks=2, epochs=2, network=dsactl.NetworkSpec("mlp"))
        >>> [(group.name, group.ipc, group.n, len(group.references)) for group in found.groups]
        [('set', 1, 2, 1), ('random', 1, 2, 2)]
    """
    protocol = given_protocol(protocol, options, compare_with_random)
    given = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    given = {name: value for name, value in given.items() if value is not None}
    if data is None:
        check_no_folder_options(**given)
    session = Session.open(device, store, executor, progress)
    store = session.store
    if isinstance(reference, SyntheticSet):
        reference = f"@sha256:{reference.digest}"
    found = (store, store.newest(passed_over=OF_STUDIES)) if reference is None else find(reference, store)
    where, stored = found
    synthetic = from_store(where, stored)
    store.check_writable()
    check_protocol(synthetic, protocol, session.device)
    if data is None:
        source = source_of(store, synthetic.recipe)
    else:
        name = absolute(str(data)) if is_folder(str(data)) else str(data)
        source = {"name": name, **synthetic.folder_options, **given}
    reading = session.progress.part(0, 0, protocol.networks)
    dataset = load_again(**source, checksum=synthetic.recipe.checksum, progress=reading)
    check_matches(synthetic, dataset)
    compared = Compared(where, stored, synthetic, dataset, source)
    return _Comparing(compared, protocol, session, fresh=fresh).run()


@dataclass(frozen=True)
class _Comparing:
    """A comparison at work.

    Attributes:
        compared: the set.
        protocol: of its evaluation.
        session: its meter counts networks of all groups.
        fresh: whether cached results are ignored.
    """

    compared: Compared
    protocol: Protocol
    session: Session
    fresh: bool

    def run(self) -> Comparison:
        """Make the sets of random images, and evaluate one group after the other."""
        compared, store, networks = self.compared, self.session.store, self.protocol.networks
        own, hard = compared.synthetic, self._with_hard_labels()
        parts, same = shares(networks, MOST_DRAWS), self._same_protocol()
        random = make_random_sets(compared, len(parts), self.session.part(0, 0, 1))
        size = stored_bytes(compared.where, compared.stored)
        total = 1 + len(random.groups) + (hard is not None)
        groups, evaluations = list[Group](), list[Evaluation]()
        self.session.progress.remark(
            f"{many(total, 'group')} of {many(networks, 'network')} each: {total * networks} in all, less those whose "
            "results are cached. `networks` changes their number."
        )

        def measure(name: str, size: int, sets: Sequence[SyntheticSet], parts: Sequence[int], how: Protocol) -> None:
            results = list[Evaluation]()
            for synthetic, count in zip(sets, parts, strict=True):
                before = len(groups) * networks + sum(result.n for result in results)
                here = self.session.part(before, count, total * networks, name)
                its_part = replace(how, networks=count)
                results.append(evaluate_cached(synthetic, compared.dataset, its_part, here, fresh=self.fresh))
            groups.append(_group(name, size, sets[0], results))
            evaluations.extend(results)

        with keeping_finished_work(lambda: f"{len(groups)} of {many(total, 'group')} are finished", fresh=self.fresh):
            measure(SET, size, [own], [networks], self.protocol)
            for name, sets in random.groups.items():
                measure(name, stored_bytes(store, sets[0]), [from_store(store, each) for each in sets], parts, same)
            if hard is not None:
                free = size - Cost.of_manifest(compared.stored.manifest).soft_label_bytes
                measure(HARD, free, [hard], [networks], same)
        whole, said = whole_group(compared, same, self.session)
        if whole is not None:
            groups.append(whole)
        repeated = all(each.repeated for each in evaluations)
        return Comparison(evaluations[0], tuple(groups), (*random.remarks, *said), repeated)

    def _same_protocol(self) -> Protocol:
        """Return the protocol with nothing left open that the set decides: its name, network and augmentation."""
        synthetic = self.compared.synthetic
        named, strategy = self.protocol.resolve(synthetic.recipe), self.protocol.strategy
        usual = default_strategy(mirrored=self.compared.dataset.mirrored)
        if named.strategy is None and (synthetic.strategy != usual or named.without != NAMED[named.name].without):
            strategy = str(Strategy(kind for kind in synthetic.strategy if kind not in named.without))
        network = evaluated_network(synthetic, self.protocol)
        return replace(self.protocol, name=named.name, network=network, strategy=strategy, cutmix=named.cutmix)

    def _with_hard_labels(self) -> SyntheticSet | None:
        """Return the set with hard labels, under the digest that it would have in a store; None if it has them."""
        manifest, synthetic = self.compared.stored.manifest, self.compared.synthetic
        if synthetic.soft_labels is None:
            return None
        recipe = {name: value for name, value in manifest.recipe.items() if name != "labels"}
        tensors = {name: about for name, about in manifest.tensors.items() if name != "soft_labels"}
        schema = registry.schema_of(registry.SET, recipe)
        bare = manifest.model_copy(update={"schema_version": schema, "recipe": recipe, "tensors": tensors})
        reference = f"{synthetic.reference} with hard labels"
        own = replace(synthetic.recipe, labels=None)
        return replace(synthetic, recipe=own, digest=bare.digest, reference=reference, soft_labels=None)


def _group(name: str, size: int, first: SyntheticSet, results: Sequence[Evaluation]) -> Group:
    """Return a group of evaluated sets that are like the first; `size` is the bytes of each."""
    return Group(
        name,
        ipc=first.recipe.ipc,
        trained_on=len(first),
        stored_bytes=size,
        soft=first.soft_labels is not None,
        references=() if name == HARD else tuple(result.reference for result in results),
        digests=tuple(result.digest for result in results),
        accuracies=tuple(accuracy for result in results for accuracy in result.accuracies),
        seconds=sum(result.seconds for result in results),
    )
