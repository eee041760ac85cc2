"""Settings of methods that learn from a pool of experts. Importing this loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dsactl.expert_pools.recipe import PoolRecipe, PoolRequest
from dsactl.recipes.recipe import Recipe
from dsactl.recipes.settings import Count, Rate, Settings, Value


@dataclass(frozen=True, kw_only=True)
class ExpertSettings(Settings):
    """Settings of a method that learns from a pool of experts, which is made if the store does not have it.

    Defaults are those of DANCE's program, as in `PoolRequest`.
    """

    left_out: ClassVar[Mapping[str, Value]] = {"experts": ""}
    states_precision: ClassVar[bool] = True

    experts: str = ""
    """Pool of experts to learn from, as name, name:version, name:tag or @sha256:….

    Default: the pool that the other expert settings describe; it is trained if it is not in the store.
    """
    expert_networks: Count = 5
    """Number of experts.

    Default: 5, DANCE's.
    """
    expert_epochs: Count = 60
    """Training epochs of the experts.

    Default: 60, DANCE's.
    """
    expert_batch: Count = 64
    """Images per training batch of the experts.

    Default: 64, DANCE's.
    """
    expert_lr: Rate = 0.01
    """Learning rate of the experts.

    Default: 0.01, DANCE's.
    """

    @property
    def needs_experts(self) -> bool:
        """Whether a pool is used with these settings."""
        return True

    def pool_request(self, recipe: Recipe) -> PoolRequest:
        """Return the request for the pool that the settings describe.

        Args:
            recipe: has these settings. Its seed is not that of the experts: sets with other seeds share a pool.
        """
        assert recipe.network is not None
        return PoolRequest(
            recipe.network,
            networks=self.expert_networks,
            epochs=self.expert_epochs,
            batch=self.expert_batch,
            lr=self.expert_lr,
            precision=recipe.precision,
        )


def settings_of_pool(recipe: PoolRecipe) -> dict[str, int | float]:
    """Return the settings of a method that describe a pool, by name; all of `ExpertSettings` but `experts`."""
    return {
        "expert_networks": recipe.networks,
        "expert_epochs": recipe.keep[-1],
        "expert_batch": recipe.batch,
        "expert_lr": recipe.lr,
    }


def needs_experts(recipe: Recipe) -> bool:
    """Return whether runs of a recipe learn from a pool of experts."""
    return isinstance(recipe.settings, ExpertSettings) and recipe.settings.needs_experts
