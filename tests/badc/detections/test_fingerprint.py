"""Fingerprints: which results are the same, which differ, and what is said about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.chunks.manifest import Chunk
from badc.detections.fingerprint import described, differences, fingerprint_of, settings_of
from badc.detections.result import ChunkResult, ResultStatus, Standing, standing_of, write_result

BIRDNET = {"runner": "birdnet", "model_version": "v2.4", "min_confidence": 0.25, "species": None}


def test_a_fingerprint_outlives_json_and_the_order_of_keys() -> None:
    settings = BIRDNET | {"overlap_s": 0.1 + 0.2, "words": ("a", "é"), "on": True, "n": 3}
    again = dict(reversed(json.loads(json.dumps(settings)).items()))
    assert fingerprint_of(again) == fingerprint_of(settings)
    assert differences(again, settings) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"min_confidence": 0.1}, "min_confidence 0.25, asked for 0.1"),
        ({"model_version": "v3"}, "model_version v2.4, asked for v3"),
        ({"species": ["Poecile atricapillus_Chickadee"]}, "species none, asked for Poecile atricapillus_Chickadee"),
        ({"species": [f"S{n}" for n in range(134)]}, "species none, asked for 134 entries ("),
        ({"runner": "hawkears"}, "runner birdnet, asked for hawkears"),
    ],
)
def test_each_setting_makes_another_result_and_is_named(change: dict[str, Any], said: str) -> None:
    assert fingerprint_of(BIRDNET | change) != fingerprint_of(BIRDNET)
    (found,) = differences(BIRDNET, BIRDNET | change)
    assert found.startswith(said)


def test_two_long_lists_are_told_apart_in_words() -> None:
    lists = [[f"S{n}" for n in range(first, first + 9)] for first in (0, 1)]
    one, other = (described(BIRDNET | {"species": names}) for names in lists)
    assert one != other


def test_what_is_unknown_does_not_differ() -> None:
    old = settings_of({"runner": "birdnet", "model_version": "v2.4", "detections": []})
    assert old == {"runner": "birdnet", "model_version": "v2.4"}
    assert differences(old, BIRDNET) == []
    assert differences(BIRDNET, {"runner": "birdnet"}) == []
    assert differences(old, BIRDNET | {"model_version": "v3"}) == ["model_version v2.4, asked for v3"]
    assert differences({}, BIRDNET) == ["runner none, asked for birdnet"]


@pytest.mark.parametrize("settings", [None, [], "x"])
def test_settings_that_are_none_count_as_unknown(settings: object) -> None:
    assert settings_of({"runner": "custom", "settings": settings, "fingerprint": "f"}) == {"runner": "custom"}


def test_a_file_says_what_made_it_in_clear_and_as_a_digest(tmp_path: Path, chunk: Callable[..., Chunk]) -> None:
    path = tmp_path / "r.json"
    write_result(path, ChunkResult(chunk(), "birdnet", ResultStatus.NO_DETECTIONS, settings=BIRDNET))
    document = json.loads(path.read_bytes())
    assert document["settings"] == BIRDNET
    assert document["fingerprint"] == fingerprint_of(BIRDNET)
    assert standing_of(path, chunk(), BIRDNET) == Standing()
    other = standing_of(path, chunk(), BIRDNET | {"min_confidence": 0.7})
    assert other.other == BIRDNET
    assert "min_confidence 0.25, asked for 0.7" in (other.problem or "")
    # Of other settings comes first: a result from before is one that would be replaced, too.
    assert standing_of(path, chunk(), BIRDNET | {"min_confidence": 0.7}, "2999-01-01T00:00:00Z").other == BIRDNET
    assert standing_of(path, chunk(), BIRDNET, "2999-01-01T00:00:00Z").other is None
