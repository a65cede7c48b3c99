"""A process that does not want to stop: `python -m tests.fakes.stubborn`; it says so once it will not."""

import signal
import threading

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ignoring", flush=True)  # noqa: T201 - a program
    threading.Event().wait()
