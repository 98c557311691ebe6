"""The ports that tests start servers on are theirs: no other test and no client of the kernel's choice gets them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from teletrunk_sandbox import ports

from tests.servers import free_port

_HOLDER = "import sys; from teletrunk_sandbox import ports; print(ports.hold(64), flush=True); sys.stdin.read()"


def test_the_kernel_gives_such_a_port_to_nobody() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(free_port() < lowest for _ in range(20))


def test_another_process_gets_other_ports_until_the_holder_is_gone_even_if_it_was_killed() -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    first = int(holder.stdout.readline())
    taken, book = set(range(first, first + 64)), ports.book()
    book.next = first - 32
    mine = {book.take(1) for _ in range(128)}
    assert len(mine) == 128 and mine.isdisjoint(taken)
    holder.kill()
    holder.wait(10)
    book.next = first
    assert book.take(1) in taken


def test_a_port_that_somebody_uses_is_not_given_away() -> None:
    with socket.socket() as server:
        book = ports.book()
        server.bind(("127.0.0.1", book.take(1)))
        server.listen()
        used = int(server.getsockname()[1])
        book.give_back(range(used, used + 1))
        book.next = used
        assert book.take(1) != used


def test_a_run_of_ports_is_even_and_is_free_again_afterwards() -> None:
    book = ports.book()
    first = book.take(8)
    assert first % 2 == 0
    book.give_back(range(first, first + 8))
    book.next = first
    assert book.take(8) == first
