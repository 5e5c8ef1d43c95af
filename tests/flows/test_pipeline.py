"""A pipeline: from recordings to reports in one command, and on from where a dataset is."""

from __future__ import annotations

import shutil

import pytest

from tests.flows.test_orchestrate import outputs


@pytest.mark.long
@pytest.mark.slow
def test_a_pipeline_goes_from_recordings_to_reports_and_on_from_where_it_is(badc, make_recording, tmp_path, birds_wav):
    from prefect.client.orchestration import get_client

    for name in ("A_20230509_094500", "B_20230509_094500"):
        shutil.copy(birds_wav, make_recording(f"{name}.wav"))
    (tmp_path / "audio" / "broken.wav").write_bytes(b"no audio")
    words = ("pipeline", "run", tmp_path, "--use-birdnet", "--max-gpus", 0, "--chunk-duration", 6)
    words = (*words, "--bundle-recordings")
    process = badc(*words)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 1, err
    assert "audio/broken.wav: " in err
    assert "Put right what is named above first" in err
    assert "Resume with: badc pipeline run" in err
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(sort="START_TIME_DESC")
    (message,) = [run.state.message for run in runs if run.name == f"pipeline {tmp_path.name}"]
    assert message.startswith("2 recordings chunked, 1 failed, ")
    assert "2 recordings run, 0 of them failed" in message
    assert "audio/broken.wav: " in message
    assert len(outputs(tmp_path)) == 4, f"{out}\n{err}"
    assert (tmp_path / "artifacts" / "aggregate" / "A_20230509_094500_report.html").is_file()

    (tmp_path / "audio" / "broken.wav").unlink()
    shutil.rmtree(tmp_path / "artifacts" / "chunks" / "broken")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "artifacts" / "infer").rglob("*.json")}
    page = tmp_path / "artifacts" / "aggregate" / "B_20230509_094500_report.html"
    page.unlink()
    process = badc(*words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Nothing to analyse" in out
    assert "Making the reports of 1 recording analysed before" in err
    assert page.is_file()
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.long
@pytest.mark.slow
def test_a_pipeline_keeps_and_analyses_what_has_chunks_already(badc, make_recording, tmp_path, fake):
    """One cut by hand with a last chunk of 300 ms, one with WAVs of which one is gone, and one that cannot be cut."""
    from badc.chunks.cutting import plan_chunks, write_chunk_wavs, write_virtual_manifest

    manifests, chunks = tmp_path / "manifests", tmp_path / "artifacts" / "chunks"
    by_hand = plan_chunks(make_recording("A.wav", 2.3), 1.0, 0.0, 0.0)
    write_virtual_manifest(by_hand, manifests / "by hand" / "A.csv", hash_chunks=False)
    write_chunk_wavs(plan_chunks(make_recording("B.wav", 3), 1.0), chunks / "B", manifests / "B.csv")
    (chunks / "B" / "B_chunk_0_1000.wav").unlink()
    (tmp_path / "audio" / "bad.wav").write_bytes(b"no audio")
    before = {path: path.read_bytes() for path in (*manifests.rglob("*.csv"), *chunks.rglob("*.wav"))}
    words = ("pipeline", "run", tmp_path, "--runner-cmd", fake("detector"), "--max-gpus", 0, "--max-retries", 0)
    process = badc(*words, "--keep-going", "--no-report")
    _, err = process.communicate(timeout=180)
    assert process.returncode == 1, err
    assert {path: path.read_bytes() for path in (*manifests.rglob("*.csv"), *chunks.rglob("*.wav"))} == before
    assert outputs(tmp_path) == {
        *("A_chunk_0_1000", "A_chunk_1000_2000", "A_chunk_2000_2300"),
        *("B_chunk_1000_2000", "B_chunk_2000_3000"),
    }
    assert "2 recordings keep their chunks (--chunk-include-existing cuts anew)" in err
    assert "audio/bad.wav: not analysed: cannot be read as audio" in err
    assert err.count("cannot be read as audio") == 1, err


@pytest.mark.slow
def test_a_folder_of_recordings_becomes_one_page_and_nothing_is_written_in_it(badc, make_recording, tmp_path, fake):
    for name in ("SiteA/20230509_050000.wav", "SiteB/20230509_060000.wav"):
        (tmp_path / "rec" / name).parent.mkdir(parents=True)
        make_recording("noise.wav", 2).rename(tmp_path / "rec" / name)
    damaged = tmp_path / "rec/SiteB/20230510_050000.wav"
    damaged.write_bytes(b"no audio")
    (tmp_path / "rec/sites.csv").write_text("station,latitude,longitude\nSiteA,55.1,-115.2\nSiteB,55.2,-115.1\n")
    before = set((tmp_path / "rec").rglob("*"))
    words = ("pipeline", "run", "rec", "--results", "out", "--runner-cmd", fake("detector"), "--max-gpus", 0)
    process = badc(*words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert f"Stations: 2, from {tmp_path}/rec/sites.csv" in err
    assert "analysed: 2 recordings, 0 not complete" in out
    assert "species\tdetections\trecordings\tstations" in out
    assert "Not analysed: 1 recording without chunks; which and why: " in out
    assert out.splitlines()[-1] == f"Open {tmp_path}/out/report.html"
    assert (tmp_path / "out/report.html").is_file()
    assert not list(tmp_path.glob("out/artifacts/aggregate/*2023*")), "no reports of single recordings"
    assert set((tmp_path / "rec").rglob("*")) == before

    process = badc(*words)  # with the damaged one alone
    again, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    species = out.splitlines().index("species\tdetections\trecordings\tstations\tmean conf.\tmax conf.")
    assert again.splitlines()[-3:] == [*out.splitlines()[species : species + 2], f"Open {tmp_path}/out/report.html"]

    damaged.unlink()
    shutil.rmtree(tmp_path / "out/artifacts/chunks/20230510_050000")
    process = badc(*words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines() == [
        "Nothing to analyse: every recording is complete.",
        f"Open {tmp_path}/out/report.html",
    ]
