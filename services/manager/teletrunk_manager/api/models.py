"""Pydantic models of protobuf messages, so that FastAPI checks requests and OpenAPI tells of them."""

from __future__ import annotations

import functools
from enum import Enum
from typing import Annotated, Any, Literal

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from teletrunk_manager.api.facts import CLOSED_SETS, EXAMPLES, REQUIRED, SHORT_WORDS
from teletrunk_manager.api.shown import is_time, name_of_time
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
_RFC3339 = Annotated[str, Field(description="The same by RFC 3339; empty: there is none.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Query(BaseModel):
    """Everything is text in a query, and becomes what it must be."""

    model_config = ConfigDict(extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


@functools.cache
def request_model(descriptor: Descriptor, *, query: bool = False, without: tuple[str, ...] = ()) -> type[BaseModel]:
    """What is absent has its zero value, as in protobuf, but what makes no sense without. `without` is elsewhere."""
    fields: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name not in without:
            kind = _type_of(field, request_model)
            needed = field.full_name in REQUIRED
            fields[field.name] = (kind, _told(field)) if needed else (kind | None, _told(field, default=None))
    base = _Query if query else _Body
    # What stands in answers too is another model there: more is required.
    name = descriptor.name if descriptor.name.endswith("Request") else f"{descriptor.name}Given"
    return create_model(name, __base__=base, __doc__=words().get(descriptor.full_name), **fields)


@functools.cache
def answer_model(descriptor: Descriptor) -> type[BaseModel]:
    """All that is always there is required."""
    fields: dict[str, Any] = {}
    for field in descriptor.fields:
        kind = _type_of(field, answer_model)
        may_be_absent = field.has_presence
        fields[field.name] = (kind, _told(field, default=None)) if may_be_absent else (kind, _told(field))
        if is_time(field):
            fields[name_of_time(field)] = (_RFC3339, Field(None)) if may_be_absent else (_RFC3339, Field())
    return create_model(descriptor.name, __base__=_Answer, __doc__=words().get(descriptor.full_name), **fields)


def _told(field: FieldDescriptor, **default: Any) -> Any:
    examples = EXAMPLES.get(field.name) if field.type == FieldDescriptor.TYPE_STRING else None
    shown = [[example] for example in examples] if examples and field.is_repeated else examples
    return Field(**default, description=words().get(field.full_name), examples=shown)


def _type_of(field: FieldDescriptor, model: Any) -> Any:
    if field.message_type is not None:
        single: Any = model(field.message_type)
    elif field.enum_type is not None:
        given = model is request_model
        single = Annotated[_enum_of(field.enum_type, given=given), Field(strict=False)]  # JSON has its name only
        if given:
            single = Annotated[single, BeforeValidator(functools.partial(_long_word, field.enum_type))]
    elif closed := CLOSED_SETS.get(field.full_name):
        single = Literal[closed]
    else:
        single = _NUMBERS.get(field.type, _TEXT)
    return Annotated[list[single], Field(max_length=_MOST_ITEMS)] if field.is_repeated else single


def _long_word(descriptor: EnumDescriptor, given: Any) -> Any:
    return _short_words(descriptor).get(given, given) if isinstance(given, str) else given


@functools.cache
def _short_words(descriptor: EnumDescriptor) -> dict[str, str]:
    """`required-insecure` is SRTP_POLICY_REQUIRED_INSECURE, and so on: the command's words are good here, too."""
    prefix = descriptor.values[0].name.removesuffix("UNSPECIFIED")
    cut = {name.removeprefix(prefix).lower().replace("_", "-"): name for name in descriptor.values_by_name}
    return SHORT_WORDS.get(descriptor.name, {}) | cut


@functools.cache
def _enum_of(descriptor: EnumDescriptor, *, given: bool) -> Any:
    """What may be given has the short words first; what is answered has the long ones only."""
    words_given = [*_short_words(descriptor)] if given else []
    name = f"{descriptor.name}Given" if given else descriptor.name
    return Enum(name, {word: word for word in (*words_given, *descriptor.values_by_name)}, type=str)
