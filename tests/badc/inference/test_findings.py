"""What a run gathers while it goes: labels and GPUs, in a size that does not grow."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from badc.detections.result import Detection
from badc.inference.findings import GpuUse, RunFindings, label_counts
from tasks.show.sparkline import as_data_uri, sparkline_png


def detection(label: str, confidence: float | None, name: str | None = None) -> Detection:
    return Detection(label=label, confidence=confidence, timestamp_ms=0, end_ms=1, label_name=name)


def test_labels_are_counted_over_chunks() -> None:
    findings = RunFindings()
    findings.add_labels(
        label_counts([detection("TEWA", 0.8, "Tennessee Warbler"), detection("TEWA", 0.4, "Tennessee Warbler")])
    )
    findings.add_labels(label_counts([detection("TEWA", 0.9, "Tennessee Warbler"), detection("noise", None)]))
    (label, warbler), (_, noise) = findings.top_labels(5)
    assert (label, warbler.detections, warbler.confidence_max) == ("Tennessee Warbler", 3, 0.9)
    assert warbler.confidence_mean == pytest.approx(0.7)
    assert (noise.detections, noise.confidence_mean) == (1, None)
    assert [name for name, _ in findings.top_labels(1)] == ["Tennessee Warbler"]


def metrics(load: int | None, used: int = 100) -> dict:
    reading = {"utilization": load, "memory_used_mb": used, "memory_total_mb": 1000}
    return {"before": reading, "after": reading, "peak": reading, "mean": reading}


def test_a_gpus_history_stays_small_and_keeps_its_mean() -> None:
    use = GpuUse("Simulated GPU")
    for chunk in range(10_000):
        use.add(metrics(100 if chunk < 5000 else 0, used=chunk))
    assert 60 <= len(use.history) < 240
    assert use.utilization_mean == pytest.approx(50)
    assert use.history[0] == 100
    assert use.history[-1] == 0
    assert (use.memory_used_mb, use.memory_total_mb, use.utilization) == (9999, 1000, 0)


def test_a_driver_that_tells_nothing_is_no_load_of_zero() -> None:
    findings = RunFindings()
    findings.add_gpu("gpu-0", "MIG", metrics(None))
    findings.add_gpu("gpu-1", "lost", {"before": None, "after": None, "peak": None, "mean": None})
    findings.add_gpu("cpu-0", None, None)
    assert set(findings.gpus) == {"gpu-0", "gpu-1"}
    assert findings.gpus["gpu-0"].utilization_mean is None
    assert findings.gpus["gpu-1"].memory_used_mb is None


@pytest.mark.parametrize("values", [[], [50.0], [0.0, 100.0], [float(n % 101) for n in range(240)]])
def test_a_sparkline_is_a_small_picture_of_the_values(values: list[float]) -> None:
    png = sparkline_png(values, 100.0)
    assert len(png) < 4000
    assert as_data_uri(png).startswith("data:image/png;base64,")
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    assert picture.size == (240, 32)
    drawn = {picture.getpixel((x, 31)) for x in range(240)}
    assert (drawn == {(255, 255, 255)}) == (values == [])


def test_the_line_goes_where_the_values_go() -> None:
    picture = Image.open(io.BytesIO(sparkline_png([0.0, 100.0], 100.0))).convert("RGB")
    white = (255, 255, 255)
    assert picture.getpixel((5, 2)) == white
    assert picture.getpixel((236, 16)) != white
