"""Fingerprints: equal exactly where all settings are that can change a detection, for every runner."""

from __future__ import annotations

import random
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from badc.detections.fingerprint import differing, fingerprint_of
from badc.runners.interface import RunnerSpec
from badc.runners.onnx.config import Normalize, OnnxConfig, Scores
from badc.runners.onnx.runner import Model
from badc.runners.registry import RUNNERS
from tests.properties.examples import examples, values_of

_LETTERS = st.text("abcXYZ 'é", min_size=1, max_size=8)
_SECONDS = st.floats(0.1, 5.0)
_CONFIGS = st.builds(
    OnnxConfig,
    sample_rate_hz=st.integers(8000, 48_000),
    window_s=st.floats(5.5, 9.0),
    scores=st.sampled_from(Scores),
    normalize=st.sampled_from(Normalize),
    output=_LETTERS,
    peak=_SECONDS,
    overlap_s=_SECONDS,
    embedding_output=st.none() | _LETTERS,
    batch_size=st.none() | st.integers(1, 9),
)
# Fields whose values are not of a plain kind.
_ODD_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "model": st.builds(Model, config=_CONFIGS),
    "places": st.none() | st.lists(st.tuples(_LETTERS, st.tuples(_SECONDS, _SECONDS)), max_size=2).map(tuple),
    "secrets": st.lists(st.tuples(_LETTERS, _LETTERS), max_size=2).map(tuple),
    "species": st.none() | st.lists(_LETTERS, max_size=3).map(tuple),
}
# What is aside, as others stand for it, and counts by its content or as the model's version.
_BY_CONTENT = {"model", "model_version", "places"}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[RunnerSpec, RunnerSpec, str]:
    """Draw a runner's settings, the same with another value of one field, and that field."""
    spec = draw(st.sampled_from([spec for spec in RUNNERS if spec.model_fields]))
    values = {name: draw(_values(spec, name)) for name in spec.model_fields}
    name = draw(st.sampled_from(sorted(spec.model_fields)))
    first = spec.model_construct(**values)
    return first, first.model_copy(update={name: draw(_values(spec, name))}), name


def _values(spec: type[RunnerSpec], name: str) -> st.SearchStrategy[Any]:
    return _ODD_FIELDS[name] if name in _ODD_FIELDS else values_of(spec.model_fields[name])


def _counted(spec: RunnerSpec, name: str) -> Any:
    """Return what of a field can change a detection."""
    value = getattr(spec, name)
    if isinstance(value, Model):
        aside = {"batch_size"} | (set() if value.config.normalize is Normalize.PEAK else {"peak"})
        return value.digest, value.labels_digest, value.config.model_dump(exclude=aside)
    return value if name in _BY_CONTENT or name not in {*spec.aside, "chunk_timeout_s"} else None


@examples(20, 3000)
@given(pairs())
def test_fingerprints_differ_exactly_with_what_can_change_a_detection(pair: tuple[RunnerSpec, RunnerSpec, str]) -> None:
    first, other, name = pair
    made, made_other = first.made_with(), other.made_with()
    are_same = _counted(first, name) == _counted(other, name)
    assert (fingerprint_of(made) == fingerprint_of(made_other)) == are_same
    as_read = orjson.loads(orjson.dumps(made))
    if are_same or made.keys() == made_other.keys():  # a setting that is not known differs in nothing
        assert (differing(as_read, made_other) == []) == are_same


@examples(8, 1000)
@given(pairs(), st.randoms())
def test_a_fingerprint_outlives_json_and_the_order_of_keys(
    pair: tuple[RunnerSpec, RunnerSpec, str], chance: random.Random
) -> None:
    items = list(orjson.loads(orjson.dumps(pair[0].made_with())).items())
    chance.shuffle(items)
    assert fingerprint_of(dict(items)) == fingerprint_of(pair[0].made_with())
