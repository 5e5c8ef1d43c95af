"""The ids of a dataset's recordings: the stem of the file name, with as much of the path as it takes to be unique.

Recorders name files by time, so two stations have recordings of the same name. Their ids get the folders' names in
front: `siteA/20230509_094500.wav` and `siteB/20230509_094500.wav` become `siteA_20230509_094500` and
`siteB_20230509_094500`.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from badc.recordings.names import id_problem

# Room for `_chunk_<start_ms>_<end_ms>` behind the id, up to 11 days.
_CHUNK_SUFFIX = "_chunk_999999999_999999999"


def assign_ids(
    paths: Iterable[str], known: Mapping[str, str], taken: Collection[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the id of each recording, unique also where case is not told apart.

    Parameters
    ----------
    paths
        The recordings' paths below `audio`: of all recordings, not only those that are wanted, or the ids would depend
        on what is wanted.
    known
        The ids that recordings have already, by path. They keep them, whatever comes later.
    taken
        Further ids that must not be given.

    Returns
    -------
    ids, problems
        Ids by path, and for recordings whose name gives none the reason, by path.
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
    """Return for each recording of a stem how many folders tell it apart, and whether the suffix must help."""
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
    """Yield ids, the shortest that may do first; the last ones are certain to."""
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
    """Return the stem and the suffix of a file's name. A Path for each of 100,000 names takes seconds."""
    return os.path.splitext(name)  # noqa: PTH122


def _is_free(identifier: str, used: Collection[str]) -> bool:
    return _folded(identifier) not in used and id_problem(f"{identifier}{_CHUNK_SUFFIX}") is None


def _folded(text: str) -> str:
    """Return text as file systems that know no case, or only one form of `é`, see it."""
    return unicodedata.normalize("NFC", text).casefold()
