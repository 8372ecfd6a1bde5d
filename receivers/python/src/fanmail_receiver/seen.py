"""Remembers which events were handled."""

import enum
import threading
from typing import Awaitable, Dict, Protocol, Set, Union


class State(enum.Enum):
    """What a Seen knows of an event."""

    # Nothing. The caller handles it and then calls end.
    FRESH = "fresh"
    # Another request with the event is being handled. It gets a 409, so that Fanmail tries again if the other one fails.
    BUSY = "busy"
    # It was handled. It gets a 204.
    DONE = "done"


class Seen(Protocol):
    """Remembers by id which events were handled, because Fanmail sends each at least once.

    A replay sends events again under their ids. If it is to have an effect, forget them before. Under ASGI the methods
    may be coroutines.
    """

    def begin(self, id: str) -> Union[State, Awaitable[State]]:
        """Says what is known of the event, and marks one that is FRESH as BUSY.

        A store that outlives the process lets the mark expire, after a minute say: the process may die before it calls
        end. An exception is answered with 500.
        """
        ...

    def end(self, id: str, handled: bool) -> Union[None, Awaitable[None]]:
        """Marks a BUSY event as DONE if it was handled, and forgets it if not."""
        ...


# How many handled events a Memory remembers by default.
DEFAULT_MEMORY = 10_000


class Memory:
    """A Seen for one process. It remembers the newest events that were handled. Threads may share it."""

    def __init__(self, events: int = DEFAULT_MEMORY) -> None:
        if events < 1:
            raise ValueError("events: at least 1")
        self._size = events
        self._lock = threading.Lock()
        self._busy: Set[str] = set()
        self._done: Dict[str, None] = {}  # in the order in which they were handled

    def begin(self, id: str) -> State:
        """See Seen."""
        with self._lock:
            if id in self._done:
                return State.DONE
            if id in self._busy:
                return State.BUSY
            self._busy.add(id)
            return State.FRESH

    def end(self, id: str, handled: bool) -> None:
        """See Seen."""
        with self._lock:
            if id not in self._busy:
                return
            self._busy.discard(id)
            if not handled:
                return
            self._done[id] = None
            if len(self._done) > self._size:
                del self._done[next(iter(self._done))]

    def forget(self, *ids: str) -> None:
        """Forgets events, so that a replay of them is handled."""
        with self._lock:
            for id in ids:
                self._done.pop(id, None)
