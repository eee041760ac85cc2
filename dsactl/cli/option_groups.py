"""Groups of options in the signatures of commands.

A command declares `network: NetworkOptions`, and gets an object of that class. The command line has an option for each
parameter of the class's constructor; a default of the command's own, `study: StudyOptions = StudyOptions(ray="auto")`,
changes their defaults. `**settings` stands for the settings of all built-in methods.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_origin

from dsactl.cli.method_options import setting_parameters

_NONE = inspect.Parameter.empty


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of its groups one by one, by keyword."""
    parameters = inspect.signature(command).parameters.values()
    groups = {each.name: each.annotation for each in parameters if _is_group(each)}
    singles = [single for each in parameters for single in _singles(each)]

    def run(**given: Any) -> None:
        made = {
            name: group(**{option: given.pop(option) for option in inspect.signature(group).parameters})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature(singles, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in singles}
    return run


def _is_group(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not parameter.VAR_KEYWORD and get_origin(parameter.annotation) is not Annotated


def _singles(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """Yield the options and arguments for which a parameter of a command stands."""
    if parameter.kind is parameter.VAR_KEYWORD:
        yield from setting_parameters()
    elif _is_group(parameter):
        for each in inspect.signature(parameter.annotation).parameters.values():
            default = each.default if parameter.default is _NONE else getattr(parameter.default, each.name)
            yield each.replace(kind=each.KEYWORD_ONLY, default=default)
    else:
        yield parameter.replace(kind=parameter.KEYWORD_ONLY)
