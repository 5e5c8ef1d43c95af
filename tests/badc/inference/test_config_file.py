"""Run configurations: every option has a key, paths are found, what is not known is named."""

from __future__ import annotations

import re
import shutil
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


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are looked for here first; what most files below name is beside them."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    touch(tmp_path / "configs", "m.csv", "m", "species.txt")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_relative_paths_are_looked_for_here_then_in_the_dataset_then_beside_the_file(
    config: Callable[[str], Path], tmp_path: Path
) -> None:
    text = '[runner]\nmanifest = "manifests/REC.csv"\n[paths]\ndataset_root = "../data"\n'
    places = [tmp_path / name / "manifests" / "REC.csv" for name in ("configs", "data", "cwd")]
    (tmp_path / "data").mkdir()
    tried = ", ".join(map(str, reversed(places)))
    with pytest.raises(RequestError, match=rf"runner\.manifest: no such file or folder; tried {re.escape(tried)}$"):
        load_run_config(config(text))
    for place in places:  # the last one that is made comes first
        touch(place.parent, place.name)
        assert load_run_config(config(text)).manifest == place
    assert load_run_config(config(text)).dataset_root == tmp_path / "data"
    with pytest.raises(RequestError, match=rf"paths\.dataset_root: .*tried {tmp_path}/cwd/no, {tmp_path}/configs/no$"):
        load_run_config(config('[runner]\nmanifest = "m.csv"\n[paths]\ndataset_root = "no"\n'))


def test_a_dropped_file_is_found_and_an_absolute_path_is_itself(config: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "cwd" / "m.csv").symlink_to(".git/annex/objects/MD5E-s9--0a")
    assert load_run_config(config('[runner]\nmanifest = "m.csv"\n')).manifest == tmp_path / "cwd" / "m.csv"
    settings = load_run_config(config('[runner]\nmanifest = "m.csv"\ntelemetry_log = "/logs/run.jsonl"\n'))
    assert settings.telemetry_log == Path("/logs/run.jsonl")
    with pytest.raises(RequestError, match=r"tried /nowhere/m\.csv$"):
        load_run_config(config('[runner]\nmanifest = "/nowhere/m.csv"\n'))


def test_a_file_may_name_the_dataset_in_every_path(config: Callable[[str], Path], tmp_path: Path) -> None:
    """As the reference's `configs/hawkears-local.toml` does, which is read from the folder above `data`."""
    dataset = tmp_path / "cwd" / "data" / "datalad" / "bogus"
    touch(dataset, "manifests/REC.csv")
    settings = load_run_config(
        config(
            '[runner]\nmanifest = "data/datalad/bogus/manifests/REC.csv"\nuse_hawkears = true\nmax_gpus = 1\n'
            'cpu_workers = 1\noutput_dir = "data/datalad/bogus/artifacts/infer"\n'
            'telemetry_log = "data/datalad/bogus/artifacts/telemetry/REC_local.jsonl"\n'
            '[hawkears]\nextra_args = ["--min_score", "0.75", "--band", "1"]\n'
            '[paths]\ndataset_root = "data/datalad/bogus"\n'
        )
    )
    assert settings.dataset_root == dataset
    assert settings.manifest == dataset / "manifests" / "REC.csv"
    assert settings.output_dir == dataset / "artifacts" / "infer"
    assert settings.telemetry_log == dataset / "artifacts" / "telemetry" / "REC_local.jsonl"
    assert settings.hawkears_arg == ("--min_score", "0.75", "--band", "1")
    assert (settings.max_gpus, settings.cpu_workers) == (1, 1)


def test_outputs_need_not_be_there(config: Callable[[str], Path], tmp_path: Path) -> None:
    text = '[runner]\nmanifest = "m.csv"\noutput_dir = "artifacts/infer"\n'
    in_data = f'{text}[paths]\ndataset_root = "../data"\n'
    (tmp_path / "data").mkdir()
    assert load_run_config(config(text)).output_dir == tmp_path / "cwd" / "artifacts" / "infer"
    assert load_run_config(config(in_data)).output_dir == tmp_path / "data" / "artifacts" / "infer"
    (tmp_path / "configs" / "artifacts").mkdir()
    assert load_run_config(config(text)).output_dir == tmp_path / "configs" / "artifacts" / "infer"
    (tmp_path / "cwd" / "artifacts" / "infer").mkdir(parents=True)
    assert load_run_config(config(in_data)).output_dir == tmp_path / "cwd" / "artifacts" / "infer"


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
        ('[runner]\nmanifest = "m"\noutput_dir = "a\\u0000b"', "a path has no NUL in it"),
        (
            '[runner]\nmanifest = "m"\nuse_hawkears = true\n[hawkears]\nextra_args = "--x"\nmin_score = 0.7',
            r"hawkears\.extra_args: Input should be a valid tuple",
        ),
        (
            '[runner]\nmanifest = "m"\nuse_birdnet = true\nuse_hawkears = false',
            "--use-birdnet and --stub-runner exclude",
        ),
    ],
)
def test_what_is_wrong_is_named(config: Callable[[str], Path], text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        load_run_config(config(text))


def test_a_file_that_is_not_there_or_not_text_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such run configuration"):
        load_run_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="not UTF-8"):
        load_run_config(tmp_path / "bytes.toml")


def test_set_replaces_what_the_file_says(config: Callable[[str], Path], tmp_path: Path) -> None:
    path = config('[runner]\nmanifest = "m.csv"\nmax_gpus = 4\n')
    data = tmp_path / "data"
    touch(data, "other one.csv")
    settings = load_run_config(
        path, ["max_gpus=1", "runner.keep_going=true", "manifest=other one.csv", f"paths.dataset_root={data}"]
    )
    assert (settings.max_gpus, settings.keep_going) == (1, True)
    assert settings.manifest == data / "other one.csv"
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
    touch(tmp_path, "m.csv")
    settings = InferSettings(manifest=tmp_path / "m.csv", **values)
    save_run_config(tmp_path / "deep" / "run.toml", settings)
    loaded = load_run_config(tmp_path / "deep" / "run.toml")
    assert loaded.model_dump(exclude={"output_dir"}) == settings.model_dump(exclude={"output_dir"})
    # A relative path was meant from the working directory, and stays that place.
    assert loaded.output_dir == (tmp_path / "cwd" / "out" if "output_dir" in values else None)


def test_inside_a_dataset_the_saved_paths_are_relative_to_it(tmp_path: Path) -> None:
    touch(tmp_path / "ds" / "manifests", "m.csv")
    settings = InferSettings(manifest=tmp_path / "ds" / "manifests" / "m.csv", dataset_root=tmp_path / "ds")
    save_run_config(tmp_path / "ds" / "configs" / "run.toml", settings)
    document = tomllib.loads((tmp_path / "ds" / "configs" / "run.toml").read_text())
    assert document == {"runner": {"manifest": "manifests/m.csv"}, "paths": {"dataset_root": str(tmp_path / "ds")}}
    assert load_run_config(tmp_path / "ds" / "configs" / "run.toml") == settings


def test_the_effective_configuration_holds_every_setting() -> None:
    document = effective_configuration(InferSettings(manifest=Path("m.csv"), use_birdnet=True))
    assert document["runner"]["max_retries"] == 2
    assert sum(map(len, document.values())) == len(InferSettings.model_fields)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_can_be_loaded(path: Path, tmp_path: Path) -> None:
    example = Path(shutil.copy(path, tmp_path / "configs"))
    document = tomllib.loads(path.read_text())
    root = (tmp_path / "configs" / document.get("paths", {}).get("dataset_root", ".")).absolute()
    touch(root, document["runner"]["manifest"])
    assert load_run_config(example).manifest.samefile(root / document["runner"]["manifest"])
