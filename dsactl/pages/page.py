"""The function `dsactl.page`: from references to an HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import registry
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.errors import UsageError
from dsactl.pages.registry_page import registry_page
from dsactl.synthetic.bundled import find
from registry.export import place_hint, refuse_to_replace
from registry.files import write_atomically

if TYPE_CHECKING:
    from dsactl.expert_pools.pool import ExpertPool
    from dsactl.synthetic.synthetic_set import SyntheticSet

FORM = "html"


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        path: of the file.
        size: in bytes.
        references: of the sets and pools in it.
        faults: of versions that cannot be read, and are named in the page of a registry.
    """

    path: Path
    size: int
    references: tuple[str, ...]
    faults: tuple[registry.RegistryError, ...] = ()


def page(
    *references: "str | SyntheticSet | ExpertPool",
    output: str | Path | None = None,
    neighbours: bool = False,
    data: str | Path | None = None,
    force: bool = False,
    store: registry.Store | None = None,
    progress: Progress | None = None,
) -> Page:
    """Write a page about a set, several sets side by side, pools of experts, or the whole registry: one HTML file.

    The file has its images, style and script in itself, and a policy that forbids to fetch anything.

    Args:
        references: of sets and pools, `name`, `name:version`, `name:tag` or `@sha256:…`, or loaded ones; none for all
            that there are.
        output: the file, or an existing folder. None for NAME-vVERSION.html, comparison.html for several references,
            and registry.html for none, in the current folder.
        neighbours: put the nearest real training image of the same class, in pixel space, beside each image.
        data: the image folder, for neighbours in one that was moved; None for where the set's run read it.
        force: replace an existing file.
        store: None for the default store.
        progress: the meter, which counts sets; None for none.

    Raises:
        dsactl.Error: a set is missing or damaged; the file exists, or cannot be written; the training images are not
            here, or others.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="random")
        >>> written = dsactl.page(condensed.reference, neighbours=True)
        >>> written.path.name, written.references
        ('digits-random-ipc1-v1.html', ('digits-random-ipc1:1',))
        >>> dsactl.page(force=True).path.name
        'registry.html'
    """
    if store is not None:
        from dsactl.engine.session import opened  # loads torch

        opened(store)
    store, meter = store or registry.Store(), progress or NO_PROGRESS
    if data is not None and not neighbours:
        raise UsageError("`data` is for `neighbours` only.", "Leave it out, or use `neighbours=True` with it.")
    if neighbours and not references:
        raise UsageError(
            "A page of the whole registry has no `neighbours`.", "Name sets: `page(NAME, neighbours=True)`"
        )
    found: list[tuple[registry.Reader, registry.StoredSet]] = []
    for reference in references:
        given = reference if isinstance(reference, str) else f"@sha256:{getattr(reference, 'digest', reference)}"
        where, stored = find(given, store)
        if all(stored.reference != other.reference for _, other in found):
            found.append((where, stored))
    path = _path(output, [stored for _, stored in found])
    refuse_to_replace(path, FORM, force=force)
    faults: Sequence[registry.RegistryError] = ()
    if found:
        from dsactl.pages.artifacts_page import artifacts_page  # loads torch

        content = artifacts_page(found, store, meter, neighbours=neighbours, data=data)
        shown = [stored.reference for _, stored in found]
    else:
        content, shown, faults = registry_page(store, meter)
    try:
        write_atomically(path, content)
    except registry.StoreError as error:
        raise registry.StoreError(error.message, place_hint(error)) from error
    return Page(path, len(content), tuple(shown), tuple(faults))


def _path(output: str | Path | None, found: Sequence[registry.StoredSet]) -> Path:
    """Return the path of a page's file.

    Raises:
        UsageError: it is "-", which is no file, or its ending is that of another format.
    """
    if str(output) == "-":
        raise UsageError("A page is written to a file, not to standard output.", "Give a name with `output`.")
    usual = "comparison" if len(found) > 1 else f"{found[0].name.name}-v{found[0].version}" if found else "registry"
    path = Path(f"{usual}.{FORM}" if output is None else output)
    if path.is_dir():
        return path / f"{usual}.{FORM}"
    if path.suffix.lower() not in ("", ".html", ".htm"):
        raise UsageError(
            f"A page is an HTML file: {path} has another ending.", f"`output={path.with_suffix('.html').name!r}`"
        )
    return path
