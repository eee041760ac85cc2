"""ExpertPool: the networks of a stored pool, for methods that learn from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.random import generator
from dsactl.engine.session import opened
from dsactl.errors import DataError
from dsactl.expert_pools.fitting import named_pool
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.expert_pools.teacher import check_epoch, check_network
from dsactl.networks.build import Buffers, Parameters, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.text.formatting import many
from registry.pool import tensor_name


@dataclass(frozen=True)
class ExpertPool:
    """A pool of experts: networks that were trained on real images, each kept after some epochs.

    Attributes:
        reference: `name:version` in the store.
        digest: SHA-256 of the content.
        recipe: the recipe that made the pool.
        class_names: K of them.
        mean, std: per channel; images must be normalised with them.
        tensors: all tensors, on the CPU, by `NETWORK.EPOCH.NAME`.

    Examples:
        >>> import dsactl
        >>> tiny = dsactl.NetworkSpec(width=8)
        >>> pool = dsactl.experts("digits", networks=2, epochs=1, network=tiny)
        >>> pool.reference, pool.networks, pool.epochs
        ('digits-experts-convnet-width8:1', 2, (0, 1))
        >>> parameters, buffers = pool.network(1, epoch=0)
        >>> parameters["classifier.weight"].shape
        torch.Size([10, 32])
    """

    reference: str
    digest: str
    recipe: PoolRecipe
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tensors: dict[str, Tensor]

    def __repr__(self) -> str:
        kept = f"{many(self.networks, 'network')}, epochs {', '.join(map(str, self.epochs))}"
        return f"ExpertPool({self.reference}, {kept}, @sha256:{self.digest[:12]})"

    @property
    def exact_reference(self) -> str:
        """The reference with the digest, as provenance states it."""
        return f"{self.reference} @sha256:{self.digest}"

    @property
    def spec(self) -> NetworkSpec:
        """The network, resolved."""
        return self.recipe.network

    @property
    def networks(self) -> int:
        """The number of networks, which count from 0."""
        return self.recipe.networks

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs after which each network is kept, ascending; 0 for the initial weights."""
        return self.recipe.keep

    def network(self, index: int, epoch: int) -> tuple[Parameters, Buffers]:
        """Return the parameters and buffers of a network after an epoch, for `torch.func.functional_call`.

        Args:
            index: of the network, from 0.
            epoch: one of `epochs`.

        Raises:
            UsageError: the pool has no such network or epoch.
        """
        check_network(index, self.networks, self.reference)
        check_epoch(epoch, self.epochs, self.reference)
        parameters, buffers = _names(self.recipe, len(self.class_names))
        return (
            {name: self.tensors[tensor_name(index, epoch, name)] for name in parameters},
            {name: self.tensors[tensor_name(index, epoch, name)] for name in buffers},
        )

    def check_fits(self, dataset: Dataset) -> None:
        """Check that the experts were trained on a dataset.

        Raises:
            DataError: on other images, or with other labels, sizes or normalisation.
        """
        shape = (dataset.channels, *dataset.size)
        if self.recipe.image_shape != shape:
            own = "×".join(map(str, self.recipe.image_shape))
            raise DataError(f"{self.reference} is for images of {own}, not {dataset.shape_text}.", self._make(dataset))
        known = (self.recipe.checksum, self.class_names, self.mean, self.std)
        if known != (dataset.train.checksum(), dataset.class_names, dataset.mean, dataset.std):
            raise DataError(
                f"{self.reference} was trained on other images than those of {dataset.name}.", self._make(dataset)
            )

    @staticmethod
    def _make(dataset: Dataset) -> str:
        return f"Make a pool: `experts({dataset.name!r})`"


def load_experts(reference: str, store: registry.Store | None = None) -> ExpertPool:
    """Load a pool of experts of the store, verified against its digests, on the CPU.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the default store if not given.

    Raises:
        dsactl.Error: the pool does not exist, is a set, or is damaged.

    Examples:
        >>> import dsactl
        >>> tiny = dsactl.NetworkSpec(width=8)
        >>> made = dsactl.experts("digits", networks=1, epochs=1, network=tiny, name="tiny")
        >>> dsactl.load_experts("tiny:1").digest == made.digest
        True
    """
    store = opened(store)
    return pool_from_store(store, named_pool(store, reference))


def pool_from_store(store: registry.Store, stored: registry.StoredSet) -> ExpertPool:
    """Read a stored pool, verified against its digests, on the CPU.

    Raises:
        registry.RegistryError: it is a set, or damaged.
        DataError: its recipe is not known here, or does not fit its tensors.
    """
    stored.check_kind(registry.EXPERTS)
    info, known = stored.manifest.dataset, stored.manifest.pool
    assert known is not None
    recipe = PoolRecipe.from_dict(stored.manifest.recipe)
    tensors = {name: torch.from_numpy(array) for name, array in store.tensors(stored).items()}
    network = structure(recipe.network, recipe.image_shape[0], recipe.image_shape[1:], len(info.class_names))
    expected = {name: tensor.shape for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    index, epoch = 0, known.epochs[0]
    found = {
        name.removeprefix(tensor_name(index, epoch, "")): tensor.shape
        for name, tensor in tensors.items()
        if name.startswith(tensor_name(index, epoch, ""))
    }
    if (recipe.networks, list(recipe.keep)) != (known.networks, known.epochs) or found != expected:
        raise DataError(f"{stored.reference} does not have the networks that its recipe names.", "Make it again.")
    return ExpertPool(
        stored.reference, stored.digest, recipe, tuple(info.class_names), tuple(info.mean), tuple(info.std), tensors
    )


def untrained_pool(recipe: PoolRecipe, dataset: Dataset) -> ExpertPool:
    """Return a pool of networks without training, to estimate the cost of what learns from a pool.

    Args:
        recipe: of the pool.
        dataset: the dataset.
    """
    network, tensors = structure(recipe.network, dataset.channels, dataset.size, dataset.classes), {}
    for index in range(recipe.networks):
        parameters, buffers = initial_state(network, generator(recipe.seed, "expert-network", index))
        for epoch in recipe.keep:
            for name, tensor in (*parameters.items(), *buffers.items()):
                tensors[tensor_name(index, epoch, name)] = tensor
    return ExpertPool("untrained", "00" * 32, recipe, dataset.class_names, dataset.mean, dataset.std, tensors)


def _names(recipe: PoolRecipe, classes: int) -> tuple[list[str], list[str]]:
    """Return the names of a network's parameters and buffers."""
    network = structure(recipe.network, recipe.image_shape[0], recipe.image_shape[1:], classes)
    return [name for name, _ in network.named_parameters()], [name for name, _ in network.named_buffers()]
