"""Whatever can be set of a trunk can be read back from `trunk show`, on a trunk of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from teletrunk.cli import trunk_options, trunk_sound
from teletrunk.v1 import trunk_pb2 as pb

KINDS = pb.TrunkKind.values()


def settings(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            yield from settings(getattr(message, field.name), (*path, field.name))
        else:
            yield (*path, field.name)


def put(options: pb.TrunkOptions, path: tuple[str, ...]) -> None:
    """Another value than the default."""
    *way, name = path
    message: Any = options
    for step in way:
        message = getattr(message, step)
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        getattr(message, name).append("x7x")
        return
    values: dict[int, Any] = {
        FieldDescriptor.TYPE_STRING: "x7x",
        FieldDescriptor.TYPE_BOOL: True,
        FieldDescriptor.TYPE_UINT32: 40,
        FieldDescriptor.TYPE_ENUM: 2 if name == "kind" else 1,
    }
    setattr(message, name, values[field.type])


def said(options: pb.TrunkOptions) -> list[str]:
    return trunk_options.told(options) + trunk_sound.told(options)


@pytest.mark.parametrize("path", list(settings(pb.TrunkOptions())), ids=".".join)
@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_read_back(path: tuple[str, ...], kind: Any) -> None:
    before = pb.TrunkOptions(kind=kind) if path != ("kind",) else pb.TrunkOptions(kind=(kind + 1) % 2)
    after = pb.TrunkOptions()
    after.CopyFrom(before)
    put(after, path)
    assert said(after) != said(before)
