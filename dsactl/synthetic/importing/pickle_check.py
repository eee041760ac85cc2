"""Static check of what a torch pickle would do, without executing any of it.

`torch.load(weights_only=True)` runs no foreign code, but it allocates what it is told to, trusts every size, and allows
chains of a few function calls. So a pickle is first executed symbolically: only the operations that torch.save writes
for tensors, lists, dicts, numbers and strings are allowed, every call is one of six with arguments of the right form,
and every tensor fits in its storage.
"""

import math
import pickletools
import struct
from dataclasses import dataclass
from typing import IO, Any

from dsactl.errors import DataError

MAX_PICKLE_BYTES = 2**18
"""Largest pickle that is read, images not counted: enough for ten thousand accuracies."""
MAX_DIMENSIONS = 8

ITEM_SIZES = {
    "torch FloatStorage": 4,
    "torch DoubleStorage": 8,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
}
NUMPY_NAMES = ("numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
"""Parts of the authors' accuracies; a stand-in is called in their place."""
_GLOBALS = {
    *ITEM_SIZES,
    *NUMPY_NAMES,
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
    "_codecs encode",
}


@dataclass(frozen=True)
class Storage:
    """A storage of numbers that a pickle refers to by key.

    Attributes:
        count: number of items.
        item_size: bytes of an item.
    """

    count: int
    item_size: int

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.count * self.item_size


@dataclass(frozen=True)
class _Global:
    name: str


class _Placeholder:
    """A symbolic value, whose content is not examined."""


_CONTAINER, _TENSOR, _NUMBER, _BYTES = _Placeholder(), _Placeholder(), _Placeholder(), _Placeholder()


class RefusedError(Exception):
    """A forbidden operation in a pickle; the text continues "it …"."""


def check(stream: IO[bytes], where: str) -> dict[str, Storage]:
    """Check one pickle in a stream, and leave the stream positioned after it.

    Args:
        stream: at the beginning of the pickle; the caller limits its length to `MAX_PICKLE_BYTES`.
        where: the file's name, for the error message.

    Returns:
        The storages that the pickle refers to, by key.

    Raises:
        DataError: it is damaged, or contains anything but tensors, lists, dicts, numbers and strings.
    """
    machine = _SymbolicUnpickler()
    try:
        for operation, argument, _ in pickletools.genops(stream):
            machine.execute(operation.name, argument)
    except RefusedError as refused:
        raise DataError(
            f"{where} is not read: it {refused}.",
            "Only tensors, lists, dicts, numbers and strings are. Save only the images and labels: "
            "torch.save([images, labels], FILE)",
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise DataError(f"{where} is damaged: its pickle is invalid ({error!s:.100}).") from None
    return machine.storages


def check_keys(stream: IO[bytes], where: str) -> list[str]:
    """Read a pickled list of strings, as at the end of the older format, and leave the stream positioned after it.

    Raises:
        DataError: it is anything else.
    """
    try:
        operations = list(pickletools.genops(stream))
    except (ValueError, LookupError, struct.error) as error:
        raise DataError(f"{where} is damaged: its keys are invalid ({error!s:.100}).") from None
    known = {"PROTO", "EMPTY_LIST", "BINPUT", "LONG_BINPUT", "MARK", "BINUNICODE", "APPEND", "APPENDS", "STOP"}
    if not {operation.name for operation, _, _ in operations} <= known:
        raise DataError(f"{where} is damaged: its keys are not strings.")
    return [str(argument) for operation, argument, _ in operations if operation.name == "BINUNICODE"]


class _SymbolicUnpickler:
    """The unpickler's stack, with placeholders instead of objects."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def execute(self, operation: str, argument: Any) -> None:
        """Execute one operation symbolically."""
        stack = self._stack
        match operation:
            case "PROTO":
                if argument != 2:
                    raise RefusedError(f"is a pickle of protocol {argument}, and torch's are of protocol 2")
            case "STOP":
                stack.pop()
            case "MARK":
                self._outer.append(stack)
                self._stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "EMPTY_LIST" | "EMPTY_DICT":
                stack.append(_CONTAINER)
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3").index(operation)
                stack.append(tuple(self._pop(size)))
            case "TUPLE":
                items = tuple(self._pop_to_mark())
                self._stack.append(items)
            case "APPEND":
                self._pop(1)
            case "APPENDS":
                self._pop_to_mark()
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "GLOBAL":
                if argument not in _GLOBALS:
                    raise RefusedError(f"would load {argument.replace(' ', '.')!r:.200}")
                stack.append(_Global(argument))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                called, arguments = self._pop(2)
                stack.append(_call(called, arguments))
            case "BUILD":
                thing, _ = self._pop(2)
                if thing is not _NUMBER:
                    raise RefusedError("would change the state of an object")
                stack.append(thing)
            case _:
                raise RefusedError(f"has the operation {operation}, which torch.save does not write")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("its stack is empty")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _set_items(self, items: list[Any]) -> None:
        if not all(isinstance(key, str | int) for key in items[::2]):
            raise RefusedError("has a dict with keys that are neither strings nor numbers")

    def _storage(self, identity: Any) -> Storage:
        match identity:
            case ("storage", _Global(name), str(key), str(), int(count), *rest) if name in ITEM_SIZES and count >= 0:
                storage = Storage(count, ITEM_SIZES[name])
                if rest not in ([], [None]) or self.storages.setdefault(key, storage) != storage:
                    raise RefusedError("has storages that are parts of others")
                return storage
        raise RefusedError("refers to something that is not a storage")


def _call(called: Any, arguments: Any) -> _Placeholder:
    """Return the result of a call, if it is a known one with arguments of the right form."""
    match (called.name if isinstance(called, _Global) else None, arguments):
        case (str(name), tuple()) if name in NUMPY_NAMES:
            return _NUMBER
        case ("collections OrderedDict", ()):
            return _CONTAINER
        case ("_codecs encode", (str(), "latin1")):
            return _BYTES
        case ("torch._utils _rebuild_parameter", (_Placeholder() as data, bool(), hooks)) if (
            data is _TENSOR and hooks is _CONTAINER
        ):
            return _TENSOR
        case (
            "torch._utils _rebuild_tensor_v2",
            (Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(), hooks),
        ) if hooks is _CONTAINER:
            _check_tensor(storage, offset, shape, stride)
            return _TENSOR
    raise RefusedError("calls a function with unexpected arguments")


def _check_tensor(storage: Storage, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]) -> None:
    """Refuse a tensor that does not lie within its storage, or has more numbers than it."""
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise RefusedError("has a tensor of impossible shape")
    if not all(isinstance(value, int) and 0 <= value < 2**63 for value in (offset, *shape, *stride)):
        raise RefusedError("has a tensor of impossible shape")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if count else offset - 1
    if count > storage.count or last >= storage.count:
        raise RefusedError(
            f"has a tensor of {count} numbers in a storage of {storage.count}; contiguous() before saving helps"
        )
