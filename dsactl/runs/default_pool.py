"""The pool of experts that is made for a set if the store has none that fits."""

import registry
from dsactl.data.paths import folder_options
from dsactl.engine.session import Session
from dsactl.errors import DataError
from dsactl.expert_pools.fitting import how_to_make
from dsactl.expert_pools.make import PoolJob, prepare
from dsactl.expert_pools.recipe import PoolRequest
from dsactl.expert_pools.teacher import Teacher
from dsactl.recipes.recipe import Recipe
from dsactl.runs.job import load_source
from dsactl.synthetic.relabelling import name_for


def default_pool(
    where: registry.Reader,
    source: registry.StoredSet,
    teacher: Teacher,
    session: Session,
    name: registry.SetName | None,
) -> PoolJob:
    """Return the job of a pool with the default settings, trained on the images that a set was made from.

    What would make `relabel` fail afterwards is refused here, since the training is long.

    Args:
        where, source, name: see `dsactl.synthetic.relabelling.relabel`.
        teacher: which of the networks will be used.
        session: has the store that knows where the images are, the device, and the meter, which counts images of a
            folder that are read.

    Raises:
        UsageError: the pool would not have the teacher.
        registry.RegistryError: the set is damaged, or the name is not for sets.
        DataError: the images are not known here, or are others by now.
    """
    request, info = PoolRequest(), source.manifest.dataset
    would_have = registry.Pool(networks=request.networks, epochs=list(request.kept()))
    teacher.of(would_have, "A pool with the default settings, which would be made,", "")
    name_for(session.store, source, name)
    where.tensors(source)
    way_out = how_to_make(info.name)
    recipe = Recipe.from_dict(source.manifest.recipe)
    dataset = load_source(session.store, recipe, session.progress, otherwise=way_out)
    if dataset.train.checksum() != info.checksum:
        raise DataError(
            f"The training images of {dataset.name} are not those that {source.reference} was made from.", way_out
        )
    return prepare(request, dataset, session.device, folder=folder_options(source.manifest.provenance))
