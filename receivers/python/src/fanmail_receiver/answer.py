"""What a request is answered with."""

import logging
from http import HTTPStatus
from typing import NamedTuple

from .event import EventError

log = logging.getLogger("fanmail_receiver")


class Answer(NamedTuple):
    """A status and a plain text, without details of an error."""

    status: int
    text: str

    @property
    def line(self) -> str:
        """The status with its phrase, as in WSGI."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


DONE = Answer(204, "")
BUSY = Answer(409, "another request with this event is being handled")
NOT_HANDLED = Answer(500, "the event was not handled")
ONLY_POST = Answer(405, "only POST is allowed")


def refused(reason: Exception) -> Answer:
    """Answers a request that verify has refused."""
    if isinstance(reason, EventError):
        return refuse(400, "the body is no event", reason)
    return refuse(401, "the signature is not valid", reason)


def too_long(max_body: int) -> Answer:
    """Answers a request with too long a body."""
    return refuse(413, "the body is too long", f"more than {max_body} bytes")


def refuse(status: int, text: str, reason: object) -> Answer:
    """Logs why a request is refused."""
    log.warning("a request was refused with %d: %s", status, reason)
    return Answer(status, text)
