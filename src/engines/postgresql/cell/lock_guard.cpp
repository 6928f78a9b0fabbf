#include "engines/postgresql/cell/lock_guard.hpp"

#include <fmt/format.h>

namespace matriarch::engines::postgresql {

std::string lock_guard_text() {
  constexpr std::string_view text =
      R"(# Written by matriarch cell at each start of the node; changes made here are lost.
"""A leader whose lease has ended takes the leader's key again only if the key is still its own or is gone.
A Patroni for which that cannot be shown does not start."""

import importlib
import importlib.abc
import importlib.util
import os
import sys
import threading
import types

MODULE = 'patroni.dcs.etcd3'
CHECK = '@CHECK@'
HOLDS, REFUSED = @HOLDS@, @REFUSED@


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
            # Without a lease Patroni treats its lock as lost, which is the case.
            etcd._lease = None
        return done

    client.put = guarded_put


def leads_on(etcd3, successor, wins=False):
    """Whether a leader named old, whose lease has ended and which still believes that it leads, stays leader
    while the key is the successor's; `wins`: whether it wins an election then. Its Patroni talks to a
    simulated etcd that holds only this key."""
    from patroni.utils import Retry

    path = '/check/leader'
    key = etcd3.base64_encode(path)
    held = {} if successor is None else {key: etcd3.base64_encode(successor)}

    def carry_out(requests):
        answers = []
        for request in requests:
            if 'request_txn' in request:
                answers.append({'response_txn': transact(request['request_txn'])})
            elif 'request_put' in request:
                held[request['request_put']['key']] = request['request_put']['value']
                answers.append({'response_put': {}})
            else:
                raise RuntimeError('it asks etcd for %r' % sorted(request))
        return answers

    def true(compare):
        if compare['target'] == 'VALUE':
            return held.get(compare['key']) == compare['value']
        if compare['target'] == 'CREATE':
            return (compare['key'] in held) == (int(compare['create_revision']) != 0)
        raise RuntimeError('it compares %s' % compare['target'])

    def transact(asked):
        succeeded = all(true(compare) for compare in asked['compare'])
        answers = carry_out(asked.get('success', []) if succeeded else asked.get('failure', []))
        return {'header': {'revision': '9'}, 'responses': answers, **({'succeeded': True} if succeeded else {})}

    class Client(etcd3.PatroniEtcd3Client):
        username = password = _token = _kv_cache = None
        _cluster_version = (3, 4, 0)

        def __init__(self):
            pass

        def _restart_watcher(self):
            pass

        def call_rpc(self, method, fields, retry=None):
            if method == '/lease/keepalive':
                return {'result': {}}
            if method == '/lease/grant':
                return {'ID': '2'}
            if method == '/kv/put':
                carry_out([{'request_put': fields}])
                return {'header': {'revision': '9'}}
            if method == '/kv/txn':
                return transact(fields)
            raise RuntimeError('it asks etcd for %s' % method)

    believed = etcd3.Leader('1', '1', etcd3.Member('1', 'old', '1', {}))

    class Etcd(etcd3.Etcd3):
        leader_path = path
        cluster = types.SimpleNamespace(leader=believed)
        _name, _ttl, _loop_wait, _lease, _last_lease_refresh = 'old', 30, 10, '1', 0
        _retry = Retry(deadline=10, max_delay=1, max_tries=-1)
        _cluster_thread_lock = threading.Lock()

        def __init__(self):
            self._client = Client()
            self._client.configure(self)

    etcd = Etcd()
    if wins:
        done = etcd.attempt_to_acquire_leader()
    else:
        update = etcd._update_leader
        done = update(believed) if update.__code__.co_argcount > 1 else update()
    if bool(done) != (held.get(key) == etcd3.base64_encode('old')):
        raise RuntimeError('its answer about the key is wrong')
    return bool(done)


def fault_of(etcd3):
    """What this Patroni does wrong with the key; None if nothing."""
    try:
        if leads_on(etcd3, 'new') or leads_on(etcd3, 'new', wins=True):
            return 'it takes the key from a successor'
        if not leads_on(etcd3, 'old') or not leads_on(etcd3, None) or not leads_on(etcd3, None, wins=True):
            return 'it does not stay leader where it may'
    except Exception as trouble:
        return '%s: %s' % (type(trouble).__name__, trouble)
    return None


def secure(etcd3):
    # Versions after 3.0.2 compare by themselves.
    if fault_of(etcd3) is None:
        return
    try:
        guard(etcd3)
    except Exception as trouble:
        refuse('%s: %s' % (type(trouble).__name__, trouble))
    fault = fault_of(etcd3)
    if fault is not None:
        refuse(fault)


def refuse(why):
    print('this Patroni is not one that could be kept from taking the leader\'s key from a successor (%s); '
          'it is not started' % why, file=sys.stderr, flush=True)
    os._exit(REFUSED)


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
            secure(module)

        found.loader.exec_module = exec_module
        return found


sys.meta_path.insert(0, Finder())
if os.environ.get(CHECK):
    try:
        importlib.import_module(MODULE)
    except Exception as trouble:
        refuse('%s: %s' % (type(trouble).__name__, trouble))
    os._exit(HOLDS)
)";
  std::string made{text};
  auto fill = [&](std::string_view name, const std::string& value) {
    made.replace(made.find(name), name.size(), value);
  };
  fill("@CHECK@", std::string{lock_guard_check});
  fill("@HOLDS@", std::to_string(lock_guard_holds));
  fill("@REFUSED@", std::to_string(lock_guard_refused));
  return made;
}

} // namespace matriarch::engines::postgresql
