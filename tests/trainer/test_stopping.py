"""Stopping: the first signal is a request, the second is obeyed as ever."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from trainer.stopping import StopRequest, stopped_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends_as_ever(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stopped_by_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_without_a_signal_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nobody_asks() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stopped_by_signals() as stop:
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_asked_once_it_stays_so() -> None:
    stop = StopRequest()
    stop.ask()
    assert (stop(), stop()) == (True, True)
