#include "engines/postgresql/cell/rest_limits.hpp"

namespace matriarch::engines::postgresql {

std::string rest_limits_text() {
  return R"(# Written by matriarch cell at each start of the node; changes made here are lost.
"""Keeps clients with idle connections to Patroni's REST API from holding up others."""

import importlib.abc
import importlib.util
import socket
import sys
import threading

MODULE = 'patroni.api'
# A new connection waits behind all of these, a millisecond or two each. A connection beyond them is retried
# after a second.
QUEUE = 256
# Seconds between two signs of life. Checks and the broker answer within milliseconds.
PATIENCE = 10
# A waiting thread takes about 80 kB.
MOST_IDLE = 1500


def limit(api):
    server, handler = api.RestApiServer, api.RestApiHandler
    process, shut, parse = server.process_request_thread, server.shutdown_request, handler.parse_request
    # Connections that can be closed without loss: no request has come yet, or it has been answered.
    idle = {}
    lock = threading.Lock()

    def note_idle(request):
        with lock:
            idle[request] = None
            oldest = next(iter(idle)) if len(idle) > MOST_IDLE else None
            idle.pop(oldest, None)
        if oldest is not None:
            try:
                # Not SSLSocket's own method, which discards state that its thread may be using.
                socket.socket.shutdown(oldest, socket.SHUT_RDWR)
            except OSError:
                pass

    def note_busy(request):
        with lock:
            idle.pop(request, None)

    def limited_process(self, request, client_address):
        try:
            request.settimeout(PATIENCE)
            note_idle(request)
            process(self, request, client_address)
        except OSError:
            # A failed handshake.
            self.close_request(request)
        finally:
            note_busy(request)

    def limited_shut(self, request):
        note_idle(request)
        try:
            shut(self, request)
        finally:
            note_busy(request)

    def limited_parse(self):
        parsed = parse(self)
        if parsed:
            note_busy(self.request)
        return parsed

    server.request_queue_size = QUEUE
    server.process_request_thread = limited_process
    server.shutdown_request = limited_shut
    handler.parse_request = limited_parse
    handler.timeout = PATIENCE


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        if found is None:
            return None
        execute = found.loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                limit(module)
            except Exception as trouble:
                print('this Patroni\'s REST API stays without limits (%s: %s)' % (type(trouble).__name__, trouble),
                      file=sys.stderr, flush=True)

        found.loader.exec_module = exec_module
        return found


sys.meta_path.insert(0, Finder())
)";
}

} // namespace matriarch::engines::postgresql
