"""The Manager's own certificate, and the gatehouse where others get theirs: for one with TELETRUNK_TLS only."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from teletrunk.identity import MANAGER
from teletrunk.papers import Papers, signing_request

from teletrunk_manager.authority import Authority
from teletrunk_manager.config import ManagerSettings
from teletrunk_manager.enrolment import Gatehouse
from teletrunk_manager.managers import Managers


def gatehouse_of(settings: ManagerSettings, managers: Managers) -> Gatehouse:
    authority = Authority.open(settings.authority_directory, settings.certificate_days)
    host = (settings.public_manager_address or settings.manager_address).rpartition(":")[0]
    port = settings.enrolment.rpartition(":")[2]
    address = f"{host}:{port}" if port != "0" else ""
    return Gatehouse(authority, address, managers, settings.service_accounts)


def papers_of(settings: ManagerSettings, gatehouse: Gatehouse) -> Papers:
    """The Manager certifies itself afresh at each start."""
    papers = Papers(settings.data / "identity" / "manager", MANAGER)
    key = ec.generate_private_key(ec.SECP256R1())
    papers.store(key, gatehouse.authority.sign(signing_request(MANAGER, key), MANAGER), gatehouse.authority.pem)
    return papers
