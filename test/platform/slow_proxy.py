"""A TCP proxy between a program and its etcd, which makes etcd slow: the kernel has no means for that."""

import contextlib
import socket
import threading
import time


class SlowProxy:
    """Passes everything on, the answers `delay` seconds late; after cut() it refuses connections."""

    def __init__(self, listen, target):
        self.listen, self.target, self.delay = listen, target, 0.0
        self.connections = set()
        self.lock = threading.Lock()
        self.server = None
        self.join()

    @property
    def uri(self):
        return "http://{}:{}".format(*self.listen)

    def join(self):
        """Listens, at the start and after cut()."""
        self.server = socket.create_server(self.listen)
        threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def cut(self):
        """Ends every connection and accepts no more."""
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        with self.lock:
            ended, self.connections = self.connections, set()
        for one in ended:
            self._end(one)

    @staticmethod
    def _end(connection):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, server):
        while True:
            try:
                client = server.accept()[0]
            except OSError:
                return
            try:
                etcd = socket.create_connection(self.target, timeout=5)
            except OSError:
                client.close()
                continue
            etcd.settimeout(None)
            with self.lock:
                self.connections |= {client, etcd}
            threading.Thread(target=self._pass_on, args=(client, etcd, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(etcd, client, True), daemon=True).start()

    def _pass_on(self, source, sink, late):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if late and self.delay:
                    time.sleep(self.delay)  # this is the slowness itself
                sink.sendall(data)
        for one in (source, sink):
            self._end(one)
        with self.lock:
            self.connections -= {source, sink}
