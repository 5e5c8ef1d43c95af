"""What of ONNX models needs no model: presets, and how large batches become."""

from __future__ import annotations

from collections.abc import Callable

from badc.runners.onnx.batches import BatchSize
from badc.runners.onnx.config import PRESETS, OnnxConfig


def test_the_presets_are_complete() -> None:
    for values in PRESETS.values():
        assert OnnxConfig(**values, output="x").sample_rate_hz == 32_000


def grow(seconds: Callable[[int], float], windows: int = 1000, most: int = 10**6) -> BatchSize:
    """Return the size that the search ends with, where a batch takes so long, and memory holds so many windows."""
    sizes = BatchSize()
    for _ in range(100):
        count = min(sizes.size, windows)
        if count > most:
            sizes.too_large(count)
        else:
            sizes.took(count, seconds(count), windows)
    assert sizes.settled
    return sizes


def test_batches_grow_while_that_is_faster_and_memory_holds() -> None:
    assert grow(lambda count: 0.1 + count * 0.01).size == 128  # more saves less than a twentieth
    assert grow(lambda count: count * 0.01).size == 1
    assert grow(lambda count: 0.1, most=100).size == 64
    assert grow(lambda count: 0.1, windows=20).size == 32  # all windows of a chunk at once
    assert grow(lambda count: 0.1).size == 512
