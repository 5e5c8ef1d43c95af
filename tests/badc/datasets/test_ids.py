"""Ids of a dataset's recordings: short, unique, and the same tomorrow."""

from __future__ import annotations

import itertools
import time
import unicodedata

import pytest

from badc.datasets.ids import assign_ids
from badc.recordings.names import id_problem


def ids_of(*paths: str, **known: str) -> dict[str, str]:
    ids, problems = assign_ids(paths, known)
    assert not problems
    return ids


def test_a_name_of_its_own_needs_no_folder() -> None:
    assert ids_of("siteA/a.wav", "siteB/b.flac", "c.mp3") == {"siteA/a.wav": "a", "siteB/b.flac": "b", "c.mp3": "c"}


def test_the_shortest_distinguishing_path_is_the_prefix() -> None:
    assert ids_of("siteA/20230509_094500.wav", "siteB/20230509_094500.wav") == {
        "siteA/20230509_094500.wav": "siteA_20230509_094500",
        "siteB/20230509_094500.wav": "siteB_20230509_094500",
    }
    assert ids_of("n/s1/x.wav", "n/s2/x.wav", "m/s2/x.wav", "x.wav") == {
        "n/s1/x.wav": "s1_x",
        "n/s2/x.wav": "n_s2_x",
        "m/s2/x.wav": "m_s2_x",
        "x.wav": "x",
    }


def test_two_formats_of_one_recording_are_told_apart_by_their_suffix() -> None:
    assert ids_of("s/x.wav", "s/x.flac") == {"s/x.wav": "x_wav", "s/x.flac": "x_flac"}
    assert ids_of("s/x.wav", "s/x.flac", "t/x.wav") == {"s/x.wav": "s_x_wav", "s/x.flac": "s_x_flac", "t/x.wav": "t_x"}


@pytest.mark.parametrize(
    "paths",
    [
        ["a_b/c.wav", "a/b_c.wav"],
        ["a_b/c.wav", "z/c.wav", "a/b_c.wav", "z/b_c.wav"],
        ["a/b/c.wav", "a_b/c.wav", "b/c.wav", "c.wav"],
        ["x.wav", "x.flac", "x_wav.wav", "x_flac.mp3"],
        ["s/x.wav", "x.wav", "t/s_x.wav", "s_x.wav"],
        ["s/X.wav", "S/x.wav", "s/x.WAV"],
        [f"{f}/é.wav" for f in "ab"] + [unicodedata.normalize("NFD", "a/é.flac")],
        ["/".join(("d",) * n + ("x.wav",)) for n in range(6)],
        [f"{'n' * 120}/{'m' * 120}{number}/{'s' * 200}.wav" for number in range(3)],
        [f"{a}_{b}/{c}_x.wav" for a, b, c in itertools.product("ab", repeat=3)]
        + [f"{a}/{b}_{c}_x.wav" for a, b, c in itertools.product("ab", repeat=3)],
    ],
)
def test_ids_are_unique_whatever_the_names(paths: list[str]) -> None:
    ids = ids_of(*paths)
    assert set(ids) == set(paths)
    folded = [unicodedata.normalize("NFC", identifier).casefold() for identifier in ids.values()]
    assert len(set(folded)) == len(paths), "also where case is not told apart"
    assert all(id_problem(f"{identifier}_chunk_0_60000") is None for identifier in ids.values())
    assert ids == ids_of(*reversed(paths)), "the order of the listing does not matter"


def test_hostile_names_are_kept(hostile_ids: tuple[str, ...]) -> None:
    paths = [f"{site}/{name}.wav" for name in hostile_ids for site in ("A", "B;x")]
    assert ids_of(*paths) == {path: path.removesuffix(".wav").replace("/", "_") for path in paths}


def test_a_recording_keeps_its_id_when_a_second_of_that_name_arrives() -> None:
    first = ids_of("siteA/x.wav")
    assert first == {"siteA/x.wav": "x"}
    both, _ = assign_ids(["siteA/x.wav", "siteB/x.wav"], first)
    assert both == {"siteA/x.wav": "x", "siteB/x.wav": "siteB_x"}
    three, _ = assign_ids(["siteA/x.wav", "siteB/x.wav", "north/siteB/x.wav", "x.wav"], both)
    assert {path: three[path] for path in both} == both
    assert three["north/siteB/x.wav"] == "north_siteB_x"
    assert three["x.wav"] not in both.values()


def test_an_id_that_is_taken_by_a_recording_that_is_gone_is_not_given_again() -> None:
    ids, _ = assign_ids(["siteB/x.wav"], {"siteA/x.wav": "x"})
    assert ids == {"siteB/x.wav": "siteB_x"}
    ids, _ = assign_ids(["x.wav"], {}, taken=["X"])
    assert ids["x.wav"].casefold() != "x"


def test_a_name_that_can_be_no_id_is_a_problem_of_its_own() -> None:
    ids, problems = assign_ids([f"{'n' * 240}.wav", "ok.wav"], {})
    assert ids == {"ok.wav": "ok"}
    assert "longer than" in problems[f"{'n' * 240}.wav"]


def test_many_recordings_of_few_names_take_no_quadratic_time() -> None:
    def seconds(sites: int) -> float:
        paths = [f"area{s % 7}/site{s}/x{n}.wav" for s in range(sites) for n in range(4)]
        begin = time.process_time()
        ids = ids_of(*paths)
        assert len(set(ids.values())) == len(paths)
        assert ids["area1/site1/x2.wav"] == "site1_x2"
        return time.process_time() - begin

    assert seconds(8000) < 40 * seconds(800) + 1.0, "ten times as many; quadratic would be a hundred times as long"
