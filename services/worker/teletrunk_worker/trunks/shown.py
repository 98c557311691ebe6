"""A trunk's bindings as people see them."""

from __future__ import annotations

import time
from typing import Final

from teletrunk.v1 import manager_pb2 as pb

from teletrunk_worker.sip.proxy import bracketed
from teletrunk_worker.sip.registrar import Binding, Registrar, cleaned

_LONGEST_CONTACT: Final = 256


def shown(registrar: Registrar, trunk_id: str) -> list[pb.Binding]:
    """The newest first; those that a PBX has registered, and whose connection is still there."""
    return [_message(binding) for binding in registrar.reachable(trunk_id) if not binding.of_ours]


def _message(binding: Binding) -> pb.Binding:
    host, port = binding.flow.peer
    return pb.Binding(
        contact=cleaned(binding.contact.uri.text, _LONGEST_CONTACT),
        source_address=f"{bracketed(host)}:{port}",
        transport=binding.flow.transport.lower(),
        user_agent=binding.user_agent,
        expires_at=time.time() + binding.seconds_left,
    )
