"""The ids of a dataset's recordings: the stem of the file name, plus as much of the path as makes it unique.

Recorders name files by time, so two stations may have recordings of the same name. Their ids then start with the
folders' names: `siteA/20230509_094500.wav` and `siteB/20230509_094500.wav` become `siteA_20230509_094500` and
`siteB_20230509_094500`.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from badc.recordings.names import id_problem

# Room for `_chunk_<start_ms>_<end_ms>` after the id, up to 11 days.
_CHUNK_SUFFIX = "_chunk_999999999_999999999"


def assign_ids(
    paths: Iterable[str], known: Mapping[str, str], taken: Collection[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the ids of recordings by path, unique even if case is ignored, and by path why a name gives none.

    `paths` are those of all recordings below `audio`, not only of the wanted ones: the ids must not depend on what is
    wanted. Recordings keep the ids that they already have (`known`, by path); ids in `taken` are not given.
    """
    used = {_folded(identifier) for identifier in (*known.values(), *taken)}
    groups: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        parts = tuple(path.split("/"))
        groups.setdefault(_folded(_split(parts[-1])[0]), []).append(parts)
    ids: dict[str, str] = {}
    problems: dict[str, str] = {}
    for _, group in sorted(groups.items()):
        depths = _depths(group)
        for parts in sorted(group):
            path = "/".join(parts)
            if path in known:
                ids[path] = known[path]
            elif problem := id_problem(f"{_split(parts[-1])[0]}{_CHUNK_SUFFIX}"):
                problems[path] = problem
            else:
                ids[path] = next(c for c in _candidates(parts, *depths[parts]) if _is_free(c, used))
                used.add(_folded(ids[path]))
    return ids, problems


def _depths(group: list[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[int, bool]]:
    """Return, for each recording of a stem, how many folders distinguish it, and whether it also needs its suffix."""
    siblings = Counter(parts[:-1] for parts in group)
    found: dict[tuple[str, ...], tuple[int, bool]] = {}
    depth = 0
    left = group
    while left:
        tails = Counter(_tail(parts, depth) for parts in group)
        for parts in left:
            if tails[_tail(parts, depth)] == siblings[parts[:-1]]:
                found[parts] = (min(depth, len(parts) - 1), siblings[parts[:-1]] > 1)
        left = [parts for parts in left if parts not in found]
        depth += 1
    return found


def _tail(parts: tuple[str, ...], depth: int) -> tuple[str, ...]:
    """Return the last folders above a recording."""
    return parts[max(0, len(parts) - 1 - depth) : -1]


def _candidates(parts: tuple[str, ...], depth: int, with_suffix: bool) -> Iterator[str]:
    """Yield possible ids, shortest first; the last ones are certain to be free."""
    stem, suffix = _split(parts[-1])
    name = f"{stem}_{suffix[1:]}" if with_suffix else stem
    for more in range(depth, len(parts)):
        yield "_".join((*_tail(parts, more), name))
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()
    for length in (8, 16, 64):
        yield f"{'_'.join((*_tail(parts, depth), name))}_{digest[:length]}"
        yield f"{stem}_{digest[:length]}"
        yield digest[:length]


def _split(name: str) -> tuple[str, str]:
    """Return a file name's stem and suffix; a Path for each of 100,000 names would take seconds."""
    return os.path.splitext(name)  # noqa: PTH122


def _is_free(identifier: str, used: Collection[str]) -> bool:
    return _folded(identifier) not in used and id_problem(f"{identifier}{_CHUNK_SUFFIX}") is None


def _folded(text: str) -> str:
    """Return text as seen by file systems that ignore case, or know only one form of `é`."""
    return unicodedata.normalize("NFC", text).casefold()
