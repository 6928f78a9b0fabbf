"""Database clients."""

import contextlib
import select
import threading
import time

import psycopg2
import psycopg2.extensions

from waiting import Failed, wait_until


class Writer:
    """Inserts numbered rows through a public port and notes which ones were acknowledged, and when.

    It uses one connection at a time, gives up on a connection or a statement after half a second, and
    connects again: it sees what an application with sensible time-outs would see.
    """

    TIMEOUT = 0.5
    PAUSE = 0.01  # 100 rows a second: the resolution of the gaps

    def __init__(self, uri, table="written"):
        self.uri, self.table = uri, table
        self.acknowledged = []  # (number, time)
        self.errors = []  # (time, text), each different from the one before
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self):
        with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=60)) as connection:
            connection.autocommit = True
            connection.cursor().execute(
                f"create table if not exists {self.table} (number bigint primary key)")
            cursor = connection.cursor()
            cursor.execute(f"select coalesce(max(number), 0) from {self.table}")
            self.next = cursor.fetchone()[0] + 1
        self.started = time.monotonic()
        self.thread.start()
        self.wait_for_writes(1)
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)

    def wait_for_writes(self, count):
        """Waits until that many more rows were acknowledged."""
        goal = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= goal,
                   lambda: f"{count} more rows written; last error: {self.errors[-1:]}")

    def longest_gap(self, since=None, until=None):
        """The longest time between two successful writes, in seconds. A gap that began before
        `since` or ended after `until` counts as a whole."""
        times = [at for _, at in self.acknowledged]
        gaps = [later - earlier for earlier, later in zip(times, times[1:])
                if (since is None or later > since) and (until is None or earlier < until)]
        return max(gaps, default=0.0)

    def missing(self):
        """The acknowledged numbers that are missing from the table."""
        with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=60)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"select number from {self.table}")
            present = {row[0] for row in cursor.fetchall()}
        return sorted(number for number, _ in self.acknowledged if number not in present)

    def _write(self):
        connection = None
        while not self.ended.is_set():
            number, self.next = self.next, self.next + 1
            try:
                if connection is None:
                    connection = psycopg2.connect(self.uri, async_=1)
                    self._finish(connection)
                cursor = connection.cursor()
                cursor.execute(f"insert into {self.table} values (%s)", (number,))
                self._finish(connection)
                self.acknowledged.append((number, time.monotonic()))
            except (psycopg2.Error, Failed, OSError) as error:
                text = str(error).strip().split("\n")[0]
                if not self.errors or self.errors[-1][1] != text:
                    self.errors.append((time.monotonic(), text))
                if connection is not None:
                    connection.close()
                    connection = None
            self.ended.wait(self.PAUSE)
        if connection is not None:
            connection.close()

    def _finish(self, connection):
        end = time.monotonic() + self.TIMEOUT
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            left = end - time.monotonic()
            if left <= 0:
                raise Failed("no answer from PostgreSQL in time")
            reads = [connection] if state == psycopg2.extensions.POLL_READ else []
            writes = [connection] if state == psycopg2.extensions.POLL_WRITE else []
            select.select(reads, writes, [], left)


def ask_postgresql(connect, statement, *values):
    """The rows of one statement on a connection of its own."""
    with contextlib.closing(connect()) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
