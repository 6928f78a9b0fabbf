"""Single HTTP requests, and functions to make them with."""

import base64
import contextlib
import hashlib
import http.client
import json
import subprocess
import urllib.parse

from waiting import PATIENCE


def http_json(method, url, body=None, headers=None, auth=None, timeout=70, context=None):
    """One request on a connection of its own: (status, headers, JSON value or text). `auth` is a
    pair of user and password, or a bearer token; `context` is for https."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    sent = {"Connection": "close", **(headers or {})}
    if isinstance(auth, str):
        sent["Authorization"] = "Bearer " + auth
    elif auth:
        sent["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
    try:
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        with contextlib.suppress(ValueError):
            return answer.status, answer.headers, json.loads(text)
        return answer.status, answer.headers, text
    finally:
        connection.close()


def encoded(text):
    """Keys and values as etcd's JSON gateway wants them."""
    return base64.b64encode(text.encode()).decode()


def password_for(user):
    """A word that occurs nowhere else; the same each time."""
    return hashlib.sha256(f"the password of {user}".encode()).hexdigest()[:32]


def certificate_for(directory, address):
    """A self-signed certificate for an address: (certificate's file, key's file)."""
    certificate, key = directory / "certificate.pem", directory / "certificate-key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-subj", "/CN=matriarch", "-keyout", key, "-out", certificate,
                    "-addext", f"subjectAltName=IP:{address},IP:127.0.0.1"],
                   check=True, capture_output=True, timeout=PATIENCE)
    key.chmod(0o600)
    return certificate, key
