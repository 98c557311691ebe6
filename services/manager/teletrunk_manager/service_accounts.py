"""Services that prove themselves by their account in a Kubernetes cluster, as its API server confirms it.

A service shows the token that the kubelet projects for it (audience `teletrunk`); the API server is asked by a
TokenReview (authentication.k8s.io/v1) whose it is. Without its answer nobody is let in.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from teletrunk_manager.domain.admission import Admission
from teletrunk_manager.mistakes import Mistake

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger()

AUDIENCE: Final = "teletrunk"
_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_DEADLINE_S = 5.0
_LONGEST_TOKEN = 16_384
_USER = "system:serviceaccount:"


@dataclass(frozen=True)
class Cluster:
    """The API server, and the directory of the Manager's own `token` and `ca.crt`, as the kubelet mounts it."""

    url: str = "https://kubernetes.default.svc"
    credentials: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")

    async def review(self, token: str) -> Mapping[str, Any]:
        """The status of a TokenReview. Raises `Mistake` with UNAVAILABLE: the service shall come again."""
        import httpx  # 5 MB that a Manager outside a cluster does without

        question = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            async with asyncio.timeout(_DEADLINE_S):
                answer = await self._post(question)
            answer.raise_for_status()
            status = answer.json()["status"]
            if isinstance(status, dict):
                return status
            why = "its answer is no TokenReview"
        except httpx.HTTPStatusError as error:
            why = f"it answers {error.response.status_code}: may this Manager's account create TokenReviews?"
        except (httpx.HTTPError, OSError, TimeoutError, KeyError, ValueError, TypeError) as error:
            why = type(error).__name__ if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        log.error("the cluster's API server confirms no account", url=self.url, why=why[:200])
        text = "the cluster's API server does not say whose the account's token is: come again"
        raise Mistake(text, code=grpc.StatusCode.UNAVAILABLE)

    async def _post(self, question: Mapping[str, Any]) -> httpx.Response:
        import httpx

        # Read each time: the kubelet renews both.
        own = (self.credentials / "token").read_text().strip()
        context = ssl.create_default_context(cafile=str(self.credentials / "ca.crt"))
        async with httpx.AsyncClient(verify=context, timeout=_DEADLINE_S, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {own}"}
            return await client.post(self.url.rstrip("/") + _REVIEWS, json=question, headers=headers)


@dataclass(frozen=True)
class ServiceAccounts:
    """Kinds by NAMESPACE/NAME; none: no account is let in, and nobody is asked."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=Cluster)

    async def admission(self, token: str) -> Admission | None:
        """What the token is worth; None when it is no account's token. Raises `Mistake`."""
        if not self.kinds or token.count(".") != 2 or len(token) > _LONGEST_TOKEN or not token.isascii():
            return None
        status = await self.cluster.review(token)
        if status.get("authenticated") is not True or AUDIENCE not in _list(status.get("audiences")):
            raise Mistake(f"the account's token has ended, or is not for the audience {AUDIENCE}")
        user = status.get("user")
        name = str(user.get("username", "")) if isinstance(user, dict) else ""
        account = name.removeprefix(_USER).replace(":", "/", 1)
        if not name.startswith(_USER) or account not in self.kinds:
            raise Mistake(f"{name} is not among TELETRUNK_JOIN_SERVICE_ACCOUNTS")
        return Admission(self.kinds[account], came_by=f"account/{account}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def kinds_of(text: str) -> dict[str, str]:
    """Reads `worker=NAMESPACE/NAME,storage=NAMESPACE/NAME`. Raises ValueError."""
    kinds: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, _, account = part.partition("=")
        namespace, _, name = account.partition("/")
        if kind not in ("worker", "storage") or not namespace or not name or "/" in name:
            raise ValueError("must be worker=NAMESPACE/NAME,storage=NAMESPACE/NAME")
        if account in kinds:
            raise ValueError(f"{account} stands there twice: a Worker and a Storage need accounts of their own")
        kinds[account] = kind
    return kinds
