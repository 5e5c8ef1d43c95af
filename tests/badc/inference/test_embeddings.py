"""Embeddings of a run: which runners give them, what counts as done, and what is never replaced unasked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from badc.chunks.cutting import plan_chunks, write_virtual_manifest
from badc.detections.result import result_path
from badc.errors import RequestError
from badc.inference.attempt import Attempt
from badc.inference.embeddings import embedded_with
from badc.inference.gathering import gather_embeddings
from badc.inference.plan import InferPlan, plan_inference
from badc.inference.provenance import infer_run
from badc.inference.settings import InferSettings
from badc.inference.worker import infer_chunks
from badc.runners.birdnet.runner import BirdnetSpec

pytestmark = pytest.mark.usefixtures("_fresh_runner")


@pytest.mark.parametrize(
    "runner", [{}, {"runner_cmd": "true"}], ids=["the stub", "a command that is started for each chunk"]
)
def test_a_runner_without_embeddings_is_refused_before_the_start(
    plan: Callable[..., InferPlan], runner: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"--embeddings: .* gives no embeddings; .*BirdNET 2\.4"):
        plan(**runner, embeddings=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_record_of_a_run_names_the_files_of_its_recordings(
    make_recording: Callable[..., Path], make_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / ".datalad").mkdir()
    manifest = make_manifest(make_recording())
    made = infer_run(InferSettings(manifest=manifest, use_birdnet=True, embeddings=tmp_path / "e"), rerunnable=True)
    assert "e/REC.parquet" in made.output_files
    assert made.command[made.command.index("--embeddings") + 1] == "e"
    with pytest.raises(RequestError, match="--embeddings"):
        infer_run(InferSettings(manifest=manifest, use_birdnet=True, embeddings=tmp_path.parent / "e"))


def test_a_threshold_makes_no_other_embeddings_and_an_overlap_does() -> None:
    made = [
        embedded_with(spec.made_with(), spec)
        for spec in (BirdnetSpec(), BirdnetSpec(min_confidence=0.9), BirdnetSpec(birdnet_overlap_s=1.5))
    ]
    assert made[0] == made[1] != made[2]


def run(plan: InferPlan) -> list[Attempt]:
    ended = infer_chunks(plan.todo, plan.order, lambda attempt: None)
    assert [attempt.details.get("error") for attempt in ended] == [None] * len(ended)
    return ended


# Two windows a chunk; a recording's name says what goes wrong.
RESIDENT = """
from badc.runners.process.serve import run

def detect(samples, rate):
    half = len(samples) // 2
    rows = [[float(abs(part).max()), float(abs(part).mean())] for part in (samples[:half], samples[half:])]
    rows = rows if GIVES == "all" else [[1.0] * (1 + len(seen)) for _ in rows]
    seen.append(1)
    answer = {"detections": []}
    return answer if GIVES == "none" else answer | {"embeddings": {"start_ms": [0, 500], "values": rows}}

seen = []
run(detect, "Halves", "1")
"""


class TestWithAResidentCommand:
    @pytest.fixture
    def halves(self, plan: Callable[..., InferPlan], script: Any, tmp_path: Path) -> Callable[..., InferPlan]:
        def make(gives: str = "all", words: tuple[str, ...] = (), **settings: Any) -> InferPlan:
            command = shlex.join([*script(f"GIVES = {gives!r}\n" + RESIDENT), *words])
            given = {"embeddings": tmp_path / "e", "output_dir": tmp_path / "out", "seconds": 3, **settings}
            return plan(runner_resident=command, **given)

        return make

    def test_its_embeddings_are_kept_as_birdnets_are(self, halves: Callable[..., InferPlan], tmp_path: Path) -> None:
        run(planned := halves("all"))
        assert gather_embeddings(planned) == []
        table = pq.read_table(tmp_path / "e" / "REC.parquet")
        assert table["start_ms"].to_pylist() == [0, 500, 1000, 1500, 2000, 2500]
        assert table["end_ms"].null_count == 6
        assert len(set(table["model"].to_pylist())) == 1

    def test_those_of_another_cut_by_another_program_are_kept(self, halves: Any, tmp_path: Path) -> None:
        run(planned := halves("all"))
        gather_embeddings(planned)
        before = pq.read_table(tmp_path / "e" / "REC.parquet")
        recording = Path(planned.todo[0].chunk.source_path)
        write_virtual_manifest(
            plan_chunks(recording, duration_s=1.5, min_chunk_s=1.5), tmp_path / "cut.csv", hash_chunks=False
        )
        other = planned.settings.model_copy(
            update={
                "manifest": tmp_path / "cut.csv",
                "runner_resident": f"{planned.settings.runner_resident} again",
                "output_dir": tmp_path / "other",
            }
        )
        with pytest.raises(RequestError, match="3 embedded chunks there are of other settings"):
            plan_inference(other)
        assert pq.read_table(tmp_path / "e" / "REC.parquet").equals(before)

    def test_a_chunk_without_any_has_failed_and_has_no_result(self, halves: Any, tmp_path: Path) -> None:
        planned = halves("none")
        ended = infer_chunks(planned.todo, planned.order, lambda attempt: None)
        assert [attempt.details["error"] for attempt in ended] == [
            "A resident command gave no embeddings; --embeddings asks for them"
        ] * 3
        assert list(tmp_path.rglob("*.json")) == []

    def test_rows_of_several_lengths_are_told_and_the_chunks_files_stay(self, halves: Any, tmp_path: Path) -> None:
        run(planned := halves("growing"))
        (problem,) = gather_embeddings(planned)
        assert "REC: cannot be read as embeddings" in problem
        assert len(list((tmp_path / "e" / "REC").iterdir())) == 3

    def summary(self, plan: InferPlan, path: Path) -> Path:
        jobs = {planned.key: {"status": "success", "recording_id": "REC"} for planned in plan.todo}
        path.write_text(json.dumps({"jobs": jobs}))
        return path

    def test_a_chunk_is_done_when_its_embeddings_are_there_too(self, halves: Any, tmp_path: Path) -> None:
        first = halves()
        run(first)
        summary = self.summary(first, tmp_path / "s.json")
        assert halves(resume_summary=summary).todo == []  # not gathered yet, as after a kill
        assert gather_embeddings(first) == []
        assert halves(resume_summary=summary).todo == []
        table = pq.read_table(tmp_path / "e" / "REC.parquet")
        assert table["start_ms"].to_pylist() == [0, 500, 1000, 1500, 2000, 2500]

        result_path(first.order.output_dir, first.todo[1].chunk).unlink()
        assert [planned.key for planned in halves(resume_summary=summary).todo] == [first.todo[1].key]
        run(again := halves(resume_summary=summary))
        assert gather_embeddings(again) == []
        assert pq.read_table(tmp_path / "e" / "REC.parquet").equals(table)

        (tmp_path / "e" / "REC.parquet").unlink()
        assert len(halves(resume_summary=summary).todo) == 3
        assert halves(resume_summary=summary, embeddings=None).todo == []

    def test_those_of_other_settings_are_kept(self, halves: Any, tmp_path: Path) -> None:
        run(first := halves())
        gather_embeddings(first)
        before = {path: path.read_bytes() for path in (tmp_path / "e").iterdir()}
        with pytest.raises(RequestError) as refused:
            halves(output_dir=tmp_path / "other", words=("--other",))
        message = str(refused.value)
        assert "3 embedded chunks there are of other settings" in message
        assert "--other" in message
        assert "another folder with --embeddings, or replace them with --replace-results" in message
        run(replacing := halves(words=("--other",), replace_results=True))
        gather_embeddings(replacing)
        assert {path: path.read_bytes() for path in (tmp_path / "e").iterdir()} != before

    def test_the_folder_of_the_detections_is_no_folder_for_them(self, halves: Any, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="is the folder of the detections"):
            halves(embeddings=tmp_path / "out")

    def test_a_link_out_of_the_folder_is_never_followed(self, halves: Any, tmp_path: Path) -> None:
        planned = halves()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "e").mkdir()
        (tmp_path / "e" / "REC").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RequestError, match="elsewhere"):
            halves()
        ended = infer_chunks(planned.todo, planned.order, lambda attempt: None)
        assert not any(attempt.ok for attempt in ended)
        assert list((tmp_path / "elsewhere").iterdir()) == []
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.json"))

    def test_two_runs_that_share_only_the_embeddings_do_not_run_at_once(self, halves: Any, tmp_path: Path) -> None:
        with (
            halves().locked(print),
            pytest.raises(RequestError, match="another run is writing"),
            halves(output_dir=tmp_path / "other").locked(print),
        ):
            pass
