"""Run configurations: every option has a key, paths are found, what is not known is named."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badc.errors import RequestError
from badc.inference.config_file import effective_configuration, load_run_config, place_of, save_run_config
from badc.inference.settings import InferSettings
from badc.settings.model import option_name
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a run configuration into a folder of its own."""

    def write(text: str) -> Path:
        path = tmp_path / "configs" / "run.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_option_has_a_key_of_its_own_named_like_it() -> None:
    places = [place_of(name) for name in InferSettings.model_fields]
    assert len(set(places)) == len(places)
    for name in InferSettings.model_fields:
        table, key = place_of(name)
        option = option_name(name).removeprefix("--").replace("-", "_")
        assert (table, key) == ("hawkears", "extra_args") or option in (key, f"{table}_{key}", f"{key}_block")


def test_relative_paths_are_taken_from_the_dataset_root_else_from_the_file(
    config: Callable[[str], Path], tmp_path: Path
) -> None:
    text = '[runner]\nmanifest = "manifests/REC.csv"\noutput_dir = "out"\ntelemetry_log = "/logs/run.jsonl"\n'
    settings = load_run_config(config(text))
    assert settings.manifest == tmp_path / "configs" / "manifests" / "REC.csv"
    settings = load_run_config(config(f'{text}[paths]\ndataset_root = "../data"\n'))
    assert settings.dataset_root == tmp_path / "data"
    assert settings.manifest == tmp_path / "data" / "manifests" / "REC.csv"
    assert settings.output_dir == tmp_path / "data" / "out"
    assert settings.telemetry_log == Path("/logs/run.jsonl")


def test_hawkears_keys_become_words_of_its_command_line(config: Callable[[str], Path], tmp_path: Path) -> None:
    path = config(
        '[runner]\nmanifest = "m.csv"\nuse_hawkears = true\n[hawkears]\nmin_score = 0.7\nmodels = 3\nregion = "CA-AB"\n'
        'lat = 53.5\nlon = -113.5\ndate = "20230509"\ninclude = "species.txt"\nlow_band = false\n'
        'engine = "resident"\nextra_args = ["--threads", "1"]\n'
    )
    settings = load_run_config(path)
    assert settings.hawkears_arg == (
        *("--min_score", "0.7", "--models", "3", "--region", "CA-AB", "--lat", "53.5", "--lon", "-113.5"),
        *("--date", "20230509", "--include", str(path.parent / "species.txt"), "--no-low-band", "--threads", "1"),
    )
    assert settings.hawkears_engine == "resident"


def test_a_hawkears_table_is_ignored_while_another_runner_is_chosen(config: Callable[[str], Path]) -> None:
    path = config('[runner]\nmanifest = "m.csv"\nuse_birdnet = true\n[hawkears]\nmin_score = 0.7\n')
    assert load_run_config(path).hawkears_arg == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[runner]\nmax_gpu = 1", r"unknown key runner\.max_gpu; the nearest known one is runner\.max_gpus"),
        ("[hawkears]\nmax_gpus = 1", r"unknown key hawkears\.max_gpus; the nearest known one is runner\.max_gpus"),
        ("[runer]\nmax_gpus = 1", r"unknown table \[runer\]; the nearest known one is \[runner\]"),
        ("max_gpus = 1", r"unknown table \[max_gpus\]"),
        ("runner = 1", "runner is not a table"),
        ("[runner", "not TOML"),
        ("[runner]\nmax_gpus = 1", r"runner\.manifest: "),
        ('[runner]\nmanifest = "m"\nmax_retries = -1', r"runner\.max_retries: "),
        ('[runner]\nmanifest = "m"\nmax_retries = "two"', r"runner\.max_retries: "),
        ('[runner]\nmanifest = "m"\nuse_hawkears = true\n[hawkears]\nlow_band = 3', "true or false"),
        ('[runner]\nmanifest = "m"\nuse_hawkears = true\n[hawkears]\nregion = ["a"]', "one number or text"),
        ('[runner]\nmanifest = "m"\nuse_birdnet = true\nrunner_cmd = "x"', "exclude each other"),
    ],
)
def test_what_is_wrong_is_named(config: Callable[[str], Path], text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        load_run_config(config(text))


def test_a_file_that_is_not_there_or_not_text_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        load_run_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="not UTF-8"):
        load_run_config(tmp_path / "bytes.toml")


def test_set_replaces_what_the_file_says(config: Callable[[str], Path], tmp_path: Path) -> None:
    path = config('[runner]\nmanifest = "m.csv"\nmax_gpus = 4\n')
    settings = load_run_config(
        path, ["max_gpus=1", "runner.keep_going=true", "manifest=other one.csv", "paths.dataset_root=/data"]
    )
    assert (settings.max_gpus, settings.keep_going) == (1, True)
    assert settings.manifest == Path("/data/other one.csv")
    for change, reason in (("max_gpus", "key=value"), ("max_gpu=1", r"nearest known one is runner\.max_gpus")):
        with pytest.raises(RequestError, match=reason):
            load_run_config(path, [change])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"use_birdnet": True, "min_confidence": 0.1, "keep_going": True, "chunk_timeout_s": 2.5},
        {"use_hawkears": True, "hawkears_arg": ("--lon", "-113", "it's"), "hawkears_engine": "script"},
        {"runner_cmd": "do 'this \"thing\"' é", "output_dir": Path("out"), "max_gpus": 0, "scheduler": "tcp://a:1"},
    ],
)
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, values: dict[str, Any]) -> None:
    settings = InferSettings(manifest=tmp_path / "m.csv", **values)
    save_run_config(tmp_path / "deep" / "run.toml", settings)
    loaded = load_run_config(tmp_path / "deep" / "run.toml")
    assert loaded.model_dump(exclude={"output_dir"}) == settings.model_dump(exclude={"output_dir"})
    # A relative path was meant from the working directory, and stays that place.
    assert loaded.output_dir == (tmp_path / "out" if "output_dir" in values else None)


def test_inside_a_dataset_the_saved_paths_are_relative_to_it(tmp_path: Path) -> None:
    settings = InferSettings(manifest=tmp_path / "ds" / "manifests" / "m.csv", dataset_root=tmp_path / "ds")
    save_run_config(tmp_path / "ds" / "configs" / "run.toml", settings)
    document = tomllib.loads((tmp_path / "ds" / "configs" / "run.toml").read_text())
    assert document == {"runner": {"manifest": "manifests/m.csv"}, "paths": {"dataset_root": ".."}}
    assert load_run_config(tmp_path / "ds" / "configs" / "run.toml") == settings


def test_the_effective_configuration_holds_every_setting() -> None:
    document = effective_configuration(InferSettings(manifest=Path("m.csv"), use_birdnet=True))
    assert document["runner"]["max_retries"] == 2
    assert sum(map(len, document.values())) == len(InferSettings.model_fields)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_can_be_loaded(path: Path) -> None:
    assert load_run_config(path).manifest.is_absolute()
