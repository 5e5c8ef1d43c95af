"""Station and study area from paths: which folders are places, and one rule for a dataset."""

from __future__ import annotations

import random
import unicodedata

import pytest

from badc.recordings.places import FOLDER, NAME, RECORDER, Layout, Place, describe_places, find_layout, layout_problem

DAYS = (
    "20230509",
    "2023_05_09",
    "2023-05-09",
    "20221002_STUDY",
    "2023",
    "2023-05",
    "May 2023",
    "09-05-2023",
    "visit 2",
)
CARDS = ("A", "B", "Card 1", "cardB", "Data", "DATA", "SD card 2", "DCIM", "raw data", "NO NAME")
RECORDERS = ("S4A01234", "SMM00123", "2MA00123", "24F3190159A2F3B1", "A1B2-C3D4", "S4A01234_A", "AudioMoth 12")
SERIALS = ("S4A01234", "SMM00123", "SM304567", "24F3190159A2F3B1", "24E144085F256139")


def places(*paths: str) -> tuple[str, list[tuple[str | None, str | None]]]:
    layout = find_layout(paths)
    return layout.text, [(place.station, place.study_area) for place in map(layout.place_of, paths)]


@pytest.mark.parametrize(
    ("paths", "rule", "stations"),
    [
        (["20230509_050000.WAV"], NAME, [None]),
        (["GNWT-290_20230331_235938.wav", "BIRD_20230331_235938.wav"], NAME, ["GNWT-290", "BIRD"]),
        (["SiteA/20230509_050000.WAV", "SiteB/20230509_050000.WAV"], FOLDER, ["SiteA", "SiteB"]),
        (["SiteA/rec.wav", "SiteB/rec.wav"], FOLDER, ["SiteA", "SiteB"]),
        (["SiteA/2023/05/09/20230509_050000.WAV"], FOLDER, ["SiteA"]),
        (["2023/SiteA/05/20230509_050000.WAV", "2023/SiteB/5/09/20230509_050000.WAV"], FOLDER, ["SiteA", "SiteB"]),
        (
            ["2023/SiteA/05-09/x.WAV", "STUDY_2023/SiteB/A/06/x.WAV", "2023/A/06/x.WAV"],
            FOLDER,
            ["SiteA", "SiteB", None],
        ),
        (["SiteA_2023/05/20230509_050000.WAV", "SiteB 2023/12/x.WAV"], FOLDER, ["SiteA", "SiteB"]),
        (["North/5/20230509_050000.WAV", "visit 2/North/6/x.WAV"], FOLDER, ["5", "6"]),
        (["SiteA_20230509/20230509_050000.WAV", "SiteA_20230601/20230601_050000.WAV"], FOLDER, ["SiteA", "SiteA"]),
        (["SiteA/STUDY_20230509/20230509_050000.WAV"], FOLDER, ["SiteA"]),
        (["20230509/20230509_050000.WAV", "A/20230510_050000.WAV"], NAME, [None, None]),
        # Several stations to a folder, and the folders are visits or areas.
        (["May 2023/P-1_20230509_050000.wav", "visit 2/P-1_20230609_050000.wav"], NAME, ["P-1", "P-1"]),
        (["North/P-1_20230509_050000.wav", "North/P-2_20230509_050000.wav"], NAME, ["P-1", "P-2"]),
        (["North/ARU01/20230509_050000.WAV", "North/ARU02/20230509_050000.WAV"], FOLDER, ["ARU01", "ARU02"]),
        # A prefix that all share says nothing.
        (["SiteA/REC_20230509_050000.wav", "SiteB/REC_20230509_050000.wav"], FOLDER, ["SiteA", "SiteB"]),
        # Nor does the make of a recorder; with a number, it may be a site's.
        (["S1/SwiftOne_20230509_050000.WAV"], FOLDER, ["S1"]),
        (["S1/AUDIOMOTH_20230509_050000.WAV", "S2/SM4_20230509_050000.WAV"], FOLDER, ["S1", "S2"]),
        (["North/AudioMoth01_20230509_050000.WAV", "North/SM4-2_20230509_050000.WAV"], NAME, ["AudioMoth01", "SM4-2"]),
        (["P-1_20230509_050000.wav", "SM4_20230509_050000.wav"], NAME, ["P-1", None]),
        (["SM4_20230509_050000.wav", "Data/SM4_20230510_050000.wav"], RECORDER, ["SM4", "SM4"]),
        (["24F3190159A2F3B1/AudioMoth_20230509_050000.WAV"], RECORDER, ["24F3190159A2F3B1"]),
        # Serial numbers, in names and folders, are stations only where nothing else is.
        (["SiteA/S4A01234_20230509_050000.wav", "SiteB/S4A01234_20230609_050000.wav"], FOLDER, ["SiteA", "SiteB"]),
        (["SiteA/20230509_050000.WAV", "24F3190159A2F3B1/20230509_050000.WAV"], FOLDER, ["SiteA", None]),
        (["SiteA/20230509_050000.WAV", "S4A01234_20230509_050000.wav"], FOLDER, ["SiteA", None]),
        (["P-1_20230509_050000.wav", "S4A01234/S4A01234_20230509_050000.wav"], NAME, ["P-1", None]),
        (
            ["S4A01234/Data/S4A01234_20230509_050000.wav", "SMM00123_20230509_050000.wav"],
            RECORDER,
            ["S4A01234", "SMM00123"],
        ),
        (["24F3190159A2F3B1/20230509_050000.WAV", "24E144/20230509_050000.WAV"], FOLDER, [None, "24E144"]),
        (["24F3190159A2F3B1/Data/20230509_050000.WAV"], RECORDER, ["24F3190159A2F3B1"]),
        # Mixed: what most recordings have comes first, and the other is the fallback.
        (["A1/x.WAV", "A2/x.WAV", "P-1_20230509_050000.wav"], FOLDER, ["A1", "A2", "P-1"]),
        (["P-1_20230509_050000.wav", "P-2_20230509_050000.wav", "A2/x.WAV"], NAME, ["P-1", "P-2", "A2"]),
    ],
)
def test_one_rule_for_each_way_to_sort_recordings(paths, rule, stations):
    found, placed = places(*paths)
    assert (found, [station for station, _ in placed]) == (rule, stations)


def test_study_areas_are_the_first_folders_that_are_no_stations():
    assert places("North/S1/20230509_050000.WAV", "South/A/S2/Card 1/20230509_050000.WAV") == (
        FOLDER,
        [("S1", "North"), ("S2", "South")],
    )
    assert places("North/P-1/P-1_20230509_050000.wav", "South/P-2_20230509_050000.wav") == (
        NAME,
        [("P-1", "North"), ("P-2", "South")],
    )
    assert places("P-1/P-1_20230509_050000.wav") == (NAME, [("P-1", None)])


@pytest.mark.parametrize("seed", range(40))
def test_folders_of_days_cards_and_recorders_never_change_a_station(seed):
    chance = random.Random(seed)
    sites = {f"Plot {number}": chance.choice(["North", "Süd"]) for number in range(1, chance.randint(2, 6))}
    areas = chance.random() < 0.5
    expected = {}
    for number in range(40):
        site = chance.choice(list(sites))
        aside = [chance.choice(kinds) for kinds in (DAYS, CARDS, RECORDERS) if chance.random() < 0.5]
        chance.shuffle(aside)
        at = chance.randint(0, len(aside))
        folders = [*aside[:at], site, *aside[at:]]
        if areas:
            folders.insert(0, sites[site])
        prefix = f"{chance.choice(SERIALS)}_" if chance.random() < 0.3 else ""
        path = "/".join([*folders, f"{prefix}20230509_{number:02}0000.WAV"])
        form = chance.choice(["NFC", "NFD"])
        expected[unicodedata.normalize(form, path)] = Place(site, sites[site] if areas else None)
    layout = find_layout(expected)
    assert {path: layout.place_of(path) for path in expected} == expected
    # Nor does it depend on which of the recordings there are.
    some = chance.sample(list(expected), 5)
    assert {path: find_layout(some).place_of(path) for path in some} == {path: expected[path] for path in some}


def test_names_are_the_same_in_either_form_of_unicode():
    for rule in (FOLDER, "{station}/{name}"):
        composed, decomposed = (
            Layout(rule).place_of(unicodedata.normalize(form, "Forêt é/20230509_050000.WAV")) for form in ("NFC", "NFD")
        )
        assert composed == decomposed == Place("Forêt é", None)
    assert Layout(unicodedata.normalize("NFD", "Forêt/{station}/{name}")).place_of("Forêt/S1/x.wav").station == "S1"


@pytest.mark.parametrize(
    ("template", "path", "place"),
    [
        ("{study_area}/{_}/{station}/{_}/{name}", "N/20221002_STUDY/S1/A/x.wav", Place("S1", "N")),
        ("{study_area}/{_}/{station}/{_}/{name}", "N/S1/x.wav", Place(None, None)),
        ("{station}/{name}", "A/20230509_050000.WAV", Place("A", None)),
        ("{_}_{station}/{name}", "20221002_SiteA/x.wav", Place("SiteA", None)),
        ("{study_area}-{station}_{_}_{name}", "GNWT-290_20230331_235938.wav", Place("290", "GNWT")),
        ("sites (1)/{station}/{name}", "sites (1)/S.1/x.wav", Place("S.1", None)),
        ("{station}/{name}", "/mnt/disk/S1/x.wav", Place("S1", None)),
    ],
)
def test_a_template_says_where_the_names_stand(template, path, place):
    assert Layout(template).place_of(path) == place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{site}/{name}", "'{site}' is not one of {station}, {study_area}, {name}, {_}"),
        ("folders", "has no {station}"),
        ("", "has no {station}"),
        ("{station}/{station}/{name}", "'{station}' is in it twice"),
        ("{station}/{name", "a brace without its other half"),
        ("/{station}/{name}", "begin with its first folder"),
        ("audio/{station}/{name}", "begin with its first folder"),
        ("./{station}/{name}", "begin with its first folder"),
        ("../{station}/{name}", "begin with its first folder"),
        ("{station}\\{name}", "has a backslash; write '/' between folders"),
        ("{station}/*/{name}", "has a '*'; write {_} for anything"),
        ("{study_area}/{station}", "ends with a folder; add /{name} for the files in it"),
    ],
)
def test_what_is_no_layout_is_refused(text, says):
    assert says in (layout_problem(text) or "")
    with pytest.raises(ValueError, match="station"):
        Layout(text)


def test_a_plan_says_the_rule_and_what_has_no_station_or_an_ambiguous_one():
    layout = Layout(FOLDER)
    paths = ["N/plot1/x.wav", "S/plot1/y.wav", "20230509/z.wav"]
    assert describe_places(layout, [(path, layout.place_of(path)) for path in paths]) == [
        "stations are read from the folders, else the file names (--layout folder): 1 station in 2 study areas: plot1",
        "1 recording has no station (20230509/z.wav); --layout says where it stands in their paths",
        "plot1: one name in several study areas, which count as one station; --layout can tell where it stands",
    ]
