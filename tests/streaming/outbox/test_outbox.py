"""The outbox: what it holds, in which order, and what a process that comes after finds in it."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streaming.config import MqttSettings
from streaming.errors import ServerError
from streaming.events import ErrorEvent, Event, SessionEnded, parse_event
from streaming.outbox.outbox import EventOutbox, open_outbox
from streaming.outbox.sessions import UNWRITTEN_SEQ
from tests.fakes.events import EventSource
from tests.fakes.outboxes import copy_of_a_crash

ALL = 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def outbox_at(path: Path | None, **settings: object) -> MqttSettings:
    return MqttSettings.model_validate({"outbox": str(path)} | settings if path else {"outbox_mib": 0} | settings)


async def entries_of(outbox: EventOutbox, limit: int = ALL) -> list[Event]:
    return [parse_event(entry.payload) for entry in await asyncio.wait_for(outbox.next(limit), 5)]


def size_of(path: Path, suffix: str = "") -> int:
    """Of a file, or of one beside it; 0 where there is none."""
    file = Path(f"{path}{suffix}")
    return file.stat().st_size if file.exists() else 0


def content_of(path: Path) -> bytes:
    return path.read_bytes()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Files of this process grow no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_of(path, "-wal"), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# --- order and acknowledgement


@pytest.mark.parametrize("durable", [True, False])
async def test_entries_are_given_in_order_until_they_are_acknowledged(path: Path, durable: bool) -> None:
    source = EventSource()
    events = [source.started(), source.speech_started(), source.final(), source.final()]
    with open_outbox(outbox_at(path if durable else None)) as outbox:
        for event in events:
            outbox.record(event)

        first = await outbox.next(2)
        again = await outbox.next(3)
        outbox.acknowledge(first[-1].position)
        rest = await outbox.next(ALL)

    assert [entry.seq for entry in first] == [1, 2]
    assert [entry.seq for entry in again] == [1, 2, 3]
    assert [entry.payload for entry in rest] == [event.to_json().encode() for event in events[2:]]
    assert rest[0].topic == "medusa/v1/s1/0/transcript"


async def test_interims_come_between_once_and_never_after_what_overtook_them(path: Path) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        for event in (source.started(), source.interim(), source.speech_started(), source.emotion(final=False)):
            outbox.record(event)

        assert [(entry.seq, entry.interim) for entry in await outbox.next(1)] == [(1, False)]
        assert [entry.seq for entry in await outbox.next(ALL)] == [1, 2, 3, 4]
        assert [entry.seq for entry in await outbox.next(ALL)] == [1, 3]
        outbox.record(source.interim())
        outbox.record(source.final())
        assert [entry.seq for entry in await outbox.next(ALL)] == [1, 3, 6]
        assert outbox.superseded_interims == 1


async def test_it_waits_for_the_next_event_and_ends_after_the_last() -> None:
    source = EventSource()
    outbox = EventOutbox(outbox_at(None))
    following = asyncio.create_task(outbox.next(ALL))
    await asyncio.sleep(0)
    outbox.record(source.started())

    (entry,) = await asyncio.wait_for(following, 5)
    outbox.end()
    assert await outbox.next(ALL) == [entry]
    outbox.acknowledge(entry.position)
    assert await outbox.next(ALL) == []


async def test_when_memory_is_all_there_is_the_oldest_go_first_and_the_log_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox, source = EventOutbox(outbox_at(None, queue=10)), EventSource()
    for _ in range(22):
        outbox.record(source.final())

    assert [event.seq for event in await entries_of(outbox)] == list(range(12, 23))
    assert outbox.lost == 12
    assert [record.message.partition(" lost so far")[0].split()[-1] for record in caplog.records] == ["1", "10"]


# --- a process that comes after


async def test_a_process_that_comes_after_finds_what_was_not_acknowledged(path: Path, tmp_path: Path) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        for event in (source.started(), source.final(), source.interim(), source.final(), source.ended()):
            outbox.record(event)
        outbox.acknowledge((await outbox.next(1))[-1].position)
        killed = copy_of_a_crash(path, tmp_path / "killed")

    for left in (path, killed):
        with open_outbox(outbox_at(left)) as outbox:
            assert [event.seq for event in await entries_of(outbox)] == [2, 4, 5]
            assert outbox.events == 3


async def test_what_comes_later_stands_behind_what_was_left(path: Path) -> None:
    old, new = EventSource("old"), EventSource("new")
    with open_outbox(outbox_at(path)) as outbox:
        for event in (old.started(), old.ended()):
            outbox.record(event)

    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(new.started())

        assert [event.session for event in await entries_of(outbox)] == ["old", "old", "new"]


async def test_sessions_that_a_killed_server_left_open_are_said_to_be_over(path: Path, tmp_path: Path) -> None:
    over, cut = EventSource("over"), EventSource("cut")
    with open_outbox(outbox_at(path)) as outbox:
        for event in (over.started(), over.ended(), cut.started(), cut.speech_ended(), cut.final()):
            outbox.record(event)
        killed = copy_of_a_crash(path, tmp_path / "killed")

    with open_outbox(outbox_at(killed)) as outbox:
        *_, final, error, ended = await entries_of(outbox)
    assert final.seq == 3
    assert isinstance(error, ErrorEvent)
    assert (error.session, error.code, error.retryable) == ("cut", "server_restarted", True)
    assert isinstance(ended, SessionEnded)
    assert (ended.session, ended.reason, ended.seq) == ("cut", "server_lost", error.seq + 1)
    assert (ended.totals.segments, ended.totals.finals, ended.totals.audio_s) == (1, 1, 0.3)
    with open_outbox(outbox_at(killed)) as outbox:
        assert (await entries_of(outbox))[-1] == ended


@pytest.mark.parametrize("interims", [0, 1, UNWRITTEN_SEQ, UNWRITTEN_SEQ + 1, 3 * UNWRITTEN_SEQ])
async def test_their_last_numbers_are_beyond_those_of_every_interim(path: Path, tmp_path: Path, interims: int) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(source.started())
        for _ in range(interims):
            outbox.record(source.interim())
        killed = copy_of_a_crash(path, tmp_path / "killed")

    with open_outbox(outbox_at(killed)) as outbox:
        _, error, ended = await entries_of(outbox)
    assert source.seq < error.seq < ended.seq
    assert error.seq <= source.seq + UNWRITTEN_SEQ + 1


async def test_a_session_that_breaks_is_said_to_be_over_at_once(path: Path) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(source.started())
        outbox.record(source.interim())
        outbox.abandon("s1")
        outbox.abandon("s1")
        outbox.abandon("unknown")

        *_, ended = await entries_of(outbox)
        assert outbox.events == 2
    assert isinstance(ended, SessionEnded)
    assert (ended.reason, ended.seq) == ("internal_error", 3)


async def test_what_was_said_is_readable_by_its_owner_alone_and_gone_once_it_was_delivered(path: Path) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        for _ in range(100):
            outbox.record(source.transcript(final=True, text="a secret"))
        modes = {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()}
        outbox.acknowledge((await outbox.next(ALL))[-1].position)

    assert modes == {f"outbox.sqlite{suffix}": 0 for suffix in ("", "-wal", "-shm", ".lock")}
    assert [file.name for file in path.parent.iterdir() if b"a secret" in file.read_bytes()] == []
    assert size_of(path) < 40_000


# --- a disk that fails


async def test_on_a_full_disk_events_wait_in_memory_and_are_written_once_there_is_room(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(source.started())
        with full_disk(path):
            for _ in range(20):
                outbox.record(source.transcript(final=True, text="a secret"))
            outbox.settle()
            outbox.settle()
            seen_meanwhile = await entries_of(outbox)
            failures = outbox.write_failures
        killed_before = copy_of_a_crash(path, tmp_path / "before")
        outbox.settle()
        outbox.record(source.final())
        killed_after = copy_of_a_crash(path, tmp_path / "after")

    assert [event.seq for event in seen_meanwhile] == list(range(1, 22))
    assert failures == 3
    said = [record.message for record in caplog.records if record.name == "streaming.outbox.disk"]
    assert ["cannot be written" in line for line in said] == [True, False]
    assert "is written again" in said[1]
    assert "a secret" not in caplog.text
    with open_outbox(outbox_at(killed_before)) as outbox:
        assert [event.seq for event in await entries_of(outbox)][:1] == [1]
    with open_outbox(outbox_at(killed_after)) as outbox:
        assert [event.seq for event in await entries_of(outbox)][:22] == list(range(1, 23))


async def test_what_is_acknowledged_or_ended_while_the_disk_is_full_is_gone_from_it_afterwards(
    path: Path, tmp_path: Path
) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(source.started())
        with full_disk(path):
            for event in (source.final(), source.final(), source.ended()):
                outbox.record(event)
            outbox.acknowledge((await outbox.next(2))[-1].position)
            assert [event.seq for event in await entries_of(outbox)] == [3, 4]
        outbox.settle()
        killed = copy_of_a_crash(path, tmp_path / "killed")

    with open_outbox(outbox_at(killed)) as outbox:
        assert [event.seq for event in await entries_of(outbox)] == [3, 4]


async def test_memory_is_bounded_while_the_disk_is_full(path: Path) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path, queue=10)) as outbox:
        with full_disk(path):
            for _ in range(40):
                outbox.record(source.final())
        seqs = [event.seq for event in await entries_of(outbox)]

    assert seqs[-11:] == [30, *range(31, 41)]
    assert outbox.lost > 0


def overwrite(path: Path) -> None:
    """Damages every page but the first."""
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [overwrite, lambda path: path.write_bytes(b"no database" * 1000)])
async def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        for _ in range(50):
            outbox.record(source.final())
    assert callable(damage)
    damage(path)
    damaged = content_of(path)

    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(source.ended())
        assert [event.seq for event in await entries_of(outbox)] == [51]

    assert content_of(path.with_suffix(".sqlite.damaged")) == damaged
    assert f"the MQTT outbox {path} is damaged" in caplog.text
    assert f"moved to {path}.damaged" in caplog.text


async def test_a_file_that_turns_out_damaged_while_in_use_is_moved_aside_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = EventSource()

    def append(*_: object, **__: object) -> None:
        damage = sqlite3.DatabaseError("database disk image is malformed")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
        raise damage

    with open_outbox(outbox_at(path)) as outbox:
        outbox.record(source.started())
        assert outbox._disk is not None
        monkeypatch.setattr(outbox._disk._store, "append", append)
        outbox.record(source.final())
        outbox.settle()
        outbox.record(source.final())

        assert [event.seq for event in await entries_of(outbox)] == [2, 3]
        assert size_of(path, ".damaged") > 0
    with open_outbox(outbox_at(path)) as outbox:
        assert [event.type for event in await entries_of(outbox)][-2:] == ["error", "session.ended"]


async def test_a_long_log_is_brought_into_the_file_and_begins_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.outbox.file._LARGE_WAL_BYTES", 100_000)
    source = EventSource()
    with open_outbox(outbox_at(path)) as outbox:
        for _ in range(5):
            while size_of(path, "-wal") < 200_000:
                outbox.record(source.final())
            await asyncio.to_thread(outbox.checkpoint)
            outbox.record(source.final())
            assert size_of(path, "-wal") <= 100_000

        assert [event.seq for event in await entries_of(outbox)] == list(range(1, source.seq + 1))


# --- where the file may be


def test_an_outbox_belongs_to_one_server(path: Path) -> None:
    code = f"""
        from streaming.config import MqttSettings
        from streaming.outbox.outbox import open_outbox
        with open_outbox(MqttSettings(outbox={str(path)!r})):
            print("open", flush=True)
            input()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with (
        pytest.raises(ServerError, match=r"is another server's: .*another file as \[mqtt\] outbox"),
        open_outbox(outbox_at(path)),
    ):
        pass
    other.kill()
    other.communicate()

    with open_outbox(outbox_at(path)) as outbox:
        assert outbox.events == 0


def test_by_default_it_is_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "platform", "linux")

    with open_outbox(MqttSettings()) as outbox:
        assert outbox.place == f"up to 256 MiB of events wait in {tmp_path}/state/medusa-live/mqtt-outbox.sqlite"
    assert (tmp_path / "state" / "medusa-live" / "mqtt-outbox.sqlite").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/outbox", r"has no folder: make .*/missing"),
        ("", r"is a folder: set a file"),
    ],
)
def test_a_place_that_will_not_do_is_one_clear_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ServerError, match=message), open_outbox(outbox_at(tmp_path / name if name else tmp_path)):
        pass


def test_a_folder_that_can_only_be_read_is_one_clear_error(tmp_path: Path) -> None:
    # Nothing is read-only to the administrator: whoever runs this as one becomes somebody else.
    code = f"""
        import os
        from streaming.config import MqttSettings
        from streaming.errors import ServerError
        from streaming.outbox.outbox import open_outbox
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            with open_outbox(MqttSettings(outbox={str(tmp_path / "outbox")!r})):
                pass
        except ServerError as error:
            print(error)
    """
    folders = [tmp_path, *tmp_path.parents[:2]]
    modes = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0o555)
    try:
        told = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True
        ).stdout
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)

    assert "outbox cannot be written: Permission denied; set a file in a folder that can be written" in told


def test_a_file_of_another_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()

    with pytest.raises(ServerError, match="is another program's"), open_outbox(outbox_at(path)):
        pass
    assert path.read_bytes() == before


def test_a_file_of_a_later_version_is_left_alone(path: Path) -> None:
    with open_outbox(outbox_at(path)):
        pass
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 2")
    later.close()

    with pytest.raises(ServerError, match="has format 2 and this server reads 1"), open_outbox(outbox_at(path)):
        pass
