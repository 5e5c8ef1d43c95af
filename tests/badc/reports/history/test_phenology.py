"""When and where species were found, and how many with more listening."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.reports.history.phenology import expected_species, write_phenology
from badc.reports.history.settings import PhenologySettings

HOUR = 3_600_000
A1, A2, B1, C1 = "A_20230501_050000", "A_20230503_050000", "B_20230502_050000", "C_20230501_050000"


@pytest.fixture
def folder(write_detections, write_coverage):
    path = write_detections(
        [
            (A1, 0, "Veery", 0.9),
            (A2, 0, "Veery", 0.9),
            (A2, 9000, "Veery", 0.9),
            (B1, 0, "Owl", 0.9),
            (A2, 0, "Owl", 0.2),
        ]
    )
    write_coverage(path, [(name, 0, HOUR, "ok") for name in (A1, A2, B1, C1)])
    made = write_phenology(PhenologySettings(parquet=path, min_confidence=0.5))
    assert made.notes == ()
    return made.folder


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_first_and_last_dates_and_the_share_of_stations(folder):
    assert folder.name == "d_phenology"
    assert lines(folder / "species.csv") == [
        "label,label_name,first,last,stations,stations_analysed,naive_occupancy,dates,detections",
        f"Veery,Veery,2023-05-01,2023-05-03,1,3,{1 / 3},2,3",
        f"Owl,Owl,2023-05-02,2023-05-02,1,3,{1 / 3},1,1",
    ]
    assert lines(folder / "phenology.csv")[1:] == [
        "Owl,Owl,B,2023-05-02,2023-05-02,1,1,2023-05-02,2023-05-02,1",
        "Veery,Veery,A,2023-05-01,2023-05-03,2,3,2023-05-01,2023-05-03,2",
    ]


def test_species_add_up_over_effort_by_date_and_on_average(folder):
    """Of four station-dates, two have Veery and one Owl: in any two, Veery is with 1 - 1/6, and Owl with 1 - 3/6."""
    found = [line.split(",") for line in lines(folder / "accumulation.csv")]
    assert found[0] == ["date", "station_dates", "effort_h", "species", "expected_species"]
    assert [row[:4] for row in found[1:]] == [
        ["2023-05-01", "2", "2.0", "1"],
        ["2023-05-02", "3", "3.0", "2"],
        ["2023-05-03", "4", "4.0", "2"],
    ]
    assert [float(row[4]) for row in found[1:]] == pytest.approx([5 / 6 + 3 / 6, 1 + 3 / 4, 2])
    assert (folder / "accumulation.png").read_bytes().startswith(b"\x89PNG")


def test_the_expectation_is_the_mean_over_all_choices():
    from itertools import combinations

    samples = [{"a", "b"}, {"a"}, set(), {"c", "a"}, {"b"}]
    heard_in = [sum(name in sample for sample in samples) for name in "abc"]
    for n in range(1, 6):
        chosen = list(combinations(samples, n))
        mean = sum(len(set().union(*some)) for some in chosen) / len(chosen)
        assert expected_species(heard_in, [n, 5])[0] == pytest.approx(mean)
