"""The call and the command line."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click

from hawkears.core import analyzer


@dataclass(frozen=True)
class Detection:
    species: str
    start_time: float
    end_time: float
    score: float


def analyze(
    cfg_path=None,
    input_path="",
    output_path="",
    rtype="audacity",
    date=None,
    region=None,
    include=None,
    min_score=None,
    label_field=None,
    quiet=False,
    *,
    return_results=False,
    recording_paths=None,
    raise_errors=False,
    data_root=None,
):
    assert recording_paths == [Path(input_path)]
    assert (return_results, raise_errors, label_field) == (True, True, "codes")
    config = SimpleNamespace(ckpt_folder=f"{data_root}/data/ckpt")
    analyzer.ClassManager(config)
    analyzer.Predictor(config.ckpt_folder, cfg=config)
    name = Path(input_path).name
    if "hang" in name:
        time.sleep(600)
    if "crash" in name:
        os._exit(9)
    if "broken" in name:
        raise ValueError(f"cannot decode {name}")
    score = 0.75 if date is None else int(date[-4:]) / 10_000
    found = (Detection("COYE", 0.25, 1.5, score), Detection("ZZZZ", 0.5, 10.25, 0.2))
    return SimpleNamespace(detections=[d for d in found if d.score >= (min_score or 0)])


@click.command(name="analyze")
@click.option("-i", "--input", "input_path")
@click.option("-m", "--min_score", "min_score", type=float)
@click.option("--include", type=click.Path(exists=True))
@click.option("--region")
@click.option("--date")
@click.option("--threads", "num_threads", type=int)
def _analyze_cmd(**options):
    raise AssertionError("the command itself is not run")
