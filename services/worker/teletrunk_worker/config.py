"""The Worker's settings."""

from __future__ import annotations

import ipaddress
import secrets
import ssl
from pathlib import Path

from pydantic import Field, field_validator
from teletrunk.config import ConfigurationError, ServiceSettings, checked_address
from teletrunk.own_address import own_address, own_addresses

from teletrunk_worker.policy.bans import Network
from teletrunk_worker.sip.auth import ALGORITHMS
from teletrunk_worker.sip.transport.tls import VERSIONS, Certificates, TlsFiles

CALLS_A_SIP_HOST = 4  # what the stock pjsua2 wheel is compiled for
# RFC 1918, 6598, 3927, 1122; RFC 4193, 4291: whoever is seen with such an address has come without a translation.
PRIVATE_NETWORKS = (
    "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,127.0.0.0/8,fc00::/7,fe80::/10,::1/128"
)
_PORTS_A_HOST = 32  # four calls need sixteen; the rest lets used ports rest


class WorkerSettings(ServiceSettings):
    """Prefix TELETRUNK_."""

    sip_address: str = Field("0.0.0.0:5060", description="host:port of SIP over UDP and TCP.")
    sip_tls_address: str | None = Field(None, description="host:port of SIP over TLS; off if not given.")
    sip_tls_certificate: Path | None = Field(None, description="PEM file of the certificate that PBXs see by TLS.")
    sip_tls_key: Path | None = Field(None, description="PEM file of its key, when it is not in the same file.")
    sip_tls_clients: Path | None = Field(
        None, description="PEM file of the authorities whose certificates PBXs must show; without it they need none."
    )
    sip_tls_servers: Path | None = Field(
        None, description="PEM file of the authorities of PBXs that we connect to; the machine's own if not given."
    )
    sip_tls_minimum: str = Field("1.2", description="The oldest TLS that is spoken: 1.2 or 1.3.")
    dns_servers: str = Field("", description="host:port of name servers for PBXs, with commas; else the machine's own.")
    public_address: str | None = Field(None, description="The address PBXs reach this Worker at, when behind NAT.")
    local_networks: str = Field(
        PRIVATE_NETWORKS,
        description="Networks, with commas, whose PBXs are told the address of this machine that faces them, and not "
        "the public one; empty: all are told the public one.",
    )
    media_address: str | None = Field(
        None, description="The IPv4 address PBXs send sound to, when it is not the public one: sound has no IPv6."
    )
    rtp_ports: str = Field("16384-32768", description="first-last UDP port of the sound towards PBXs.")
    max_calls: int = Field(20, ge=1, le=400, description="Simultaneous calls.")
    sample_rate: int = Field(8000, description="8000, or 16000 for all calls and not only wide-band ones.")

    digest_algorithms: str = Field(
        "SHA-256,MD5", description="Offered to PBXs in this order; MD5 alone for those that stop at what they miss."
    )

    worker_metrics_address: str | None = Field(
        None, description="host:port for /metrics, /live and /ready; off if not given."
    )
    never_banned: str = Field("", description="Addresses and subnets, with commas between, that are never banned.")
    allow_registration: bool = Field(True, description="Whether PBXs may register at this Worker.")
    allow_outbound: bool = Field(True, description="Whether this Worker registers at PBXs, and reaches peers.")
    first_answer_seconds: float = Field(
        12.0, ge=1, le=32, description="How long a PBX may take for its first word to a call before it counts as gone."
    )
    leave_when_drained: bool = Field(
        True, description="Whether a Worker that was drained by command ends; a Kubernetes pod had better stay."
    )
    drain_seconds: float = Field(0.0, ge=0, description="How long calls may go on after SIGTERM before they are ended.")

    @field_validator("worker_metrics_address")
    @classmethod
    def _metrics_host_and_port(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    @field_validator("never_banned", "local_networks")
    @classmethod
    def _readable_networks(cls, value: str) -> str:
        _networks(value)
        return value

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        return _networks(self.never_banned)

    @property
    def networks_beside(self) -> tuple[Network, ...]:
        """The local networks, but those in which an address lies that PBXs are to be told: who is there reaches it, and
        may reach this machine by no other."""
        given = [ipaddress.ip_address(one) for one in (self.public_address, self.media_address) if one is not None]
        return tuple(net for net in _networks(self.local_networks) if not any(address in net for address in given))

    @field_validator("sip_address")
    @classmethod
    def _address(cls, value: str) -> str:
        return checked_address(value)

    @field_validator("public_address")
    @classmethod
    def _ip(cls, value: str | None) -> str | None:
        if value is not None:
            ipaddress.ip_address(value)
        return value

    @field_validator("media_address")
    @classmethod
    def _ipv4(cls, value: str | None) -> str | None:
        if value is not None:
            ipaddress.IPv4Address(value)
        return value

    @field_validator("sample_rate")
    @classmethod
    def _rate(cls, value: int) -> int:
        if value not in (8000, 16000):
            raise ValueError("must be 8000 or 16000")
        return value

    @field_validator("rtp_ports")
    @classmethod
    def _range(cls, value: str) -> str:
        first, _, last = value.partition("-")
        if not (first.isdigit() and last.isdigit() and 1024 <= int(first) < int(last) <= 65_535):
            raise ValueError("must be FIRST-LAST, for example 16384-32768")
        return value

    @field_validator("digest_algorithms")
    @classmethod
    def _known_algorithms(cls, value: str) -> str:
        if not value or not set(value.split(",")) <= set(ALGORITHMS):
            raise ValueError("must be SHA-256, MD5 or both, with a comma between")
        return value

    @field_validator("sip_tls_address")
    @classmethod
    def _tls_host_and_port(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    @field_validator("dns_servers")
    @classmethod
    def _name_servers(cls, value: str) -> str:
        for part in filter(None, value.split(",")):
            host, _, _ = checked_address(part.strip()).rpartition(":")
            ipaddress.ip_address(host.strip("[]"))
        return value

    @field_validator("sip_tls_minimum")
    @classmethod
    def _version(cls, value: str) -> str:
        if value not in VERSIONS:
            raise ValueError("must be 1.2 or 1.3")
        return value

    @property
    def tls_listen(self) -> tuple[str, int] | None:
        return None if self.sip_tls_address is None else _host_and_port(self.sip_tls_address)

    @property
    def name_servers(self) -> list[tuple[str, int]]:
        return [_host_and_port(part.strip()) for part in self.dns_servers.split(",") if part.strip()]

    def certificates(self) -> Certificates:
        """Raises `ConfigurationError`."""
        if self.sip_tls_address is not None and self.sip_tls_certificate is None:
            raise ConfigurationError("TELETRUNK_SIP_TLS_ADDRESS needs TELETRUNK_SIP_TLS_CERTIFICATE")
        files = TlsFiles(
            self.sip_tls_certificate, self.sip_tls_key, self.sip_tls_clients, self.sip_tls_servers, self.sip_tls_minimum
        )
        try:
            return Certificates(files)
        except (OSError, ssl.SSLError) as error:
            where = getattr(error, "filename", None) or self.sip_tls_certificate
            raise ConfigurationError(f"TELETRUNK_SIP_TLS_...: {where}: {error.strerror or error}") from None

    @property
    def offered_algorithms(self) -> tuple[str, ...]:
        return tuple(self.digest_algorithms.split(","))

    @property
    def listen(self) -> tuple[str, int]:
        return _host_and_port(self.sip_address)

    def reachable_addresses(self) -> list[str]:
        """What PBXs are told to send to: without a word on it, the address from which this machine reaches others.

        At `::` it has one of each family; the first one stands where there is room for one.
        """
        host, _ = self.listen
        if self.public_address is None or host != "::":
            return own_addresses(self.public_address or host)
        own = [address for address in own_addresses(host) if (":" in address) != (":" in self.public_address)]
        return [self.public_address, *own]

    def reachable_media_address(self) -> str:
        """Where PBXs are told to send sound: an IPv4 address, for pjsua2's wheel is built without IPv6."""
        if self.media_address is not None:
            return self.media_address
        addresses = self.reachable_addresses()
        if found := [address for address in addresses if ":" not in address]:
            return found[0]
        return "127.0.0.1" if ipaddress.ip_address(addresses[0]).is_loopback else own_address("0.0.0.0")  # noqa: S104

    @property
    def media_bind_address(self) -> str:
        """The only address that sound is taken at; empty for all."""
        host = self.listen[0]
        return "" if host == "0.0.0.0" or ":" in host else host  # noqa: S104

    def check(self) -> None:
        """Raises `ConfigurationError` for what one setting alone cannot show."""
        self.rtp_slices()
        self.certificates()

    def rtp_slices(self) -> list[range]:
        """The ports of each SIP host, in no order that anybody could guess. Raises `ConfigurationError`."""
        hosts = -(-self.max_calls // CALLS_A_SIP_HOST)
        first, last = (int(part) for part in self.rtp_ports.split("-"))
        slices = [
            range(start, start + _PORTS_A_HOST) for start in range(first, last - _PORTS_A_HOST + 2, _PORTS_A_HOST)
        ]
        if len(slices) < hosts:
            raise ConfigurationError("TELETRUNK_RTP_PORTS: too few ports for TELETRUNK_MAX_CALLS (8 a call)")
        return secrets.SystemRandom().sample(slices, hosts)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
