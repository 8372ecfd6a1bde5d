"""Receives Fanmail's webhooks: verifies requests, drops duplicates, and has types of the events' data.

    receiver = Receiver(secret, seen=Memory())

    def handle(event):
        mail = data_of(event, "email.received")
        if mail is not None:
            print(mail["subject"])

    app = receiver.wsgi(handle)  # or receiver.asgi(handle)

An exception of ``handle`` makes Fanmail send the event again. It needs the standard library alone.
"""

from .data import data_of
from .event import Event, EventError
from .receiver import DEFAULT_MAX_BODY, Receiver, SignatureError
from .seen import DEFAULT_MEMORY, Memory, Seen, State

__all__ = [
    "DEFAULT_MAX_BODY",
    "DEFAULT_MEMORY",
    "Event",
    "EventError",
    "Memory",
    "Receiver",
    "Seen",
    "SignatureError",
    "State",
    "data_of",
]
