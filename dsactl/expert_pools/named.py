"""Pools that a user names for a run to learn from."""

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.session import opened
from dsactl.errors import UsageError
from dsactl.expert_pools.fitting import named_pool
from dsactl.expert_pools.pool import ExpertPool
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.expert_pools.settings import ExpertSettings, settings_of_pool
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe, Request


def names_pool(request: Request) -> bool:
    """Return whether a request names the pool that its method learns from.

    Raises:
        UnknownNameError: there is no such method.
    """
    return bool(request.settings.get("experts")) and issubclass(find(request.method).settings, ExpertSettings)


def with_digest(request: Request, store: registry.Store | None = None) -> Request:
    """Return the request with the digest of the pool that it names, and that pool's own settings.

    Args:
        request: of any method; most name no pool.
        store: has the pool; None for the default store.

    Raises:
        registry.RegistryError: the pool does not exist, is a set, or its manifest is damaged; its tensors are not read.
        DataError: its recipe is not known here.
        UsageError: a setting of the experts is given as well, and differs from the pool's.
    """
    if not names_pool(request):
        return request
    pool = named_pool(opened(store), str(request.settings["experts"]))
    pool.check_kind(registry.EXPERTS)
    own = settings_of_pool(PoolRecipe.from_dict(pool.manifest.recipe))
    typed = request.method_settings().values()  # what is given may be text
    for name, value in own.items():
        if name in request.settings and typed[name] != value:
            raise UsageError(
                f"`{name}` is {request.settings[name]}, and {pool.reference} has {value}.",
                f"Leave `{name}` out, or `experts`.",
            )
    return request.varied(experts=f"@sha256:{pool.digest}", **own)


def check_pool(pool: ExpertPool, recipe: Recipe, dataset: Dataset) -> None:
    """Check that a run can learn from a pool.

    Raises:
        DataError: the experts were trained on other images.
        UsageError: they are other networks, or were kept only once.
    """
    pool.check_fits(dataset)
    if pool.spec != recipe.network:
        raise UsageError(
            f"{pool.reference} has networks {pool.recipe.network_label}, and the recipe has {recipe.network_label}.",
            "Use a pool of the same network, or make the set with that network.",
        )
    if len(pool.epochs) < 2 or pool.epochs[0] != 0:
        raise UsageError(
            f"{pool.reference} does not have the initial weights of its experts.",
            "Use a pool that keeps epoch 0, as `experts` does by default.",
        )
