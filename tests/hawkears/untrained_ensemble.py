"""Lay out a HawkEars data root with an untrained ensemble, without any network: `PYTHON untrained_ensemble.py ROOT`.

Run by the interpreter that has HawkEars. The models know HawkEars' classes and nothing else: their scores are
arbitrary but always the same, which is all that comparing two ways of running them needs.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

MODELS = {"data/ckpt": 3, "data/ckpt-low-band": 2}
HEAD_GAIN = 60.0
CONSTRUCTOR_ARGUMENTS = (
    *("model_type", "head_type", "hidden_channels", "train_class_names", "train_class_codes"),
    *("train_class_alt_names", "train_class_alt_codes", "num_train_specs", "multi_label"),
)


def main(root: Path) -> None:
    """Write the data root."""
    import torch
    from hawkears.core.initializer import initialize

    torch.manual_seed(4)
    initialize(root, downloader=lambda url, folder: folder.mkdir(parents=True, exist_ok=True))
    with (root / "data" / "classes.csv").open(encoding="utf-8") as stream:
        classes = [(row["Name"], row["Code"], row["AltName"], row["AltCode"]) for row in csv.DictReader(stream)]
    for folder, number in MODELS.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        use_audio_settings(root, low_band="low-band" in folder)
        for index in range(number):
            save_untrained(root / folder / f"untrained-{index}.ckpt", classes)


def use_audio_settings(root: Path, low_band: bool) -> None:
    """Make models that were trained, so to say, with the audio settings that HawkEars uses them with."""
    from britekit.core.config_loader import get_config
    from hawkears.core import config_loader
    from omegaconf import OmegaConf

    wanted = config_loader.get_config(data_root=root)
    if low_band:
        extra = config_loader.load_auxiliary_config("low_band.yaml", data_root=root)
        wanted = OmegaConf.merge(wanted, OmegaConf.create(extra))
    for name, value in wanted.audio.items():
        get_config().audio[name] = value


def save_untrained(path: Path, classes: list[tuple[str, str, str, str]]) -> None:
    """Save the checkpoint of a small model whose weights are random."""
    import pytorch_lightning
    import torch
    from britekit.core.config_loader import get_config
    from britekit.models.model_loader import load_new_model

    config = get_config()
    config.train.model_type = "effnet.3"
    config.train.head_type = "basic_sed"
    names, codes, alt_names, alt_codes = ([row[column] for row in classes] for column in range(4))
    model = load_new_model(names, codes, alt_names, alt_codes, 1)
    with torch.no_grad():
        for name, weights in model.head.named_parameters():
            # As it is made, every class scores nearly the same all the time; this lets scores rise and fall.
            weights.mul_(HEAD_GAIN if name.endswith("weight") else 1.0)
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": {name: getattr(model, name) for name in CONSTRUCTOR_ARGUMENTS},
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": pytorch_lightning.__version__,
    }
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
