"""Messages as JSON shows them: protobuf's JSON, and beside each time in seconds the same by RFC 3339."""

from __future__ import annotations

import datetime
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_TIME = re.compile(r"(^|_)(at|until|since|seen)$")


def shown(message: Message) -> dict[str, Any]:
    fields = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _with_times(message.DESCRIPTOR, fields)


def with_times(event: dict[str, Any]) -> dict[str, Any]:
    """An event's facts in the same manner; its messages have been `shown`."""
    told: dict[str, Any] = {}
    for name, value in event.items():
        told[name] = value
        if isinstance(value, float) and _TIME.search(name):
            told[f"{name}_rfc3339"] = _rfc3339(value)
    return told


def is_time(field: FieldDescriptor) -> bool:
    """A Unix time in seconds, as all that are named so and are doubles."""
    return field.type == FieldDescriptor.TYPE_DOUBLE and bool(_TIME.search(field.name))


def name_of_time(field: FieldDescriptor) -> str:
    return f"{field.name}_rfc3339"


def _with_times(descriptor: Any, fields: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name not in fields:
            continue
        value = fields[field.name]
        if field.message_type is not None:
            told[field.name] = (
                [_with_times(field.message_type, each) for each in value]
                if field.is_repeated
                else _with_times(field.message_type, value)
            )
            continue
        told[field.name] = value
        if is_time(field):
            told[name_of_time(field)] = _rfc3339(value)
    return told


def _rfc3339(at: Any) -> str:
    """Empty for 0, which says that there is none, and for what no calendar has."""
    try:
        moment = datetime.datetime.fromtimestamp(float(at), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""
