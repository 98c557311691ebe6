"""Pydantic models of protobuf messages, so that FastAPI checks requests and OpenAPI tells of them."""

from __future__ import annotations

import functools
from enum import Enum
from typing import Annotated, Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from pydantic import BaseModel, ConfigDict, Field, create_model

from teletrunk_manager.api.words import words

_LONGEST_TEXT = 4_000
_MOST_ITEMS = 1_000
_UINT32 = 2**32 - 1
_NUMBERS = {
    FieldDescriptor.TYPE_UINT32: Annotated[int, Field(ge=0, le=_UINT32)],
    FieldDescriptor.TYPE_INT64: Annotated[str, Field(pattern=r"^-?[0-9]{1,18}$")],  # as in protobuf's JSON
    FieldDescriptor.TYPE_DOUBLE: Annotated[float, Field(allow_inf_nan=False)],
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_BYTES: Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})],
}
TEXT = r"^[^\x00-\x1f\x7f]*$"  # no control characters
_TEXT = Annotated[str, Field(max_length=_LONGEST_TEXT, pattern=TEXT)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Query(BaseModel):
    """Everything is text in a query, and becomes what it must be."""

    model_config = ConfigDict(extra="forbid")


@functools.cache
def model_of(descriptor: Descriptor, *, query: bool = False, without: tuple[str, ...] = ()) -> type[BaseModel]:
    """Every field is optional, as in protobuf: what is absent has its zero value. `without` names what is elsewhere."""
    fields: dict[str, Any] = {
        field.name: (_type_of(field) | None, Field(None, description=words().get(field.full_name)))
        for field in descriptor.fields
        if field.name not in without
    }
    told = words().get(descriptor.full_name)
    return create_model(descriptor.name, __base__=_Query if query else _Body, __doc__=told, **fields)


def _type_of(field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        single: Any = model_of(field.message_type)
    elif field.enum_type is not None:
        single = _enum_of(field.enum_type)
    else:
        single = _NUMBERS.get(field.type, _TEXT)
    return Annotated[list[single], Field(max_length=_MOST_ITEMS)] if field.is_repeated else single


@functools.cache
def _enum_of(descriptor: EnumDescriptor) -> Any:
    return Enum(descriptor.name, {value.name: value.name for value in descriptor.values}, type=str)
