"""Errors that the library does not know: told as they are, and written nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from .storage import storage

WORD = "A_WORD_NOBODY_KNOWS"


@pytest.mark.parametrize("writable", [True, False])
async def test_an_error_that_the_library_does_not_know_writes_no_file(tmp_path: Path, writable: bool) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    where = str(directory) if writable else "/proc"  # where not even root makes a file
    async with storage(tmp_path, CWD=where) as store:
        phone, session_id = await store.account()
        friend = await store.friend()
        await store.control.error(phone, "phone.requestCall", 400, WORD)
        refusal = await store.start_call(session_id, f"+{friend.phone}").refusal()
    assert (refusal.row.id, refusal.detail) == ("telegram-error", WORD)
    assert list(directory.iterdir()) == []
    assert "Traceback" not in store.said()
