"""ASGI: FastAPI, Starlette, Django and the like."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Awaitable, Callable, MutableMapping, Optional, Union

from .answer import BUSY, DONE, NOT_HANDLED, ONLY_POST, Answer, refused, too_long
from .event import Event
from .seen import Seen, State

if TYPE_CHECKING:
    from .receiver import Receiver

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("fanmail_receiver")


def handler(handle: Callable[[Event], Union[Any, Awaitable[Any]]]) -> Application:
    """Calls handle and answers 204, or 500 after an exception."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        event: Event = scope["fanmail.event"]
        try:
            if inspect.iscoroutinefunction(handle):
                await handle(event)
            else:
                await asyncio.to_thread(handle, event)
        except Exception:
            log.exception("the event %s was not handled", event.id)
            await _send(NOT_HANDLED, send)
            return
        await _send(DONE, send)

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    """Agrees to the start and to the end of the server."""
    while True:
        kind = (await receive())["type"]
        await send({"type": kind + ".complete"})
        if kind == "lifespan.shutdown":
            return


def middleware(receiver: Receiver, app: Application) -> Application:
    """Verifies requests, drops duplicates, and passes the rest to app."""

    async def verified(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"a receiver of webhooks takes HTTP alone, not {scope['type']}")
        if scope["method"] != "POST":
            await _send(ONLY_POST, send)
            return
        body = await _read(receive, receiver.max_body)
        if body is None:
            await _send(too_long(receiver.max_body), send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            event = receiver.verify(headers, body)
        except ValueError as e:
            await _send(refused(e), send)
            return
        scope = dict(scope, **{"fanmail.event": event})
        await _once(receiver.seen, event, app, scope, _again(body, receive), send)

    return verified


async def _read(receive: Receive, max_body: int) -> Optional[bytes]:
    """Returns the body, or None if it is too long. That of a client that has gone is incomplete, and does not verify."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > max_body:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Lets the body be read again."""
    read = False

    async def again() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _once(seen: Optional[Seen], event: Event, app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Calls app unless the event is a duplicate, and remembers it if the whole answer is there and its status is 2xx.

    It is remembered before the end of the answer is sent: app may work on after that, in background tasks.
    """
    if seen is None:
        await app(scope, receive, send)
        return
    store: Seen = seen
    try:
        state = await _value(store.begin(event.id))
    except Exception:
        log.exception("it is not known whether the event %s was handled", event.id)
        await _send(NOT_HANDLED, send)
        return
    if state is not State.FRESH:
        await _send(DONE if state is State.DONE else BUSY, send)
        return
    started: Optional[Message] = None  # held back, so that the client has no answer before the event is remembered
    status, ended = 0, False

    async def end(handled: bool) -> None:
        nonlocal ended
        ended = True
        try:
            await _value(store.end(event.id, handled))
        except Exception:
            log.exception("it is not remembered whether the event %s was handled (%s)", event.id, handled)

    async def watch(message: Message) -> None:
        nonlocal started, status
        if message["type"] == "http.response.start":
            started, status = message, message["status"]
            return
        if message["type"] == "http.response.body" and not message.get("more_body") and not ended:
            await end(200 <= status < 300)
        if started is not None:
            start, started = started, None
            await send(start)
        await send(message)

    try:
        await app(scope, receive, watch)
    finally:
        if not ended:
            await end(False)


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given


async def _send(answer: Answer, send: Send) -> None:
    headers = [] if answer.status == 204 else [(b"content-type", b"text/plain; charset=utf-8")]
    if answer is ONLY_POST:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.text.encode()})
