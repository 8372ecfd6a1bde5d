"""WSGI: Flask, Django, Pyramid and the like."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Optional

from .answer import BUSY, DONE, NOT_HANDLED, ONLY_POST, Answer, refuse, refused, too_long
from .event import Event
from .seen import Seen, State

if TYPE_CHECKING:
    from .receiver import Receiver

Environ = Dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

log = logging.getLogger("fanmail_receiver")


def handler(handle: Callable[[Event], Any]) -> Application:
    """Calls handle and answers 204, or 500 after an exception."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        event: Event = environ["fanmail.event"]
        try:
            handle(event)
        except Exception:
            log.exception("the event %s was not handled", event.id)
            return _send(NOT_HANDLED, start_response)
        return _send(DONE, start_response)

    return app


def middleware(receiver: Receiver, app: Application) -> Application:
    """Verifies requests, drops duplicates, and passes the rest to app."""

    def verified(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = _read(receiver, environ)
        if answer is not None:
            return _send(answer, start_response)
        if receiver.seen is None:
            return app(environ, start_response)
        event: Event = environ["fanmail.event"]
        try:
            state = receiver.seen.begin(event.id)
        except Exception:
            log.exception("it is not known whether the event %s was handled", event.id)
            return _send(NOT_HANDLED, start_response)
        if state is State.DONE:
            return _send(DONE, start_response)
        if state is State.BUSY:
            return _send(BUSY, start_response)
        return _once(receiver.seen, event, app, environ, start_response)

    return verified


def _read(receiver: Receiver, environ: Environ) -> Optional[Answer]:
    """Puts the verified event into environ, or returns why there is none."""
    if environ["REQUEST_METHOD"] != "POST":
        return ONLY_POST
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError as e:
        return refuse(400, "Content-Length is no number", e)
    if length > receiver.max_body:
        return too_long(receiver.max_body)
    body = environ["wsgi.input"].read(max(length, 0))
    headers = {name: environ.get("HTTP_" + name.upper().replace("-", "_"), "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    try:
        environ["fanmail.event"] = receiver.verify(headers, body)
    except ValueError as e:
        return refused(e)
    environ["wsgi.input"] = io.BytesIO(body)
    return None


def _once(seen: Seen, event: Event, app: Application, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Calls app, and remembers the event if the whole answer is there and its status is 2xx."""
    statuses: List[str] = []
    written: List[bytes] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        statuses.append(status)
        start_response(status, headers, exc_info)
        return written.append

    handled = False
    try:
        answer = app(environ, start)
        written.extend(answer)
        handled = bool(statuses) and statuses[-1].startswith("2")
    finally:
        try:
            seen.end(event.id, handled)
        except Exception:
            log.exception("it is not remembered whether the event %s was handled (%s)", event.id, handled)
    return _Body(written, getattr(answer, "close", None))


class _Body:
    """An answer that was read, and the close of the one that it was read from."""

    def __init__(self, parts: List[bytes], close: Optional[Callable[[], None]]) -> None:
        self._parts = parts
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        if self._close is not None:
            self._close()


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    if answer.status == 204:
        start_response(answer.line, [])
        return []
    headers = [("Content-Type", "text/plain; charset=utf-8")]
    if answer is ONLY_POST:
        headers.append(("Allow", "POST"))
    start_response(answer.line, headers)
    return [answer.text.encode()]
