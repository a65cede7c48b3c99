"""An outbox's file: one process's own, whole or moved out of the way, written back behind the event loop's back."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from streaming.errors import ServerError
from streaming.outbox.store import SCHEMA

_LOG: Final = logging.getLogger(__name__)
_APPLICATION_ID: Final = 0x4D454455
"""`MEDU` in ASCII: tells our files from other programs' (https://www.sqlite.org/pragma.html#pragma_application_id)."""
_VERSION: Final = 1
_BUSY_S: Final = 0.25
"""How long a write waits for the end of a checkpoint before it counts as failed."""
_LARGE_WAL_BYTES: Final = 16 * 2**20
"""From here on the write-ahead log is copied into the file and begins anew. Until then it is only brought to the disk,
because the first write into a new log waits for the disk, on the event loop."""
_LAST_RESORT_PAGES: Final = 32_768
"""Length of the write-ahead log at which the writer checkpoints by itself, should nobody else do it."""
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_PRIMARY_CODE: Final = 0xFF
"""The part of an extended result code that names the kind of error (https://www.sqlite.org/rescode.html)."""
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WITH_LOG: Final = ("-shm", "-wal", "")
"""The database last: a log without one is nobody's, a database without its log is still whole."""


class DamagedError(sqlite3.DatabaseError):
    """The file is no database any more, or not all of it is."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether trying again is no use, because the file is not what was written."""
    if isinstance(error, DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY_CODE in _DAMAGE


class OutboxFile:
    """Holds the lock on a file, and connects to the database in it.

    Args:
        path: of the file; made where there is none. `PATH.lock` beside it says who has it.
        make_folder: whether its folder is made too.

    Raises:
        ServerError: another process has it, or it cannot be written there.
    """

    def __init__(self, path: Path, *, make_folder: bool = False) -> None:
        self.path: Final = path
        self._lock = FileLock(f"{path}.lock", mode=_PRIVATE_FILE)
        self._at_rest = threading.Lock()
        try:
            if make_folder:
                path.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._require_place()
            self._lock.acquire(timeout=0)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE))
        except Timeout:
            raise ServerError(
                f"the MQTT outbox {path} is another server's: stop that one, or set another file as [mqtt] outbox"
            ) from None
        except OSError as error:
            self.release()
            raise ServerError(
                f"the MQTT outbox {path} cannot be written: {error.strerror}; set a file in a folder that can be "
                "written as [mqtt] outbox, or outbox_mib = 0 to keep events in memory alone"
            ) from None

    def _require_place(self) -> None:
        if self.path.is_dir():
            raise ServerError(f"the MQTT outbox {self.path} is a folder: set a file as [mqtt] outbox")
        if not self.path.parent.is_dir():
            raise ServerError(
                f"the MQTT outbox {self.path} has no folder: make {self.path.parent}, or set another [mqtt] outbox"
            )

    def connect(self) -> sqlite3.Connection:
        """A connection to write with; the tables are there.

        Commits reach the operating system, not the disk: they survive the process. A power cut may cost what came since
        the last `checkpoint`.

        Raises:
            DamagedError: the file is damaged.
            ServerError: it is another program's, or a later version's.
            sqlite3.Error: it cannot be read or written now.
        """
        connection = self._open(_BUSY_S)
        try:
            self._require_ours(connection)
            self._require_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA secure_delete = ON")  # words that were delivered do not stay in the file
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LAST_RESORT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_LARGE_WAL_BYTES}")
        except sqlite3.Error as error:
            connection.close()
            if is_damage(error):
                raise DamagedError(str(error)) from None
            raise
        except ServerError:
            connection.close()
            raise
        return connection

    def _open(self, timeout_s: float) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=rw"  # one that somebody removed is not made again without tables
        return sqlite3.connect(uri, timeout=timeout_s, isolation_level=None, uri=True)

    def _require_log(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise ServerError(
                f"the MQTT outbox {self.path} lies where SQLite can keep no write-ahead log, on a network perhaps: "
                "set a file on a local disk as [mqtt] outbox"
            )

    def _require_ours(self, connection: sqlite3.Connection) -> None:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DamagedError(found)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not tables:
            self._create_tables(connection)
        elif application != _APPLICATION_ID:
            raise ServerError(f"the MQTT outbox {self.path} is another program's: set another file as [mqtt] outbox")
        elif version != _VERSION:
            raise ServerError(
                f"the MQTT outbox {self.path} has format {version} and this server reads {_VERSION}: let the server "
                "that wrote it deliver what is in it, or set another file as [mqtt] outbox"
            )

    @staticmethod
    def _create_tables(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")

    def checkpoint(self) -> None:
        """Brings what was committed to the disk, and a long log into the file. For a worker thread: it waits for both.

        Raises:
            sqlite3.Error: the log could not be brought into the file; nothing is lost.
            OSError: it could not be brought to the disk.
        """
        with self._at_rest:
            try:
                log = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)  # SQLite keeps no lock on this file
            except FileNotFoundError:
                return
            try:
                os.fsync(log)
                size_bytes = os.fstat(log).st_size
            finally:
                os.close(log)
            if size_bytes > _LARGE_WAL_BYTES:
                with closing(self._open(0.0)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    # Writers have to wait for this one, but it finds little left to do.
                    connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def set_aside(self) -> Path:
        """Renames a damaged file that nobody is connected to; the one set aside before goes.

        Raises:
            OSError: it cannot be renamed.
        """
        aside = Path(f"{self.path}.damaged")
        with self._at_rest:
            for suffix in _WITH_LOG:
                Path(f"{aside}{suffix}").unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE))
        return aside

    def release(self) -> None:
        """Lets others have it; waits for a checkpoint that is under way."""
        with self._at_rest:
            self._lock.release()
