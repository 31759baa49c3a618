"""MessagePack, positional: a structure is the array of its fields, a frame the array of its tag and its fields.

Never: a field known by name on the wire, a second encoding of a value, or a reader that stumbles over appended elements.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, Final, TypeVar

import msgpack  # type: ignore[import-untyped]

FRAME_BYTES_MAX: Final = 1024 * 1024

T = TypeVar("T")


class Malformed(Exception):
    """Bytes that are not what the page says."""


def pack(value: object) -> bytes:
    """A frame or a structure as bytes."""
    return bytes(msgpack.packb(_plain(value), use_bin_type=True))


def unpack(data: bytes) -> Any:
    """Bytes as lists, numbers, texts and byte strings."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise Malformed(f"not MessagePack: {error}") from error


def read(kind: type[T], data: bytes) -> T:
    """Bytes as one structure."""
    return typing.cast(T, build(kind, unpack(data)))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [_plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
        tag = getattr(value, "TAG", None)
        return fields if tag is None else [tag, *fields]
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    return value


def build(kind: Any, value: Any) -> Any:
    """A decoded value as what it should be."""
    origin = typing.get_origin(kind)
    if origin is list:
        (of,) = typing.get_args(kind)
        return [build(of, element) for element in _array(value)]
    if origin in (typing.Union, types.UnionType):
        return _one_of(typing.get_args(kind), value)
    if dataclasses.is_dataclass(kind):
        elements = _array(value)
        tag = getattr(kind, "TAG", None)
        if tag is not None:
            if not elements or elements[0] != tag:
                raise Malformed(f"{kind} has tag {tag}, there is {elements[:1]}")
            elements = elements[1:]
        return _structure(kind, elements)
    # `True` is no number, although Python says so.
    if type(value) is not kind:
        raise Malformed(f"{kind.__name__} was due, there is {type(value).__name__}")
    return value


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"an array was due, there is {type(value).__name__}")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        if type(None) not in kinds:
            raise Malformed("nil")
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return build(kinds[0], value)
    tag = _array(value)[0]
    for kind in kinds:
        if kind.TAG == tag:
            return build(kind, value)
    raise Malformed(f"no kind with tag {tag}")


@cache
def _hints(kind: Any) -> list[Any]:
    hints = typing.get_type_hints(kind)
    return [hints[field.name] for field in dataclasses.fields(kind)]


def _structure(kind: Any, elements: list[Any]) -> Any:
    hints = _hints(kind)
    if len(elements) < len(hints):
        raise Malformed(f"{kind.__name__} has {len(hints)} fields, there are {len(elements)}")
    # More elements are those of a later version: passed over.
    return kind(*(build(hint, element) for hint, element in zip(hints, elements)))
