"""The end of a run waits for torch's threads that communicate."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

import pytest

from wf_processes.idling import wait_until_idle


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names and states in /proc there")
@pytest.mark.parametrize("busy", [True, False])
def test_it_waits_for_a_busy_thread_and_not_for_a_sleeping_one(busy: bool) -> None:
    named, rest, end = threading.Event(), threading.Event(), threading.Event()
    worked_until: list[float] = []

    def work() -> None:
        assert ctypes.CDLL(None).prctl(15, b"busy-thread", 0, 0, 0) == 0  # PR_SET_NAME
        named.set()
        until = time.monotonic() + 0.3
        while busy and time.monotonic() < until:
            pass
        worked_until.append(time.monotonic())
        rest.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    named.wait()
    if not busy:
        rest.wait()
    wait_until_idle("busy-thread", at_most_sec=60)
    came_back = time.monotonic()
    end.set()
    thread.join()
    assert worked_until, "it came back before the thread was idle"
    assert came_back > worked_until[0]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names and states in /proc there")
def test_it_does_not_wait_for_ever() -> None:
    done = threading.Event()

    def work() -> None:
        ctypes.CDLL(None).prctl(15, b"restless", 0, 0, 0)
        while not done.is_set():
            pass

    thread = threading.Thread(target=work)
    thread.start()
    wait_until_idle("restless", at_most_sec=0.1)
    done.set()
    thread.join()
