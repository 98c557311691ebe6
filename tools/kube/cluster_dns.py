#!/usr/bin/env python3
"""cluster_dns.py API CA TOKEN_FILE ADDRESS: the names of a cluster's services, over UDP; Debian has no CoreDNS.

Services, headless services and their pods' host names under cluster.local have A records; all other names do not exist.
"""

import json
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

_LOOK_EVERY_S = 0.3
_DEADLINE_S = 5
_TTL_S = 1
_A, _IN = 1, 1
_ANSWER, _NO_SUCH_NAME = 0x8580, 3  # a response, authoritative, recursion desired and available
_LARGEST_QUERY = 1500

Zone = dict[str, list[str]]


class Api:
    """Reads lists from the cluster's API."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        self._url = url
        self._trust = ssl.create_default_context(cafile=ca)
        self._headers = {"Authorization": f"Bearer {token}"}

    def items(self, kind: str) -> list[dict[str, Any]]:
        request = urllib.request.Request(f"{self._url}/api/v1/{kind}", headers=self._headers)  # noqa: S310
        with urllib.request.urlopen(request, context=self._trust, timeout=_DEADLINE_S) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.load(answer)["items"]
        return found


def zone(api: Api) -> Zone:
    """Every name that has an address now."""
    endpoints = {_key(each): each for each in api.items("endpoints")}
    names: Zone = {}
    for service in api.items("services"):
        namespace, name = _key(service)
        full = f"{name}.{namespace}.svc.cluster.local"
        address = service["spec"].get("clusterIP")
        if address and address != "None":
            names[full] = [address]
        else:
            names.update(_headless(full, endpoints.get((namespace, name), {})))
    return names


def _headless(full: str, endpoints: dict[str, Any]) -> Zone:
    pods = [pod for subset in endpoints.get("subsets") or [] for pod in subset.get("addresses") or []]
    names: Zone = {f"{pod['hostname']}.{full}": [pod["ip"]] for pod in pods if pod.get("hostname")}
    if pods:
        names[full] = [pod["ip"] for pod in pods]
    return names


def _key(thing: dict[str, Any]) -> tuple[str, str]:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def answer(query: bytes, names: Zone) -> bytes:
    """RFC 1035, 4.1. Raises IndexError or struct.error for what is no query."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += length + 1
    kind, _ = struct.unpack(">HH", query[at + 1 : at + 5])
    known = names.get(".".join(labels).lower())
    addresses = known if known and kind == _A else []
    code = _ANSWER | (0 if known is not None else _NO_SUCH_NAME)
    records = b"".join(struct.pack(">HHHIH", 0xC00C, _A, _IN, _TTL_S, 4) + socket.inet_aton(a) for a in addresses)
    return query[:2] + struct.pack(">HHHHH", code, 1, len(addresses), 0, 0) + query[12 : at + 5] + records


class Names:
    """The zone as it was at the last look."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.now: Zone = {}

    def keep_looking(self) -> None:
        while True:
            try:
                self.now = zone(self._api)
            except (OSError, ValueError) as error:  # the API comes up later, and goes away sooner
                sys.stderr.write(f"{error}\n")
            time.sleep(_LOOK_EVERY_S)


def main(url: str, ca: str, token_file: str, address: str) -> None:
    names = Names(Api(url, ca, Path(token_file).read_text().partition(",")[0]))
    threading.Thread(target=names.keep_looking, daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((address, 53))
        while True:
            query, sender = door.recvfrom(_LARGEST_QUERY)
            try:
                door.sendto(answer(query, names.now), sender)
            except (IndexError, struct.error, OSError) as error:
                sys.stderr.write(f"{sender}: {error}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
