"""What the protos say of their RPCs, messages and fields: the words of the API's description.

Generated code has no comments, so `make proto` keeps a described copy beside it.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

_MESSAGE, _FIELD, _NESTED, _SERVICE, _METHOD = 4, 2, 3, 6, 2  # numbers of descriptor.proto's own fields
_NAME: Final = "v1/described.binpb"


@functools.cache
def words() -> dict[str, str]:
    """By full names: `teletrunk.v1.Trunk.login`, `teletrunk.v1.AdminService.AddTrunk`."""
    described = FileDescriptorSet.FromString(resources.files("teletrunk").joinpath(_NAME).read_bytes())
    found: dict[str, str] = {}
    for file in described.file:
        names = _names(file)
        for location in file.source_code_info.location:
            if (name := names.get(tuple(location.path))) and location.leading_comments:
                found[name] = " ".join(location.leading_comments.split())
    return found


def _names(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    names: dict[tuple[int, ...], str] = {}
    for number, message in enumerate(file.message_type):
        _add(names, message, f"{file.package}.{message.name}", (_MESSAGE, number))
    for number, service in enumerate(file.service):
        for place, method in enumerate(service.method):
            names[_SERVICE, number, _METHOD, place] = f"{file.package}.{service.name}.{method.name}"
    return names


def _add(names: dict[tuple[int, ...], str], message: DescriptorProto, name: str, path: tuple[int, ...]) -> None:
    names[path] = name
    for number, field in enumerate(message.field):
        names[(*path, _FIELD, number)] = f"{name}.{field.name}"
    for number, nested in enumerate(message.nested_type):
        _add(names, nested, f"{name}.{nested.name}", (*path, _NESTED, number))
