"""Workers that fail chunks which others can do: such as one whose GPU is broken."""

from __future__ import annotations

from dataclasses import dataclass, field

# So many chunks, with no success of the worker between them.
MOST_IN_A_ROW = 3


@dataclass(slots=True)
class _Suspect:
    label: str
    error: str = ""
    failed: set[str] = field(default_factory=set)
    done_by_others: int = 0


class Suspicions:
    """What workers, by their addresses, failed since their last success.

    A chunk that fails everywhere says nothing about a worker; only one that another then does counts.
    """

    def __init__(self) -> None:
        self._suspects: dict[str, _Suspect] = {}

    def failed(self, worker: str, label: str, chunk: str, error: str) -> None:
        """Note that a chunk failed on a worker, of which people know the `label`."""
        suspect = self._suspects.setdefault(worker, _Suspect(label))
        suspect.error = error
        suspect.failed.add(chunk)

    def succeeded(self, worker: str, chunk: str) -> dict[str, tuple[str, str]]:
        """Note that a worker did a chunk; return the workers that should get no more, each with its label and why."""
        self._suspects.pop(worker, None)
        bad: dict[str, tuple[str, str]] = {}
        for address, suspect in self._suspects.items():
            if chunk in suspect.failed:
                suspect.failed.remove(chunk)
                suspect.done_by_others += 1
                if suspect.done_by_others == MOST_IN_A_ROW:
                    why = f"{MOST_IN_A_ROW} in a row failed there and succeeded elsewhere ({suspect.error})"
                    bad[address] = suspect.label, why
        return bad
