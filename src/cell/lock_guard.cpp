#include "cell/lock_guard.hpp"

namespace matriarch::cell {

std::string_view lock_guard_text() {
  return R"(# Written by matriarch cell at each start of the node; changes made here are lost.
"""A leader whose lease has ended takes the leader's key again only if it is still its own, or nobody's."""

import importlib.abc
import importlib.util
import sys

MODULE = 'patroni.dcs.etcd3'


def guard(etcd3):
    client = etcd3.PatroniEtcd3Client
    put = client.put
    compare = client._handle_auth_errors(client.txn)

    def guarded_put(self, key, value, lease=None, create_revision=None, mod_revision=None, retry=None):
        etcd = self._etcd3
        if not lease or key != etcd.leader_path or create_revision is not None or mod_revision is not None:
            return put(self, key, value, lease, create_revision, mod_revision, retry)
        fields = {'key': etcd3.base64_encode(key), 'value': etcd3.base64_encode(value)}
        done = compare(self, {**fields, 'target': 'VALUE'}, {'request_put': {**fields, 'lease': lease}}, retry) \
            or put(self, key, value, lease, 0, None, retry)
        if not done:
            # Without a lease Patroni takes its lock to be lost, which it is.
            etcd._lease = None
        return done

    client.put = guarded_put


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        execute = found.loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                guard(module)
            except AttributeError as missing:
                print('the leader key is not guarded, for this Patroni is another:', missing, file=sys.stderr)

        found.loader.exec_module = exec_module
        return found


sys.meta_path.insert(0, Finder())
)";
}

} // namespace matriarch::cell
