"""How a command hands something to the flow run that it starts in its own process.

A flow that Prefect starts from a deployment is handed nothing: it then plans, starts its cluster and reports by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

Session = TypeVar("Session")


class Handover(Generic[Session]):
    """A place in the context for one kind of session.

    Parameters
    ----------
    name
        Its name, for a debugger.
    """

    def __init__(self, name: str) -> None:
        self._session: ContextVar[Session | None] = ContextVar(name, default=None)

    @contextmanager
    def giving(self, session: Session) -> Iterator[None]:
        """Let the next flow run of this context have `session`."""
        token = self._session.set(session)
        try:
            yield
        finally:
            self._session.reset(token)

    def taken(self) -> Session | None:
        """Return the session of the command that started this flow run, or None."""
        return self._session.get()
