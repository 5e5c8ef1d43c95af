from types import SimpleNamespace


def get_config(cfg_path=None, *, data_root):
    return SimpleNamespace(
        misc=SimpleNamespace(ckpt_folder=f"{data_root}/data/ckpt"),
        hawkears=SimpleNamespace(low_band_ckpt_folder=f"{data_root}/data/none"),
    )
