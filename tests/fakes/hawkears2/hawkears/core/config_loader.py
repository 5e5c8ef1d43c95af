from types import SimpleNamespace

util = SimpleNamespace(get_device=lambda: "cpu")


def get_config(cfg_path=None, *, data_root):
    on_cpu = util.get_device() == "cpu"
    return SimpleNamespace(
        audio=SimpleNamespace(spec_duration=3.0, choose_channel=not on_cpu),
        infer=SimpleNamespace(min_score=0.7, max_models=3 if on_cpu else None),
        misc=SimpleNamespace(ckpt_folder=f"{data_root}/data/ckpt"),
        hawkears=SimpleNamespace(low_band_ckpt_folder=f"{data_root}/data/none", low_band_classifier=not on_cpu),
    )
