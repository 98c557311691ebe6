"""A host that is taken over, from inside: what it may not do fails, whoever started it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

PROBE = """
import ctypes, json, os, resource, socket, struct, subprocess, sys, threading
import teletrunk_worker.legs.{kind}_host
from teletrunk_worker.legs import jail

DATA, TCP, PARENT = sys.argv[1], int(sys.argv[2]), os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def system_call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def of_another_process():
    local = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(local), 8)
    system_call(310, PARENT, vector, 1, vector, 1, 0)

def connect(family, kind, address):
    with socket.socket(family, kind) as end:
        end.connect(address)

def thread():
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()

def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.bind(("127.0.0.1", 0))

ATTEMPTS = dict(
    read_data=lambda: open(DATA + "/vault.key"),
    list_data=lambda: os.listdir(DATA),
    write_data=lambda: open(DATA + "/new", "w"),
    remove_data=lambda: os.unlink(DATA + "/vault.key"),
    read_passwords=lambda: open("/etc/passwd"),
    write_temporary=lambda: open("/tmp/guard-was-here", "w"),
    write_own_library=lambda: open(os.__file__, "a"),
    execute=lambda: os.execv("/bin/true", ["true"]),
    start_a_program=lambda: subprocess.run(["/bin/true"]),
    fork=lambda: os.fork() or os._exit(0),
    read_a_process_memory=of_another_process,
    read_a_process_environment=lambda: open(f"/proc/{{PARENT}}/environ"),
    read_a_process_memory_file=lambda: open(f"/proc/{{PARENT}}/mem", "rb"),
    trace_a_process=lambda: system_call(101, 16, PARENT, 0, 0),
    take_a_descriptor=lambda: system_call(434, PARENT, 0),
    kill_a_process=lambda: os.kill(PARENT, 0),
    stop_a_process=lambda: system_call(234, PARENT, PARENT, 0),
    connect_tcp=lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", TCP)),
    connect_tcp6=lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", TCP)),
    connect_unix=lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, DATA + "/socket"),
    raw_socket=lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    packet_socket=lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    new_namespace=lambda: os.unshare(os.CLONE_NEWUSER) if hasattr(os, "unshare") else system_call(272, 0x10000000),
    mount=lambda: system_call(165, b"none", b"/tmp", b"tmpfs", 0, 0),
    ring_of_system_calls=lambda: system_call(425, 8, 0),
    go_before_others=lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
    raise_a_limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 19, 1 << 19)),
    much_memory=lambda: bytearray(5 << 30),
    gain_capability=lambda: os.chroot("/"),
)
NEEDED = dict(thread=thread, datagram=datagram, lazy_import=lambda: __import__("xml.dom.minidom"))

jail.enter(jail.{name})
said = {{}}
for name, attempt in {{**ATTEMPTS, **NEEDED}}.items():
    try:
        attempt()
        said[name] = "done"
    except (OSError, ValueError, MemoryError) as error:
        said[name] = type(error).__name__
print(json.dumps(said))
"""
PRIORITY = """
import os, sys, threading
from teletrunk_worker.legs.priority import before_others

os.setresuid(*[int(sys.argv[1])] * 3)
before_others()
threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))).start()
"""
NEEDED = {"thread", "datagram", "lazy_import"}


@pytest.mark.parametrize(("kind", "name"), [("sip", "SIP"), ("telegram", "TELEGRAM")])
async def test_what_a_host_that_is_taken_over_may_not_do(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "vault.key").write_text("secret")
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", PROBE.format(kind=kind, name=name),
            str(tmp_path), str(server.sockets[0].getsockname()[1]),
            stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    server.close()
    said = json.loads(output)
    assert {attempt for attempt, outcome in said.items() if outcome == "done"} == NEEDED
    assert (tmp_path / "vault.key").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may go before others everywhere, and become somebody else")
@pytest.mark.parametrize(("user", "begun", "nice"), [(0, 0, -10), (0, 3, -10), (0, -15, -15), (65534, 0, 0)])
async def test_hosts_go_before_others_where_they_may(user: int, begun: int, nice: int) -> None:
    change = str(begun - os.getpriority(os.PRIO_PROCESS, 0))
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", change, sys.executable, "-c", PRIORITY, str(user)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert int(output) == nice
