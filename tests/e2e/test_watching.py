"""What an operator sees of a call: metrics, readiness, and one trace through all three services."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from teletrunk.tracing import trace_id
from teletrunk_sandbox.world import World

from tests import sip_wire
from tests.conformance.gateway import Gateway
from tests.servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
SERVICES = ("manager", "session-store", "worker")
NAMES = {"manager": "MANAGER", "session-store": "STORAGE", "worker": "WORKER"}


class Collector(otlp_grpc.TraceServiceServicer):
    """Takes spans as any OpenTelemetry collector does: by trace, service and name."""

    def __init__(self) -> None:
        self.spans: dict[int, set[tuple[str, str]]] = defaultdict(set)
        self.told = b""  # everything, as it came
        self.server = grpc.aio.server()
        otlp_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def Export(self, request: otlp.ExportTraceServiceRequest, context: object) -> otlp.ExportTraceServiceResponse:
        self.told += request.SerializeToString()
        for resource in request.resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[int.from_bytes(span.trace_id, "big")].add((service, span.name))
        return otlp.ExportTraceServiceResponse()


class Watched:
    def __init__(self, gateway: Gateway, collector: Collector, ports: dict[str, int]) -> None:
        self.gateway = gateway
        self.collector = collector
        self.ports = ports

    async def get(self, service: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.ports[service]}{path}")

    async def value(self, service: str, sample: str) -> float:
        lines = (await self.get(service, "/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    directory: Path = tmp_path_factory.mktemp("watched")
    collector = Collector()
    await collector.server.start()
    ports = {name: free_port() for name in SERVICES}
    metrics = {f"TELETRUNK_{NAMES[name]}_METRICS_ADDRESS": f"127.0.0.1:{port}" for name, port in ports.items()}
    world = World(
        directory, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
        OTEL_EXPORTER_OTLP_INSECURE="true", **metrics,
    )  # fmt: skip
    async with world, sip_wire.udp(("127.0.0.1", world.sip_port)) as wire:
        gateway = Gateway(world, wire)
        await gateway.furnish()
        yield Watched(gateway, collector, ports)
    await collector.server.stop(0)


async def test_one_call_is_one_trace_through_all_three_services(watched: Watched) -> None:
    await watched.gateway.invite()
    calls = json.loads(await watched.gateway.world.command("call", "list", "--json"))["calls"]
    wanted = {
        ("teletrunk-worker", "call"),
        ("teletrunk-manager", "RouteCall"),
        ("teletrunk-session-store", "signalling"),
    }
    async with asyncio.timeout(10):
        while not wanted <= watched.collector.spans[trace_id(calls[0]["call_id"])]:
            await asyncio.sleep(0.1)


async def test_metrics_tell_of_calls_and_refusals(watched: Watched) -> None:
    declined = 'teletrunk_calls_ended_total{answered="no",direction="to-telegram",ended_by="telegram"}'
    refused = 'teletrunk_refusals_total{row="user-not-found"}'
    before = await watched.value("worker", declined), await watched.value("worker", refused)
    await watched.gateway.invite()
    await watched.gateway.invite("@nobody_at_all")
    async with asyncio.timeout(10):
        while (await watched.value("worker", declined), await watched.value("worker", refused)) != (
            before[0] + 1,
            before[1] + 1,
        ):
            await asyncio.sleep(0.1)
    assert await watched.value("worker", "teletrunk_registrations ") == 1
    assert await watched.value("worker", "teletrunk_calls ") == 0
    assert await watched.value("manager", 'teletrunk_services_attached{kind="worker"}') == 1
    assert await watched.value("manager", 'teletrunk_question_seconds_count{method="RouteCall"}') >= 2
    assert await watched.value("session-store", 'teletrunk_sessions{state="active"}') == 1
    assert await watched.value("session-store", "teletrunk_telegram_calls ") == 0


async def test_every_service_is_live_and_a_worker_without_a_manager_is_not_ready(watched: Watched) -> None:
    for service in SERVICES:
        assert (await watched.get(service, "/live")).status_code == 200
        assert (await watched.get(service, "/ready")).status_code == 200
        assert await watched.value(service, "process_resident_memory_bytes ") > 0
    async with watched.gateway.without("manager"):
        async with watched.gateway.without("worker"):
            pass
        async with asyncio.timeout(15):
            while True:
                try:
                    answer = await watched.get("worker", "/ready")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.1)
        assert (answer.status_code, answer.text) == (503, "Worker is restarting\n")
        assert (await watched.get("worker", "/live")).status_code == 200
    await watched.gateway.back_in_service()
    assert (await watched.get("worker", "/ready")).status_code == 200


async def test_the_doctor_names_what_the_last_calls_met(watched: Watched) -> None:
    await watched.gateway.invite("@nobody_at_all")
    text = ""
    async with asyncio.timeout(20):  # the record is on its way
        while "user-not-found: call " not in text:
            text = await watched.gateway.world.command("doctor")  # it is over: the exit code is 0
    assert "not-registered" not in text
