"""The interface of studies: options that are checked at once, and a run in a session. Importing this loads no torch."""

import contextlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from dsactl.errors import INTERRUPTS, UnknownKeywordError, UsageError, continue_hint, explain_interrupt
from dsactl.recipes.settings import first_fault
from dsactl.studies.result import StudyResult
from registry import extras

if TYPE_CHECKING:
    import registry
    from dsactl.engine.progress import Progress
    from dsactl.engine.session import Session
    from dsactl.engine.tasks import Executor


class Study(ABC):
    """A study. Subclasses are frozen dataclasses whose fields are its options, checked when it is made.

    Attributes:
        command: its command and Python function.
        packages: what it needs of the extra "studies".
    """

    command: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ("matplotlib",)

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return a study with these options.

        Raises:
            UnknownKeywordError: it has no such option.
            dsactl.Error: an option does not fit.
        """
        known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]  # subclasses are dataclasses
        for name, value in options.items():
            if name not in known:
                raise UnknownKeywordError(
                    "keyword", name, {*known, *inspect.signature(run_study).parameters} - {"study"}
                )
            options[name] = _checked(name, known[name].type, value)
        return cls(**options)

    def require_packages(self) -> None:
        """Refuse to begin without a package that is needed at the end.

        Raises:
            MissingPackageError: it is not installed.
        """
        extras.require(f"`{self.command}(...)`", "studies", *self.packages)

    @abstractmethod
    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Run or resume the study; stored sets and cached results are reused.

        Args:
            session: its meter is also told of parts that fail.
            out: folder of the results; None for one in the current folder, named after the study.

        Raises:
            dsactl.Error: the dataset or the device cannot be used; the store or the folder cannot be written to.
            KeyboardInterrupt: with a note on what is kept.
        """


def _checked(name: str, kind: Any, value: Any) -> Any:
    """Return the value of an option, with paths of folders as text.

    Raises:
        UsageError: it is of another type.
    """
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, list | tuple):
        value = [str(each) if isinstance(each, Path) else each for each in value]
    adapter = TypeAdapter(kind)
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        with contextlib.suppress(ValidationError):
            adapter.validate_python([value])
            raise UsageError(f"`{name}` takes a list, not {value!r}.", f"Use `{name}=[{value!r}]`.") from None
        raise UsageError(first_fault(error, name=name)) from None
    return value


@contextlib.contextmanager
def keeping_finished_work(done: Callable[[], str] = lambda: "", *, fresh: bool = False) -> Iterator[None]:
    """Add to an interrupt the note that finished work is kept.

    Args:
        done: returns what is done, such as "2 of 7 cells are done".
        fresh: whether the work was started over.
    """
    try:
        yield
    except INTERRUPTS as interrupt:
        parts = filter(None, (done(), "all finished work is kept"))
        explain_interrupt(interrupt, f"Interrupted; {', and '.join(parts)}.", continue_hint(fresh=fresh))
        raise


def run_study(
    study: Study,
    out: str | Path | None = None,
    device: str = "auto",
    store: "registry.Store | None" = None,
    executor: "Executor | None" = None,
    progress: "Progress | None" = None,
) -> StudyResult:
    """Run a study from Python.

    Args:
        study: see `Study`.
        out: folder of the results; None for one in the current folder, named after the study.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        store: None for the default store.
        executor: see `dsactl.open_executor`; None for this process.
        progress: the meter; None for none.

    Raises:
        dsactl.Error: see `Study.run`; the extra "studies" is not installed.
    """
    from dsactl.engine.session import Session

    if not isinstance(out, str | Path | None):
        raise UsageError(f"`out` must be a folder, not {out!r}.")
    study.require_packages()
    session = Session.open(device, store, executor, progress)
    session.store.check_writable()
    return study.run(session, None if out is None else Path(out))
