"""Interpreter of the pickles in torch.save files, which executes none of their code.

Neither `pickle` nor `torch.load` reads the file. `torch.load(weights_only=True)` runs no foreign code, but trusts every
size: it allocates a `bytearray` of any length, and tensors larger than their storage. Here, only the operations that
torch.save writes for tensors, numpy arrays, lists, dicts, numbers and strings are known; every call is one of a few, is
made by this module itself, and its arguments are checked. Numbers take at most about twice the file's size.
"""

import math
import pickletools
import struct
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from dsactl.errors import DataError

MAX_OPERATIONS = 2**17
"""Limit of the operations of a pickle; ten thousand accuracies need a tenth of it."""
MAX_DIMENSIONS = 8
_PART = 2**20  # bytes
_INVALID = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RuntimeError, struct.error)

DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
_NUMPY_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_SCALARS = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
_RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_GLOBALS = {
    *DTYPES,
    *_SCALARS,
    *_RECONSTRUCT,
    "numpy dtype",
    "numpy ndarray",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
    "_codecs encode",
}


@dataclass
class Storages:
    """The storages that a pickle refers to, allocated but not filled.

    Attributes:
        budget: number of bytes of numbers that may still be allocated.
        by_key: one-dimensional tensors.
    """

    budget: int
    by_key: dict[str, Tensor] = field(default_factory=dict)

    def get(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        """Return the storage of a key.

        Raises:
            RefusedError: there is another of this key, or there is no budget for it.
        """
        if key not in self.by_key:
            self.spend(count * dtype.itemsize)
            self.by_key[key] = torch.empty(count, dtype=dtype)
        found = self.by_key[key]
        if (found.dtype, len(found)) != (dtype, count):
            raise RefusedError("has storages that are parts of others")
        return found

    def spend(self, count: int) -> None:
        """Take some bytes off the budget.

        Raises:
            RefusedError: there are not that many left.
        """
        self.budget -= count
        if self.budget < 0:
            raise RefusedError("has tensors of more bytes than the file")


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass
class _Dtype:
    """A numpy dtype, such as "f4", whose byte order comes later."""

    word: str
    order: str = "<"


@dataclass
class NumpyArray:
    """A numpy array, whose content comes later in the pickle than the array itself."""

    tensor: Tensor | None = None


class Unread:
    """A stand-in for numpy's numbers, which are not read: the authors' accuracies."""


class _InParts:
    """A stream whose reads take no more memory than there is data, whatever number of bytes a file asks for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.readline = stream, stream.readline

    def read(self, count: int) -> bytes:
        """Return the next bytes; fewer at the end of the stream."""
        parts = []
        while count > 0 and (part := self._stream.read(min(count, _PART))):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class RefusedError(Exception):
    """A forbidden operation in a pickle; the text continues "it …"."""


def read_pickle(stream: IO[bytes], storages: Storages, where: str) -> Any:
    """Interpret one pickle in a stream, and leave the stream positioned after it.

    Args:
        stream: at the beginning of the pickle.
        storages: where the storages of its tensors are allocated.
        where: the file's name, for the error message.

    Returns:
        Tensors in lists, tuples and dicts; `NumpyArray` and `Unread` for what is of numpy.

    Raises:
        DataError: it is damaged, or contains anything but tensors, arrays, lists, dicts, numbers and strings.
    """
    machine = _Machine(storages)
    try:
        for done, (operation, argument, _) in enumerate(pickletools.genops(_InParts(stream))):  # type: ignore[arg-type]
            if done == MAX_OPERATIONS:
                raise RefusedError("contains more than tensors and a few numbers")
            machine.execute(operation.name, argument)
    except RefusedError as refused:
        raise DataError(
            f"{where} is not read: it {refused}.",
            "Only tensors, arrays, lists, dicts, numbers and strings are. Save only the images and labels: "
            "torch.save([images, labels], FILE)",
        ) from None
    except _INVALID as error:
        raise DataError(f"{where} is damaged: its pickle is invalid ({' '.join(str(error).split()):.100}).") from None
    return machine.result


class _Machine:
    """The unpickler's stack and memo."""

    def __init__(self, storages: Storages) -> None:
        self.result: Any = None
        self._storages = storages
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def execute(self, operation: str, argument: Any) -> None:
        """Execute one operation."""
        stack = self._stack
        match operation:
            case "PROTO":
                if not 2 <= argument <= 5:
                    raise RefusedError(f"is a pickle of protocol {argument}, and those of 2 to 5 are known")
            case "FRAME":
                pass
            case "STOP":
                self.result = stack.pop()
            case "MARK":
                self._outer.append(stack)
                self._stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3").index(operation)
                stack.append(tuple(self._pop(size)))
            case "TUPLE":
                items = tuple(self._pop_to_mark())
                self._stack.append(items)
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "GLOBAL":
                stack.append(_known(argument))
            case "STACK_GLOBAL":
                module, name = self._pop(2)
                if not isinstance(module, str) or not isinstance(name, str):
                    raise RefusedError("refers to a function that has no name")
                stack.append(_known(f"{module} {name}"))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                called, arguments = self._pop(2)
                stack.append(self._call(called, arguments))
            case "BUILD":
                thing, state = self._pop(2)
                self._build(thing, state)
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

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise RefusedError("appends to something that is not a list")
        self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        if not all(isinstance(key, str | int) for key in items[::2]):
            raise RefusedError("has a dict with keys that are neither strings nor numbers")
        if type(self._stack[-1]) is not dict:
            raise RefusedError("sets an item of something that is not a dict")
        self._stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _storage(self, identity: Any) -> Tensor:
        match identity:
            case ("storage", _Global(name), str(key), str(), int(count), *rest) if name in DTYPES and count >= 0:
                if rest not in ([], [None]):
                    raise RefusedError("has storages that are parts of others")
                return self._storages.get(key, DTYPES[name], count)
        raise RefusedError("refers to something that is not a storage")

    def _call(self, called: Any, arguments: Any) -> Any:
        """Return the result of a call, if it is a known one with arguments of the right form."""
        match (called.name if isinstance(called, _Global) else None, arguments):
            case ("numpy dtype", (str(word), *_)):
                return _Dtype(word)
            case (str(name), tuple()) if name in _SCALARS:
                return Unread()
            case (str(name), (_Global("numpy ndarray"), *_)) if name in _RECONSTRUCT:
                return NumpyArray()
            case ("collections OrderedDict", ()):
                return {}
            case ("_codecs encode", (str(text), "latin1")):
                self._storages.spend(len(text))
                return text.encode("latin1")
            case ("torch._utils _rebuild_parameter", (Tensor() as data, bool(), dict())):
                return data
            case (
                "torch._utils _rebuild_tensor_v2",
                (Tensor() as storage, int(offset), tuple(shape), tuple(stride), bool(), dict()),
            ):
                _check_tensor(storage, offset, shape, stride)
                return storage.as_strided(shape, stride, offset)
        raise RefusedError("calls a function with unexpected arguments")

    def _build(self, thing: Any, state: Any) -> None:
        """Set the state of a numpy dtype or array; that of anything else is refused or passed over."""
        match (thing, state):
            case (_Dtype(), (int(), str(order), *_)):
                thing.order = order
            case (NumpyArray(tensor=None), (int(), tuple(shape), _Dtype(word, order), bool(fortran), bytes(content))):
                self._storages.spend(len(content))
                thing.tensor = _from_numpy(shape, word, order, content, "F" if fortran else "C")
            case (dict(), dict()):
                pass  # attributes of an OrderedDict, which parameters of networks have
            case _:
                raise RefusedError("would change the state of an object")


def _known(name: str) -> _Global:
    if name not in _GLOBALS:
        raise RefusedError(_object(name.replace(" ", ".")))
    return _Global(name)


def _object(name: str) -> str:
    """Describe the object of a name that is not loaded."""
    if name.startswith(("torch.nn.", "torchvision.models.")) or name.endswith("Net"):
        return f"is a whole network: it would load {name!r:.200}"
    return f"would load {name!r:.200}"


def _check_tensor(storage: Tensor, offset: int, shape: tuple[Any, ...], stride: tuple[Any, ...]) -> None:
    """Refuse a tensor that does not lie within its storage, or has more numbers than it."""
    if storage.dim() != 1 or len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise RefusedError("has a tensor of impossible shape")
    if not all(isinstance(value, int) and 0 <= value < 2**63 for value in (offset, *shape, *stride)):
        raise RefusedError("has a tensor of impossible shape")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if count else offset - 1
    if count > len(storage) or last >= len(storage):
        raise RefusedError(
            f"has a tensor of {count} numbers in a storage of {len(storage)}; contiguous() before saving helps"
        )


def _from_numpy(shape: tuple[Any, ...], word: str, order: str, content: bytes, layout: Any) -> Tensor:
    if word not in _NUMPY_DTYPES:
        raise RefusedError(f"has a numpy array of {word!r:.40}")
    array = np.frombuffer(content, f"{'>' if order == '>' else '<'}{word}").reshape(shape, order=layout)
    return torch.from_numpy(array.astype(np.dtype(word), order="C"))
