"""Run a classifier that OpenSoundscape trained: a resident command. Run it with an interpreter that has OpenSoundscape.

The words are the model's file, and the lowest score to report.
"""

import sys
from pathlib import Path

from serve import serve  # the helper, copied beside this file

MODEL, LOWEST = Path(sys.argv[1]), float(sys.argv[2])


def load():
    """Load the model; return its version, and what answers a request."""
    from opensoundscape.ml.cnn import load_model  # here, where what it prints does no harm

    model = load_model(MODEL)

    def answer(request):
        scores = model.predict([request["wav"]], activation_layer="sigmoid", num_workers=0, progress_bar=False)
        return {
            "detections": [
                {"label": label, "confidence": score, "timestamp_ms": start_s * 1000, "end_ms": end_s * 1000}
                for (_, start_s, end_s), row in scores.iterrows()
                for label, score in row.items()
                if score >= LOWEST
            ]
        }

    return MODEL.stem, answer


serve(load, greeting={"name": "OpenSoundscape", "wav": True})
