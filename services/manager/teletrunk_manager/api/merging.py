"""A PATCH changes what it names (RFC 7396): what the body has is meant, null is the value that a new one has."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor
from pydantic import BaseModel

from teletrunk_manager.mistakes import Mistake

_NAMES = "changed_"  # a list of the names that are meant in the message beside it; a PATCH need not give it
_VERSION = "version"  # null is whichever, as 0


def merging(body: BaseModel, descriptor: Descriptor) -> dict[str, Any]:
    """The fields of a request that means the same. Raises `Mistake` for what can only be left as it is."""
    fields = body.model_dump(mode="json", exclude_none=True)
    for name in body.model_fields_set:
        given, field = getattr(body, name), descriptor.fields_by_name[name]
        names = f"{_NAMES}{name}"
        if names in descriptor.fields_by_name:
            fields[names] = fields.get(names) or _paths(given, name)
        elif given is None and field.has_presence:
            fields[name] = field.default_value
        elif given in (None, "", []) and not field.has_presence and not name.startswith(_NAMES) and name != _VERSION:
            raise Mistake(f"{name} cannot be taken away: give another value, or leave it out")
    return fields


def _paths(given: Any, name: str) -> list[str]:
    """`kind`, `pbx.address`: each by itself, so that the others stay. Raises `Mistake`."""
    if not isinstance(given, BaseModel):
        raise Mistake(f"{name} cannot be taken away: name what of it shall change")
    return sorted(path for each in given.model_fields_set for path in _within(each, getattr(given, each)))


def _within(name: str, value: Any) -> list[str]:
    return [f"{name}.{each}" for each in value.model_fields_set] if isinstance(value, BaseModel) else [name]
