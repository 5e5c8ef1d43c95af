"""Names of species: tables of many makers, and names that lead from one table to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from badc.errors import RequestError
from badc.species import names
from badc.species.names import Names, read_names, read_names_table


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No classifier is installed that would bring names."""
    monkeypatch.setattr(names, "classes_file", lambda: None)
    monkeypatch.setattr(names, "read_labels", list)


@pytest.mark.parametrize(
    "text",
    [
        "scientific,common,ebird,alpha4\nSeiurus aurocapilla,Ovenbird,ovenbi1,OVEN\n",
        "Name,Code,AltName,AltCode\nOvenbird,OVEN,Seiurus aurocapilla,ovenbi1\n",  # HawkEars
        "SCIENTIFIC_NAME,COMMON_NAME,SPECIES_CODE,CATEGORY,BANDING_CODES\n"  # eBird's API
        "Seiurus aurocapilla,Ovenbird,ovenbi1,species,OVEN OVEX\n",
        "\ufeffcommon name, Scientific-Name ,eBird code,CODE,others\r\nOvenbird,Seiurus aurocapilla,ovenbi1,OVEN,x\r\n",
    ],
)
def test_tables_of_several_makers_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "n.csv").write_text(text, encoding="utf-8")
    found = Names([read_names_table(tmp_path / "n.csv")])
    for called in ("OVENBIRD", "oven", "ovenbi1", "Seiurus  aurocapilla"):
        assert found.name("ebird", called) == "ovenbi1"
        assert found.name("alpha4", called) == "OVEN"
        assert found.name("scientific", None, called) == "Seiurus aurocapilla"
    assert found.name("ebird", "Veery") is None
    assert found.spellings("OVEN") == {"oven", "ovenbird", "ovenbi1", "seiurus aurocapilla"}


def test_the_users_table_comes_first_and_the_others_lead_to_it(tmp_path: Path, bare: None) -> None:
    (tmp_path / "n.csv").write_text("common,de,ebird\nTennessee Warbler,Brauenwaldsänger,mine\n", encoding="utf-8")
    own = read_names(tmp_path / "n.csv")
    assert own.name("de", "Tennessee Warbler") == "Brauenwaldsänger"
    assert own.name("de", "TEWA") is None
    classes = [{"common": "Tennessee Warbler", "alpha4": "TEWA", "ebird": "tenwar"}]
    both = Names([read_names_table(tmp_path / "n.csv"), classes])
    assert (both.name("de", "TEWA"), both.name("ebird", "TEWA")) == ("Brauenwaldsänger", "mine")


def test_lists_of_labels_in_other_languages_are_tables_too(tmp_path: Path) -> None:
    path = tmp_path / "BirdNET_GLOBAL_6K_V2.4_Labels_pt_br.txt"
    path.write_text("Turdus migratorius_Tordo-americano\n", encoding="utf-8")
    assert read_names_table(path) == [{"scientific": "Turdus migratorius", "pt_br": "Tordo-americano"}]


def test_names_that_installed_classifiers_bring() -> None:
    found = read_names(None)
    assert found.name("scientific", "Tennessee Warbler") == "Leiothlypis peregrina"
    assert found.name("common", "Leiothlypis peregrina") == "Tennessee Warbler"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scientific;common\nA b;C\n", "the columns are separated by ';'"),
        ("species,kind\nA b,C\n", "no column names species; there must be at least one of label, scientific"),
        ('common\n"a', "the table of names cannot be read"),
    ],
)
def test_a_table_without_names_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "n.csv").write_text(text)
    with pytest.raises(RequestError, match=said):
        read_names_table(tmp_path / "n.csv")
