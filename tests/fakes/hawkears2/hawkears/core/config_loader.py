from types import SimpleNamespace


def get_config(cfg_path=None, *, data_root):
    return SimpleNamespace(
        audio=SimpleNamespace(spec_duration=3.0),
        infer=SimpleNamespace(min_score=0.7),
        misc=SimpleNamespace(ckpt_folder=f"{data_root}/data/ckpt"),
        hawkears=SimpleNamespace(low_band_ckpt_folder=f"{data_root}/data/none"),
    )
