"""A host with a small torch model on the GPU, by the protocol of `badc.runners.process.serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from badc.runners.process.serve import serve


def load() -> tuple[str, Any]:
    """Load the model; return its version, and what answers `{"numbers": […]}` or `{"bytes": N}`."""
    import torch

    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 8)).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if "bytes" in request:
            torch.empty(request["bytes"], dtype=torch.uint8, device=device)
        with torch.inference_mode():
            scores = model(torch.tensor(request["numbers"], device=device).reshape(1, 64)).cpu().flatten().tolist()
        seen = [str(torch.cuda.get_device_properties(n).uuid) for n in range(torch.cuda.device_count())]
        return {"scores": scores, "device": device, "seen": [f"GPU-{uuid}" for uuid in seen]}

    return f"torch {torch.__version__}", handle


serve(load)
