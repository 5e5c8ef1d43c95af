"""What made a result: its settings in clear, and their digest, the fingerprint.

Two results with different fingerprints are different results, and neither ever replaces the other unasked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

# The settings that are known of every result, also of one written before there were fingerprints.
RUNNER, MODEL_VERSION = "runner", "model_version"
# What says which channels were analysed: CHANNEL is the option, and CHOOSE_CHANNEL that HawkEars chooses by itself.
CHANNEL, CHOOSE_CHANNEL = "channel", "choose_channel"
# What CHANNEL says of several channels without a choice. Of one channel it says nothing, whatever was chosen.
ALL_CHANNELS = "all"
_DIGITS = 16
_MOST_LISTED = 6


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """Return the digest of settings: the first 16 hex digits of the SHA-256 of their JSON, its keys sorted."""
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_DIGITS]


def settings_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a chunk's JSON says about what made it.

    A file without `settings` is known by its runner and model version; everything else is unknown, thus absent.
    """
    told = document.get("settings")
    if isinstance(told, dict) and isinstance(document.get("fingerprint"), str):
        return told
    known = {RUNNER: document.get(RUNNER), MODEL_VERSION: document.get(MODEL_VERSION)}
    return {name: value for name, value in known.items() if value is not None}


def differing(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings in which a result differs from those asked for; none if it is what is asked for.

    A setting that is unknown on either side, thus absent, differs in nothing. Those of two runners do not compare.
    """
    if found.get(RUNNER) != asked.get(RUNNER):
        return [RUNNER]
    known = dict(found)
    if known.get(CHANNEL) == ALL_CHANNELS:
        known[CHANNEL] = None
    return [name for name, value in asked.items() if name in known and _plain(known[name]) != _plain(value)]


def differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return, one by one, how a result differs from those asked for (see `differing`)."""
    return [f"{name} {shown(found.get(name))}, asked for {shown(asked.get(name))}" for name in differing(found, asked)]


def differ_in_channels_only(found: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a result differs from those asked for only in the channels, of which some recordings have just one."""
    return set(differing(found, asked)) <= {CHANNEL, CHOOSE_CHANNEL}


def described(settings: Mapping[str, Any]) -> str:
    """Return settings for a person, in one line: model or runner, then what is set."""
    first = settings.get(MODEL_VERSION) or settings.get(RUNNER) or "unknown"
    rest = [
        f"{name} {shown(value)}"
        for name, value in settings.items()
        if name not in (RUNNER, MODEL_VERSION) and value not in (None, [], ())
    ]
    return ", ".join([str(first), *rest])


def mixed(parts: Sequence[tuple[Mapping[str, Any], str]]) -> str | None:
    """Return the sentence that says that a table mixes results of several settings, and which; None if it does not.

    Each part has its settings, and what is said of it. Recordings with one channel compare with a choice of channels.
    """
    channels: dict[str, set[str]] = {}
    for settings, _ in parts:
        others = {name: value for name, value in settings.items() if name not in (CHANNEL, CHOOSE_CHANNEL)}
        chosen = channels.setdefault(fingerprint_of(others), set())
        if settings.get(CHANNEL) is not None:
            chosen.add(fingerprint_of({name: settings.get(name) for name in (CHANNEL, CHOOSE_CHANNEL)}))
    if len(channels) < 2 and all(len(chosen) < 2 for chosen in channels.values()):
        return None
    told = "; ".join(f"{number}. {part}" for number, (_, part) in enumerate(parts, start=1))
    return f"these results were made with {len(parts)} different settings, which do not compare: {told}"


def shown(value: Any) -> str:
    """Return the value of a setting for a person; a long list by its number of entries."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        if len(value) > _MOST_LISTED:
            return f"{len(value)} entries ({fingerprint_of({'': list(value)})[:6]})"
        return " ".join(map(str, value)) or "none"
    return str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back: a tuple is a list there, and 0 and 0.0 are equal anyway."""
    return list(value) if isinstance(value, tuple) else value
