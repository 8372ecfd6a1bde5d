"""Tests the package over real HTTP: wsgiref for WSGI, uvicorn for ASGI."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import pathlib
import threading
import time
import unittest
import wsgiref.simple_server
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from unittest import mock

import uvicorn

from fanmail_receiver import Event, EventError, Memory, Receiver, SignatureError, State, data_of

ROOT = pathlib.Path(__file__).resolve().parents[3]
SECRET = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
OTHER = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
STRANGER = "whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
ID = "evt_00000000000000000000000000000001"


def envelope(type: str = "email.received", data: Any = None, id: str = ID) -> bytes:
    """The envelope of an event."""
    data = {"subject": "Grüße ✉"} if data is None else data
    return json.dumps({"type": type, "id": id, "created_at": "2027-01-15T08:00:00Z", "schema_version": "1", "data": data}).encode()


def signed(body: bytes, *secrets: str, seconds: int = 0) -> Dict[str, str]:
    """The headers of a body that is sent so many seconds from now."""
    at = int(time.time()) + seconds
    text = f"{ID}.{at}.".encode() + body
    sums = [hmac.new(base64.b64decode(s[len("whsec_") :]), text, hashlib.sha256).digest() for s in secrets or (SECRET,)]
    signature = " ".join("v1," + base64.b64encode(s).decode() for s in sums)
    return {"webhook-id": ID, "webhook-timestamp": str(at), "webhook-signature": signature}


class Server:
    """A receiver behind a server on a free port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def post(self, body: bytes, headers: Dict[str, str], method: str = "POST") -> Tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        with contextlib.closing(connection):
            connection.request(method, "/hooks", body, {"content-type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def status(self, body: bytes, headers: Dict[str, str]) -> int:
        return self.post(body, headers)[0]


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def wsgi(app: Any) -> Iterator[Server]:
    class Threads(wsgiref.simple_server.WSGIServer):
        def process_request(self, request: Any, address: Any) -> None:
            threading.Thread(target=self._answer, args=(request, address), daemon=True).start()

        def _answer(self, request: Any, address: Any) -> None:
            self.finish_request(request, address)
            self.shutdown_request(request)

    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, Threads, _Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Server(server.server_port)
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def asgi(app: Any) -> Iterator[Server]:
    started = threading.Event()
    ports: List[int] = []

    class Signalling(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            ports.extend(s.sockets[0].getsockname()[1] for s in self.servers)
            started.set()

        def install_signal_handlers(self) -> None:
            pass  # this is not the main thread

    server = Signalling(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on", loop="asyncio"))
    thread = threading.Thread(target=server.run)
    thread.start()
    if not started.wait(60) or not ports:
        raise RuntimeError("uvicorn did not start")
    try:
        yield Server(ports[0])
    finally:
        server.should_exit = True
        thread.join()


Serve = Callable[[Receiver, Callable[[Event], Any]], "contextlib.AbstractContextManager[Server]"]


async def _in_coroutine(handle: Callable[[Event], Any], event: Event) -> None:
    await asyncio.to_thread(handle, event)


def _asgi_coroutine(receiver: Receiver, handle: Callable[[Event], Any]) -> Any:
    async def handler(event: Event) -> None:
        await _in_coroutine(handle, event)

    return asgi(receiver.asgi(handler))


SERVERS: Dict[str, Serve] = {
    "WSGI": lambda receiver, handle: wsgi(receiver.wsgi(handle)),
    "ASGI": lambda receiver, handle: asgi(receiver.asgi(handle)),
    "ASGI, a coroutine": _asgi_coroutine,
}


class Applications(unittest.TestCase):
    def each(self, receiver: Callable[[], Receiver], handle: Callable[[Event], Any], check: Callable[[Server], None]) -> None:
        for name, serve in SERVERS.items():
            with self.subTest(name), serve(receiver(), handle) as server:
                check(server)

    def test_answers(self) -> None:
        events: List[Event] = []

        def handle(event: Event) -> None:
            if event.type == "fails.always":
                raise RuntimeError("the database is away")
            events.append(event)

        def receiver() -> Receiver:
            events.clear()
            return Receiver([OTHER, SECRET], max_body=1000)

        def check(server: Server) -> None:
            with self.assertLogs("fanmail_receiver") as logs:
                body = envelope()
                self.assertEqual(server.post(body, signed(body)), (204, ""))
                self.assertEqual(server.status(body, signed(body, OTHER)), 204)
                self.assertEqual(server.status(body, signed(body, STRANGER, SECRET)), 204, "while the secret is rotated")
                self.assertEqual(events, [Event("email.received", ID, "2027-01-15T08:00:00Z", "1", {"subject": "Grüße ✉"})] * 3)
                self.assertEqual(server.status(body, signed(body, STRANGER)), 401)
                self.assertEqual(server.status(body, {}), 401)
                self.assertEqual(server.status(body, signed(body, seconds=-301)), 401)
                self.assertEqual(server.status(body, signed(body, seconds=302)), 401)
                self.assertEqual(server.status(body + b" ", signed(body)), 401)
                self.assertEqual(server.status(body, {**signed(body), "webhook-signature": "v1"}), 401)
                self.assertEqual(server.status(body, {**signed(body), "webhook-timestamp": "soon"}), 401)
                for bad in (b"{", b"null", b"[]", b"", b"\xff", b'{"id":"%s"}' % ID.encode(), envelope("a.b", []), envelope("a.b", {}, "evt_2")):
                    self.assertEqual(server.status(bad, signed(bad)), 400, bad)
                long = envelope("a.b", {"text": "x" * 1000})
                self.assertEqual(server.status(long, signed(long)), 413)
                failing = envelope("fails.always")
                self.assertEqual(server.post(failing, signed(failing)), (500, "the event was not handled"))
                self.assertEqual(server.post(b"", {}, "GET")[0], 405)
                self.assertEqual(len(events), 3)
            said = "\n".join(logs.output)
            for says in ("no signature matches", "the body is no event", "the database is away", "more than 1000 bytes", "check the clock"):
                self.assertIn(says, said)
            for hides in ("AAAAA", "AwMDA", "v1,", "Grüße"):
                self.assertNotIn(hides, said)

        self.each(receiver, handle, check)

    def test_a_handled_event_is_handled_once(self) -> None:
        calls: List[str] = []
        memory = Memory()

        def handle(event: Event) -> None:
            calls.append(event.id)
            if len(calls) == 1:
                raise RuntimeError("not now")

        def receiver() -> Receiver:
            calls.clear()
            memory.forget(ID)
            return Receiver(SECRET, seen=memory)

        body = envelope()

        def check(server: Server) -> None:
            with self.assertLogs("fanmail_receiver"):
                self.assertEqual([server.status(body, signed(body)) for _ in range(4)], [500, 204, 204, 204])
            self.assertEqual(len(calls), 2)
            memory.forget(ID, "evt_unknown")
            self.assertEqual(server.status(body, signed(body)), 204)
            self.assertEqual(len(calls), 3)

        self.each(receiver, handle, check)

    def test_two_requests_with_one_event_are_not_handled_at_once(self) -> None:
        body = envelope()
        for name, serve in SERVERS.items():
            begun, end, first = threading.Event(), threading.Event(), []  # type: ignore[var-annotated]

            def handle(_: Event, begun: threading.Event = begun, end: threading.Event = end) -> None:
                begun.set()
                end.wait(60)

            with self.subTest(name), serve(Receiver(SECRET, seen=Memory()), handle) as server:
                thread = threading.Thread(target=lambda: first.append(server.status(body, signed(body))))
                thread.start()
                self.assertTrue(begun.wait(60))
                self.assertEqual(server.status(body, signed(body)), 409)
                end.set()
                thread.join()
                self.assertEqual(first, [204])
                self.assertEqual(server.status(body, signed(body)), 204)

    def test_a_store_that_fails(self) -> None:
        class Store:
            def __init__(self, at: str) -> None:
                self.at = at

            def begin(self, id: str) -> State:
                if self.at == "begin":
                    raise RuntimeError("no connection")
                return State.FRESH

            def end(self, id: str, handled: bool) -> None:
                raise RuntimeError("no connection")

        body = envelope()
        for at, status in (("begin", 500), ("end", 204)):
            handled: List[Event] = []

            def check(server: Server, status: int = status) -> None:
                with self.assertLogs("fanmail_receiver"):
                    self.assertEqual(server.status(body, signed(body)), status)

            self.each(lambda at=at: Receiver(SECRET, seen=Store(at)), handled.append, check)  # type: ignore[misc]
            self.assertEqual(len(handled), len(SERVERS) if at == "end" else 0)


class Middleware(unittest.TestCase):
    """The application behind the middleware answers, and its status decides."""

    statuses = (418, 500, 200)

    def check(self, server: Server, calls: List[Tuple[Event, bytes]]) -> None:
        body = envelope()
        self.assertEqual([server.status(body, signed(body)) for _ in range(4)], [418, 500, 200, 204])
        self.assertEqual([(e.id, b) for e, b in calls], [(ID, body)] * 3)
        with self.assertLogs("fanmail_receiver"):
            self.assertEqual(server.status(body, signed(body, OTHER)), 401)

    def test_wsgi(self) -> None:
        calls: List[Tuple[Event, bytes]] = []
        closed: List[bool] = []

        class Body(List[bytes]):
            def close(self) -> None:
                closed.append(True)

        def app(environ: Dict[str, Any], start_response: Any) -> List[bytes]:
            calls.append((environ["fanmail.event"], environ["wsgi.input"].read()))
            start_response(f"{self.statuses[len(calls) - 1]} Answered", [])
            return Body([b"taken"])

        with wsgi(Receiver(SECRET, seen=Memory()).wsgi_middleware(app)) as server:
            self.check(server, calls)
        self.assertEqual(len(closed), 3)

    def test_asgi(self) -> None:
        calls: List[Tuple[Event, bytes]] = []
        background = threading.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                while (await receive())["type"] != "lifespan.shutdown":
                    await send({"type": "lifespan.startup.complete"})
                await send({"type": "lifespan.shutdown.complete"})
                return
            calls.append((scope["fanmail.event"], (await receive())["body"]))
            await send({"type": "http.response.start", "status": self.statuses[len(calls) - 1], "headers": []})
            await send({"type": "http.response.body", "body": b"taken", "more_body": True})
            await send({"type": "http.response.body"})
            if len(calls) == 3:  # work after the answer: duplicates are known before
                await asyncio.to_thread(background.wait, 60)

        with asgi(Receiver(SECRET, seen=Memory()).asgi_middleware(app)) as server:
            self.check(server, calls)
            background.set()

    def test_an_asgi_store_may_be_a_coroutine(self) -> None:
        class Store:
            def __init__(self) -> None:
                self.memory = Memory()

            async def begin(self, id: str) -> State:
                return self.memory.begin(id)

            async def end(self, id: str, handled: bool) -> None:
                self.memory.end(id, handled)

        handled: List[Event] = []
        body = envelope()
        with asgi(Receiver(SECRET, seen=Store()).asgi(handled.append)) as server:
            self.assertEqual([server.status(body, signed(body)) for _ in range(2)], [204, 204])
        self.assertEqual(len(handled), 1)


class Verification(unittest.TestCase):
    def test_vectors(self) -> None:
        """They are those that Fanmail's own verifier keeps to. Each is verified at its own time."""
        vectors = json.loads((ROOT / "subscribers/signature/testdata/vectors.json").read_bytes())
        self.assertGreaterEqual(len(vectors), 15)
        for v in vectors:
            headers = {name.lower(): value for name, value in v["headers"].items()}
            verified: Optional[bool] = True
            with mock.patch("time.time", lambda now=v["now"]: now):
                try:
                    Receiver(v["secret"]).verify(headers, v["body"].encode())
                except SignatureError:
                    verified = False
                except EventError:
                    pass
            self.assertEqual(verified, v["standard"], v["name"])

    def test_secrets_are_checked(self) -> None:
        for secret in ("", [], [SECRET, ""], "whpk_AAAA", "whsk_AAAA", None, [None]):
            with self.assertRaises(ValueError) as raised:
                Receiver(secret)  # type: ignore[arg-type]
            self.assertNotIn("AAAA", str(raised.exception))

    def test_golden_envelopes_have_their_types(self) -> None:
        mails = 0
        for file in (ROOT / "events/testdata/envelopes").glob("*.json"):
            given = json.loads(file.read_bytes())
            event = Event(given["type"], given["id"], given["created_at"], given["schema_version"], given["data"])
            mail = data_of(event, "email.received")
            if mail is not None:
                mails += 1
                self.assertIsInstance(mail["subject"], str)
            self.assertIsNone(data_of(event, "email.sent"))
        self.assertGreater(mails, 0)

    def test_memory_remembers_the_newest(self) -> None:
        m = Memory(3)
        self.assertIs(m.begin("busy"), State.FRESH)
        for i in map(str, range(100)):
            self.assertEqual([m.begin(i), m.begin(i)], [State.FRESH, State.BUSY])
            m.end(i, True)
            self.assertIs(m.begin(i), State.DONE)
        self.assertEqual([m.begin("97"), m.begin("96"), m.begin("busy")], [State.DONE, State.FRESH, State.BUSY])
        m.end("busy", False)
        self.assertIs(m.begin("busy"), State.FRESH)
        self.assertRaises(ValueError, Memory, 0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    unittest.main()
