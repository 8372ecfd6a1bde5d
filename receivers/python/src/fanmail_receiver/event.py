"""The envelope of an event."""

import json
from dataclasses import dataclass
from typing import Any, Dict, cast


@dataclass(frozen=True)
class Event:
    """What a webhook sends."""

    # The type, such as "email.received". Tenants have types of their own. See data_of.
    type: str
    # "evt_…": the same at each attempt and replay.
    id: str
    # When the event was committed: RFC 3339, UTC.
    created_at: str
    # The version of the envelope's format.
    schema_version: str
    # A dict whose keys depend on the type.
    data: Any


class EventError(ValueError):
    """The signature is valid, and the body is no event."""


def parse(id: str, body: bytes) -> Event:
    """Reads the envelope of a verified request. It raises an EventError."""
    try:
        value = json.loads(body)
    except ValueError:
        raise EventError("the body is no JSON") from None
    given = cast("Dict[str, Any]", value) if isinstance(value, dict) else {}
    if not isinstance(given.get("type"), str) or not isinstance(given.get("data"), dict):
        raise EventError("the body is no event: type or data is missing")
    if given.get("id") != id:
        raise EventError("the event's id is not that of the header webhook-id")
    return Event(given["type"], id, str(given.get("created_at", "")), str(given.get("schema_version", "")), given["data"])
