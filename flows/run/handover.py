"""How a command hands something to the flow run that it starts in its own process.

A flow that Prefect starts from a deployment is handed nothing: it then plans, starts its cluster and reports by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from badc.errors import BadcError

if TYPE_CHECKING:  # importing it takes seconds, during which the server can start
    from prefect import State

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


def error_of(run: Callable[[], State[Any]]) -> BadcError | None:
    """Run a flow to its end, and return why it ended badly, or None.

    Parameters
    ----------
    run
        Runs the flow and returns its final state.
    """
    from prefect.exceptions import Pause

    try:
        state = run()
        if state.is_completed():
            return None
        error = state.result(raise_on_failure=False)
    except Exception as caught:  # such as a server that is gone when the run's end is to be reported
        error = caught
        state = None
    except Pause:
        return BadcError("the flow run was suspended in Prefect")
    if isinstance(error, BadcError):
        return error
    reason = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else state and state.message
    return BadcError(f"the flow run ended early: {reason}")
