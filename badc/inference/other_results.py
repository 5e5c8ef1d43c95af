"""Results that other settings made: they are kept, and what would replace them is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from badc.detections.fingerprint import RUNNER, described, differences, differing, fingerprint_of
from badc.detections.result import Standing
from badc.errors import RequestError, listed, numbered
from badc.runners.registry import RUNNERS
from badc.runners.settings import options_that_made
from badc.runners.stub import StubSpec

OUTPUT_DIR = "--output-dir"


@dataclass(slots=True)
class OtherResults:
    """The results in a folder that other settings made than those `asked` for.

    `option` names another folder for them, and `what` is one of them, in words.
    """

    folder: Path
    asked: Mapping[str, Any]
    option: str = OUTPUT_DIR
    what: str = "result"
    _counts: Counter[str] = field(default_factory=Counter)
    _settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, standings: Iterable[Standing]) -> None:
        """Count those among these outputs."""
        for standing in standings:
            if standing.other is not None:
                key = fingerprint_of(standing.other)
                self._counts[key] += 1
                self._settings[key] = standing.other

    def merge(self, others: OtherResults) -> None:
        """Count those of another collection, too."""
        self._counts += others._counts
        self._settings |= others._settings

    def __len__(self) -> int:
        return self._counts.total()

    def may_go(self, replace_results: bool) -> bool:
        """Whether there are none, or they may be replaced: if that is asked for, and never by the stub."""
        return not self or (replace_results and self.asked.get(RUNNER) != StubSpec.name)

    def require_leave(self, replace_results: bool) -> None:
        """Raise RequestError unless they may be replaced."""
        if not self.may_go(replace_results):
            raise RequestError(self.refusal())

    def summary(self) -> str:
        """Return in a line what is there, and in what it differs."""
        key, _ = self._counts.most_common(1)[0]
        more = f", and of {len(self._counts) - 1} other kinds" if len(self._counts) > 1 else ""
        return f"{numbered(len(self), self.what)} of other settings{more}: {self._difference(key)}"

    def refusal(self) -> str:
        """Return what is there, what was asked for, in what they differ, and the ways out."""
        lines = [
            f"there: {described(self._settings[key])} ({numbered(number, 'chunk')}); differs: {self._difference(key)}"
            for key, number in self._counts.most_common()
        ]
        is_stub = self.asked.get(RUNNER) == StubSpec.name
        replacing = (
            "name a runner (the stub detects nothing, and never replaces a result)"
            if is_stub
            else "replace them with --replace-results"
        )
        made_by = sorted(filter(None, {options_that_made(settings) for settings in self._settings.values()}))
        # A choice of channels is also right for recordings with one channel, whose results do not tell it.
        same = [one for one in made_by if not any(other.startswith(f"{one} --channel ") for other in made_by)]
        continuing = f" To continue as those there were made, give {same[0]}." if len(same) == 1 else ""
        are = "is" if len(self) == 1 else "are"
        return (
            f"{self.folder}: {numbered(len(self), self.what)} there {are} of other settings than those asked for "
            f"({described(self.asked)}), and no result is replaced unasked. Write the new ones to another folder with "
            f"{self.option}, or {replacing}.{continuing}{self._no_run_needed()}\n{listed(lines)}"
        )

    def _no_run_needed(self) -> str:
        """Return that those there hold all that is asked for, if only a lower threshold made them."""
        names = {spec.threshold for spec in RUNNERS if spec.name == self.asked.get(RUNNER)} - {None}
        differ = {name for found in self._settings.values() for name in differing(found, self.asked)}
        if not names or not differ or not differ <= names:
            return ""
        (name,) = differ
        told = [found.get(name) for found in self._settings.values()]
        thresholds = [value for value in told if isinstance(value, int | float)]
        if len(thresholds) < len(told):  # another program's file may say anything
            return ""
        kept = max(thresholds)
        if kept >= self.asked[name]:
            return ""
        return (
            f" No new run is needed: those there have every detection from {kept} on, and --min-confidence "
            f"{self.asked[name]} of a report leaves out the lower ones."
        )

    def _difference(self, key: str) -> str:
        return "; ".join(differences(self._settings[key], self.asked))
