"""Where a dataset's recordings are, and where its results go.

A dataset has its recordings in `audio`, and everything else beside it. Any other folder of recordings is a study: its
results are in `badc` in it, or in a folder of their own, which is a dataset whose recordings are elsewhere (see
`badc.recordings.dataset_file`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from badc.errors import RequestError
from badc.recordings.dataset_file import DATASET_FILE, audio_folder, keep_recordings, kept_recordings
from badc.recordings.locate import is_same_file, plain_dataset_of
from badc.recordings.names import AUDIO_FOLDER
from badc.system.paths import RESULTS_FOLDER, absolute, find_dataset_root, require_writable

_OF_A_DATASET = (AUDIO_FOLDER, ".datalad", "manifests", DATASET_FILE)


@dataclass(frozen=True, slots=True)
class DatasetPlace:
    """The folder of a dataset's results, `root`, and that of its recordings, `audio`; both are absolute."""

    root: Path
    audio: Path

    @property
    def is_study(self) -> bool:
        """Whether the recordings are not in the dataset."""
        return self.audio != self.root / AUDIO_FOLDER

    @property
    def base(self) -> Path:
        """The folder below which the recordings' paths are shown: the dataset, or that of a study's recordings."""
        return self.audio if self.is_study else self.root

    def shown(self, path: str) -> str:
        """Return the path of a recording below `base`, from that below its folder of recordings."""
        return path if self.is_study else f"{AUDIO_FOLDER}/{path}"

    @property
    def title(self) -> str:
        """The name to show."""
        return self.base.name

    def require_usable(self) -> None:
        """Refuse to begin a study whose results would go where something else is.

        Raises
        ------
        RequestError
            When the folder of results is that of other recordings, or has something else in it, or the recordings are
            those of a dataset.
        """
        if not self.is_study or (kept := kept_recordings(self.root)) == self.audio:
            return
        if kept is not None and not is_same_file(kept, self.audio):
            raise RequestError(
                f"{self.root}: has the results of the recordings in {kept}; give --results another folder. If they "
                f"have moved to {self.audio}, write that after `recordings =` in {self.root / DATASET_FILE}"
            )
        if kept is None and self.root.is_dir() and any(self.root.iterdir()):
            raise RequestError(f"{self.root}: is not empty and has no results of BADC; give --results another folder")
        if (around := self._around()) is not None:
            raise RequestError(
                f"{self.audio}: is in the dataset {around}; name that, with a pattern for some of its recordings, or "
                "give --results a folder outside of it"
            )

    def _around(self) -> Path | None:
        """Return the DataLad dataset that has the results in it, or the dataset whose recordings these are, if any."""
        if (recorded := find_dataset_root(self.root.parent)) is not None or self.root.parent != self.audio:
            return recorded
        around = plain_dataset_of(self.root)
        return around if around is not None and self.audio.is_relative_to(audio_folder(around)) else None

    def require_writable(self) -> None:
        """Refuse, with the way out, a study whose folder of results cannot be written."""
        if self.is_study:
            try:
                require_writable(self.root, "folder of results")
            except RequestError as error:
                raise RequestError(f"{error}: --results DIR names another place for them") from None

    def keep(self) -> None:
        """Write down where the recordings of a study are, for all that reads its results."""
        if self.is_study and kept_recordings(self.root) is None:
            keep_recordings(self.root, self.audio)


def place_of(folder: Path, results: Path | None) -> DatasetPlace:
    """Return where the results of a dataset, or of any folder of recordings, go; nothing is written."""
    full = absolute(folder)
    is_dataset = not full.is_dir() or any((full / name).exists() for name in _OF_A_DATASET)
    recordings = audio_folder(full) if is_dataset else full
    if results is not None and absolute(results) != full:
        return DatasetPlace(absolute(results), recordings)
    return DatasetPlace(full if is_dataset else full / RESULTS_FOLDER, recordings)
