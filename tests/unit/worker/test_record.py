"""A call's times: no clock that is set makes it longer or shorter."""

from __future__ import annotations

import dataclasses
import time

import pytest
from teletrunk_worker.call.machine import from_sip
from teletrunk_worker.call.record import Recorder


def test_a_clock_that_is_set_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = 100.0
    recorder = Recorder("c", "w", from_sip=True, clock=lambda: steady)
    began = recorder.record.invited_at
    assert abs(began - time.time()) < 1.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 7_200)  # the system's clock is set back by two hours
    steady = 103.0
    recorder.ringing()
    steady = 110.0
    recorder.answered()
    steady = 152.5
    assert recorder.talk_seconds == 42
    record = recorder.finish(dataclasses.replace(from_sip(), ended_by="pbx"))
    assert (record.ringing_at - began, record.answered_at - began) == pytest.approx((3.0, 10.0))
    assert record.ended_at - record.answered_at == pytest.approx(42.5)


def test_what_is_put_away_behind_a_call_is_no_part_of_it() -> None:
    now = 100.0
    recorder = Recorder("c", "w", from_sip=True, clock=lambda: now)
    recorder.answered()
    now = 110.0
    recorder.ends()
    now = 119.0  # the process of its sound was busy
    recorder.ends()
    record = recorder.finish(dataclasses.replace(from_sip(), ended_by="pbx"))
    assert record.ended_at - record.answered_at == pytest.approx(10.0)
    assert recorder.talk_seconds == 10
