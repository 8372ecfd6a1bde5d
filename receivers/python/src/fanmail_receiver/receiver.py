"""Verifies requests."""

import base64
import binascii
import hashlib
import hmac
import logging
import re
import time
from typing import Any, Awaitable, Callable, Iterable, List, Mapping, Optional, Union

from . import asgi as _asgi
from . import wsgi as _wsgi
from .event import Event, parse
from .seen import Seen

# The longest body that is read by default: 1 MiB. An envelope of Fanmail has at most 256 KiB.
DEFAULT_MAX_BODY = 1 << 20

# How far the signed time may be from now, in either direction, in seconds.
TOLERANCE = 300

log = logging.getLogger("fanmail_receiver")


class SignatureError(ValueError):
    """The request is not signed by one of the secrets, or not within five minutes of now."""


class Receiver:
    """Verifies requests, before anything else is done with them.

    - secret: the signing secret of the webhook as Fanmail shows it, or those of several webhooks.
    - seen: drops duplicates, such as a Memory. Without it each request is handled.
    - max_body: the longest body that is read, in bytes.

    The signature is that of Standard Webhooks. It takes twenty lines with the standard library, so the package needs no
    other. Fanmail's test vectors check them.

    Neither an answer nor the log ("fanmail_receiver" of logging) has a secret, a signature or a body.
    """

    def __init__(self, secret: Union[str, Iterable[str]], *, seen: Optional[Seen] = None, max_body: int = DEFAULT_MAX_BODY) -> None:
        secrets: List[Any] = [secret] if isinstance(secret, str) else list(secret or [])
        if not secrets:
            raise ValueError("secret: there is no signing secret")
        self._keys = [_key(s) for s in secrets]
        self.seen = seen
        self.max_body = max_body

    def verify(self, headers: Mapping[str, str], body: bytes) -> Event:
        """Checks the signature of a request with the exact bytes of its body, and reads the event.

        Names of headers are in lower case, or the mapping ignores case. It raises a SignatureError or an EventError.
        """
        id, sent, given = (headers.get("webhook-" + name) or "" for name in ("id", "timestamp", "signature"))
        if not id or not given or not re.fullmatch(r"[0-9]{1,15}", sent):
            raise SignatureError("the request has no signature, or one without its id or time")
        if abs(int(time.time()) - int(sent)) > TOLERANCE:
            raise SignatureError("the signature's time is more than five minutes off; check the clock")
        text = f"{id}.{sent}.".encode() + body
        found = False
        for key in self._keys:
            expected = b"v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest())
            for signature in given.split(" "):
                found |= hmac.compare_digest(signature.encode(), expected)
        if not found:
            raise SignatureError("no signature matches a secret and the body")
        return parse(id, body)

    def wsgi(self, handle: Callable[[Event], Any]) -> _wsgi.Application:
        """Returns a WSGI application that calls handle with each event that is authentic and no duplicate.

        If handle returns, the answer is 204. If it raises an exception, the answer is 500, and Fanmail sends the event
        again. Fanmail waits 15 seconds: leave longer work to a queue.
        """
        return _wsgi.middleware(self, _wsgi.handler(handle))

    def wsgi_middleware(self, app: _wsgi.Application) -> _wsgi.Application:
        """Verifies requests before they come to app, which finds the event in environ["fanmail.event"].

        The body can be read again. An answer of 2xx means that the event is handled.
        """
        return _wsgi.middleware(self, app)

    def asgi(self, handle: Callable[[Event], Union[Any, Awaitable[Any]]]) -> _asgi.Application:
        """Returns an ASGI application, like wsgi. A handle that is no coroutine function is called in a thread."""
        return _asgi.middleware(self, _asgi.handler(handle))

    def asgi_middleware(self, app: _asgi.Application) -> _asgi.Application:
        """Verifies requests before they come to app, which finds the event in scope["fanmail.event"]. See wsgi_middleware."""
        return _asgi.middleware(self, app)


def _key(secret: Any) -> bytes:
    """Reads a secret. One that was brought along need not be base64 after "whsec_": its key is then its whole text."""
    if not isinstance(secret, str) or not secret or secret.startswith(("whpk_", "whsk_")):
        raise ValueError("secret: a signing secret is a text that is not empty, and no key of Ed25519 (whpk_, whsk_)")
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret[len("whsec_") :], validate=True)
            if key:
                return key
        except binascii.Error:
            pass
    return secret.encode()
