"""Channels together: what they share, and their mean."""

from __future__ import annotations

import numpy as np
import pytest

from badc.recordings.channels import cancelling, mean_of


@pytest.mark.parametrize("frames", [1, 16_384, 50_000])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_channels_cancel_by_their_variance_whatever_their_offset(frames: int, offset: float) -> None:
    sound = np.random.default_rng(1).normal(0, 0.01, frames).astype(np.float32)
    against = np.stack([sound + offset, -sound], axis=1).astype(np.float32)
    alone = np.stack([sound + offset, np.zeros(frames)], axis=1).astype(np.float32)

    assert bool(cancelling(against)) is (frames > 1)
    assert cancelling(alone) == ""
    assert cancelling(np.stack([sound, sound], axis=1)) == ""


def test_channels_without_anything_or_without_frames_do_not_cancel() -> None:
    assert cancelling(np.zeros((1000, 2), np.float32)) == ""
    assert cancelling(np.zeros((0, 2), np.float32)) == ""


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_mean_is_that_of_numpy(channels: int) -> None:
    samples = np.random.default_rng(2).uniform(-1, 1, (10_000, channels)).astype(np.float32)

    mean = mean_of(samples)

    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, samples.mean(axis=1, dtype=np.float64), atol=1e-7)
    if channels <= 2:
        np.testing.assert_array_equal(mean, samples.mean(axis=1))
