"""What stands around the call machine: the parts of the Worker that its effects are carried out with."""

from __future__ import annotations

from dataclasses import dataclass

from teletrunk_worker.legs.supervisor import HostPool
from teletrunk_worker.links.manager import ManagerLink
from teletrunk_worker.links.storage import StorageLinks
from teletrunk_worker.server.port import SipPort


@dataclass
class Rim:
    worker_id: str
    edge: SipPort
    sip_hosts: HostPool
    telegram_hosts: HostPool
    manager: ManagerLink
    storages: StorageLinks
    first_answer_s: float  # how long a PBX may take to say anything at all to an INVITE
