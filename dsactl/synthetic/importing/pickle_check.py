"""What a pickle of torch would do, found out without doing any of it.

`torch.load(weights_only=True)` runs no foreign code, but it allocates what it is told to, believes every size, and
lets a few functions be called in chains. So a pickle is first read symbolically: only the operations that torch.save
writes for tensors, lists, dicts, numbers and strings are known, every call is one of six with arguments of the right
form, and every tensor fits in its storage.
"""

import math
import pickletools
import struct
from dataclasses import dataclass
from typing import IO, Any

from dsactl.errors import DataError

LONGEST = 2**18
"""Bytes of a pickle that is read, images not counted: enough for ten thousand accuracies."""
MOST_DIMENSIONS = 8

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
"""What the authors' accuracies are made of; a stand-in is called in their place."""
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
    """Numbers that a pickle refers to by key.

    Attributes:
        count: how many.
        item_size: bytes of one.
    """

    count: int
    item_size: int

    @property
    def bytes(self) -> int:
        """Of all."""
        return self.count * self.item_size


@dataclass(frozen=True)
class _Global:
    name: str


class _Thing:
    """What is built and not looked into."""


_CONTAINER, _TENSOR, _NUMBER, _BYTES = _Thing(), _Thing(), _Thing(), _Thing()


class RefusedError(Exception):
    """What a pickle does that it should not; the text continues "it …"."""


def check(stream: IO[bytes], where: str) -> dict[str, Storage]:
    """Read one pickle from a stream, and leave the stream behind it.

    Args:
        stream: at the pickle's beginning; its owner sees to it that it is no longer than `LONGEST`.
        where: the file's name, for the error.

    Returns:
        The storages that it refers to, by key.

    Raises:
        DataError: it is damaged, or holds something else than tensors, lists, dicts, numbers and strings.
    """
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(stream):
            machine.do(operation.name, argument)
    except RefusedError as refused:
        raise DataError(
            f"{where} is not read: it {refused}.",
            "Only tensors, lists, dicts, numbers and strings are. Save the images and labels alone: "
            "torch.save([images, labels], FILE)",
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise DataError(f"{where} is damaged: its pickle makes no sense ({error!s:.100}).") from None
    return machine.storages


def check_keys(stream: IO[bytes], where: str) -> list[str]:
    """Read a pickle that is a list of words, as the older format ends with, and leave the stream behind it.

    Raises:
        DataError: it is anything else.
    """
    try:
        operations = list(pickletools.genops(stream))
    except (ValueError, LookupError, struct.error) as error:
        raise DataError(f"{where} is damaged: its keys make no sense ({error!s:.100}).") from None
    known = {"PROTO", "EMPTY_LIST", "BINPUT", "LONG_BINPUT", "MARK", "BINUNICODE", "APPEND", "APPENDS", "STOP"}
    if not {operation.name for operation, _, _ in operations} <= known:
        raise DataError(f"{where} is damaged: its keys are no words.")
    return [str(argument) for operation, argument, _ in operations if operation.name == "BINUNICODE"]


class _Machine:
    """The unpickler's stack, with things in the place of what would be built."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def do(self, operation: str, argument: Any) -> None:
        """One operation."""
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
                    raise RefusedError("would change the inside of an object")
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
            raise RefusedError("has a dict with keys that are neither words nor numbers")

    def _storage(self, identity: Any) -> Storage:
        match identity:
            case ("storage", _Global(name), str(key), str(), int(count), *rest) if name in ITEM_SIZES and count >= 0:
                storage = Storage(count, ITEM_SIZES[name])
                if rest not in ([], [None]) or self.storages.setdefault(key, storage) != storage:
                    raise RefusedError("has storages that are parts of others")
                return storage
        raise RefusedError("refers to something that is no storage")


def _call(called: Any, arguments: Any) -> _Thing:
    """What a call would give, if it is one of those that are known, with arguments of the right form."""
    match (called.name if isinstance(called, _Global) else None, arguments):
        case (str(name), tuple()) if name in NUMPY_NAMES:
            return _NUMBER
        case ("collections OrderedDict", ()):
            return _CONTAINER
        case ("_codecs encode", (str(), "latin1")):
            return _BYTES
        case ("torch._utils _rebuild_parameter", (_Thing() as data, bool(), hooks)) if (
            data is _TENSOR and hooks is _CONTAINER
        ):
            return _TENSOR
        case (
            "torch._utils _rebuild_tensor_v2",
            (Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(), hooks),
        ) if hooks is _CONTAINER:
            _check_tensor(storage, offset, shape, stride)
            return _TENSOR
    raise RefusedError("calls a function with what it is not made for")


def _check_tensor(storage: Storage, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]) -> None:
    """Refuse a tensor that does not lie within its storage, or claims more numbers than it has."""
    if len(shape) != len(stride) or len(shape) > MOST_DIMENSIONS:
        raise RefusedError("has a tensor of impossible shape")
    if not all(isinstance(value, int) and 0 <= value < 2**63 for value in (offset, *shape, *stride)):
        raise RefusedError("has a tensor of impossible shape")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if count else offset - 1
    if count > storage.count or last >= storage.count:
        raise RefusedError(
            f"has a tensor of {count} numbers in a storage of {storage.count}; contiguous() before saving helps"
        )
