"""Recording ids and what file names say."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.recordings.names import id_problem, parse_recording_name, recording_id_of


@pytest.mark.parametrize(
    ("name", "station", "recorded_at"),
    [
        ("GNWT-290_20230331_235938", "GNWT-290", datetime(2023, 3, 31, 23, 59, 38)),
        ("20230509_094500", None, datetime(2023, 5, 9, 9, 45)),
        ("S4A00001_20200101T053000+0100_Dawn", "S4A00001", datetime(2020, 1, 1, 5, 30)),
        ("SMA_01_20230331-235938", "SMA_01", datetime(2023, 3, 31, 23, 59, 38)),
        ("two words_20230331_235938_left", "two words", datetime(2023, 3, 31, 23, 59, 38)),
        ("SITE_0+1_20220501_050000", "SITE", datetime(2022, 5, 1, 5)),
        ("SITE_20220501$050000", "SITE", datetime(2022, 5, 1, 5)),
        (
            "S20240815T091156.982648+1000_E20240815T111151+1000_-12.3+45.6",
            None,
            datetime(2024, 8, 15, 9, 11, 56, 982000),
        ),
        ("S20210205T035946676+1000_E20210205T055941+1000", None, datetime(2021, 2, 5, 3, 59, 46, 676000)),
        ("C_20230510T020000.123456+0000", "C", datetime(2023, 5, 10, 2, 0, 0, 123000)),
        ("SMITH_20230510_020000", "SMITH", datetime(2023, 5, 10, 2)),
        ("2024-05-08_02-00-00", None, datetime(2024, 5, 8, 2)),
        ("SITE-A_2024-05-08_02-00-00", "SITE-A", datetime(2024, 5, 8, 2)),
        ("SITE_2024_05_08_02_00_00", "SITE", datetime(2024, 5, 8, 2)),
        ("SITE 2024-05-08 02.00.00.250", "SITE", datetime(2024, 5, 8, 2, 0, 0, 250_000)),
        ("SITE_20240508T020000,250Z", "SITE", datetime(2024, 5, 8, 2, 0, 0, 250_000)),
        ("2024-05-08T02:00:00+02:00", None, datetime(2024, 5, 8, 2)),
        ("SITE_20240508_02-00-00", "SITE", datetime(2024, 5, 8, 2)),
        ("SITE_20240508_020000_UTC", "SITE", datetime(2024, 5, 8, 2)),
        ("12345678_999999_20240508_020000", "12345678_999999", datetime(2024, 5, 8, 2)),
        ("SITE_2024-05-0802-00-00", None, None),
        ("SITE_2024-0508_020000", None, None),
        ("SITE_20240230_020000", None, None),
        ("19700101_000554", None, None),
        ("SITE_19700101_000554", "SITE", None),
        ("SITE_19800101_000012", "SITE", None),
        ("SITE_20000101_061500", "SITE", None),
        ("SITE_20000102_061500", "SITE", datetime(2000, 1, 2, 6, 15)),
        ("marsh", None, None),
        ("", None, None),
        ("SITE_20231331_235938", None, None),
        ("SITE_20230331_245938", None, None),
        ("12345678_999999", None, None),
        ("20230331_2359381", None, None),
        ("SITE_20230331", None, None),
    ],
)
def test_a_name_tells_station_and_start_or_nothing(
    name: str, station: str | None, recorded_at: datetime | None
) -> None:
    found = parse_recording_name(name)
    assert (found.station, found.recorded_at) == (station, recorded_at)


@pytest.mark.parametrize("identifier", ["", ".", "..", "a/b", "/a", "../a", "a\\b", "a\0", ".a", "~$a", "lost+found"])
def test_what_cannot_be_a_file_name_has_a_problem(identifier: str) -> None:
    assert id_problem(identifier)


def test_hostile_but_legal_ids_have_none(hostile_id: str) -> None:
    assert id_problem(hostile_id) is None
    assert recording_id_of(Path(f"/x/{hostile_id}.wav")) == hostile_id


def test_only_the_last_suffix_goes() -> None:
    assert recording_id_of(Path("a/REC.v1.2.flac")) == "REC.v1.2"


def test_the_id_is_that_of_the_link_not_of_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "MD5E-s1--0a.wav").touch()
    (tmp_path / "REC.wav").symlink_to("MD5E-s1--0a.wav")
    assert recording_id_of(tmp_path / "REC.wav") == "REC"


def test_a_name_that_gives_no_id_is_refused() -> None:
    with pytest.raises(RequestError, match=r"a\\b\.wav"):
        recording_id_of(Path("a\\b.wav"))


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    """Every file of a run is UTF-8, so such a name could not be written down."""
    with pytest.raises(RequestError, match="no usable recording id"):
        recording_id_of(Path(os.fsdecode(b"caf\xe9.wav")))


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("S4A00001_20200101T053000+0100_Dawn", 60),
        ("S4A00001_20200101T053000-0930", -570),
        ("20200101T053000Z", 0),
        ("A_20200101_053000Z", 0),
        ("B_20200101-053000Z", 0),
        ("B_20200101_053000Zone", None),
        ("20200101T053000.0+0000", 0),
        ("S20200101T053000000+1000_E20200101T063000000+1000", 600),
        ("20200101T053000", None),
        ("20200101T053000+9900", None),
        ("A_20200101_053000-0001", None),  # the first of several files
        ("A_20200101_053000-0000", None),
        ("A_20200101_053000-9000", None),
        ("20200101T053000-0001", -1),
        ("A_20200101-053000+0100", 60),
        ("A_20200101_053000-0500", -300),
        ("A_20200101_053000-0330_left", -210),
        ("A_20200101_053000+02:00", 120),
        ("A_2020-01-01_05-30-00-0500", -300),
        ("A_20200101_053000+02", 120),
        ("A_20200101_053000-02", None),
        ("A_20200101_053000_UTC", 0),
        ("A_20200101_053000UTC", 0),
        ("A_20200101_053000 GMT_left", 0),
        ("A_20200101_053000_UTC+2", 120),
        ("A_20200101_053000_UTC-03:30", -210),
        ("A_20200101_053000_UTCX", None),
        ("A_20200101_053000z", 0),
        ("a_20200101t053000z", 0),
        ("A_20200101_053000_Z", 0),
        ("A_20200101_053000-Z_left", 0),
        ("A_20200101_053000Z-left", 0),
        ("A_20200101_053000_utc", 0),
        ("A_20200101_053000-UTC", 0),
        ("A_20200101_053000.UTC", 0),
        ("A_20200101_053000 (UTC)", 0),
        ("A_20200101_053000 (utc-3)", -180),
        ("20200101T053000,000Z", 0),
        ("A_20200101_053000_+0100", 60),
        ("A_20200101_053000_-0500", -300),
        ("A_20200101_053000_-12.3+45.6", None),
        ("A_20200101_053000_Zone", None),
    ],
)
def test_an_offset_counts_if_it_cannot_be_a_file_number(name: str, offset: int | None) -> None:
    found = parse_recording_name(name)
    assert (found.recorded_at, found.utc_offset_min) == (datetime(2020, 1, 1, 5, 30), offset)
