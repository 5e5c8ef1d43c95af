"""The sites CSV: what it may look like, and what is said of each bad row."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.recordings.sites import Site, read_sites


def sites(content: str | bytes) -> Path:
    path = Path("sites.csv")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_least_and_the_most_that_a_row_says():
    assert read_sites(sites("station,latitude,longitude\nA,55.5,-115\n")) == (Site("A", 55.5, -115.0),)
    full = "study_area,longitude,clock,station,latitude,timezone,notes\nNorth,-115,utc,A,55.5,America/Edmonton,x\n"
    assert read_sites(sites(full)) == (Site("A", 55.5, -115.0, "North", "America/Edmonton", "UTC"),)


def test_what_spreadsheets_write_is_read():
    content = '\ufeffStation, Latitude ,LONGITUDE\r\n"A, north", 55 ,-115\r\n\r\né,0,0\r\n,,\r\n'
    assert [site.station for site in read_sites(sites(content))] == ["A, north", "é"]


def test_a_station_in_two_forms_of_unicode_is_listed_twice():
    with pytest.raises(RequestError, match="'é' is listed twice"):
        read_sites(sites("station,latitude,longitude\n\u00e9,55,-115\ne\u0301,55,-115\n"))


@pytest.mark.parametrize("clock", ["", "local", "Local", " "])
def test_a_local_clock_is_the_default(clock):
    assert read_sites(sites(f"station,latitude,longitude,clock\nA,0,0,{clock}\n"))[0].clock is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",0,0,,", "station is empty"),
        ("A,north,0,,", "latitude 'north' is not a number of degrees from -90 to 90"),
        ("A,91,0,,", "latitude '91' is not a number"),
        ("A,nan,0,,", "latitude 'nan' is not a number"),
        ("A,,0,,", "latitude '' is not a number"),
        ("A,0,181,,", "longitude '181' is not a number of degrees from -180 to 180"),
        ("A,0,0,MST-7,", "timezone 'MST-7' is not an IANA time zone, such as America/Edmonton"),
        ("A,0,0,../../etc/passwd,", "is not an IANA time zone"),
        ("A,0,0,America,", "timezone 'America' is not an IANA time zone"),
        ("A,0,0,America/Edmonton,noon", "clock 'noon' is not an IANA time zone"),
        ("A,0,0,,utc", "clock is 'utc', so timezone must say what to convert it to"),
        ("B,0,0,,", "station 'B' is listed twice"),
    ],
)
def test_a_bad_row_is_named_with_its_line(row, message):
    with pytest.raises(RequestError) as raised:
        read_sites(sites(f"station,latitude,longitude,timezone,clock\nB,0,0,,\n{row}\n"))
    assert str(raised.value).startswith("sites.csv:3: ")
    assert message in str(raised.value)


def test_all_bad_rows_are_listed():
    with pytest.raises(RequestError) as raised:
        read_sites(sites("station,latitude,longitude\n" + "A,x,0\n" * 30))
    assert len(str(raised.value).splitlines()) == 21
    assert str(raised.value).endswith("… and 10 more")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such CSV of sites"),
        ("", "the column station, latitude, longitude is missing"),
        ("station;latitude;longitude\n", "sites.csv:1: the columns are separated by ';'; a CSV of sites uses commas"),
        ("station\tlatitude\tlongitude\n", "separated by '\\t'"),
        ("station,latitude\n", "the column longitude is missing"),
        (b"station,latitude,longitude\nSt\xe9,0,0\n", "sites.csv: not UTF-8; save it as UTF-8"),
        ("station,latitude,longitude\n".encode("utf-16"), "sites.csv: UTF-16, not UTF-8; save it as UTF-8"),
        ('station,latitude,longitude\n"A,0,0\n', "the CSV of sites cannot be read (unexpected end of data)"),
    ],
)
def test_a_file_that_is_no_such_csv_is_refused(content, message):
    path = Path("sites.csv") if content is None else sites(content)
    with pytest.raises(RequestError) as raised:
        read_sites(path)
    assert message in str(raised.value)
