"""HawkEars 1.x as a runner: its script `analyze.py`, one process per task."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from badc.chunks.manifest import Chunk
from badc.detections.hawkears_labels import COLUMNS, LABELS, detection_of, rows_of
from badc.detections.result import ChunkResult, InvalidResultError, ResultStatus, parse_detections
from badc.errors import NotInstalledError, RequestError, RunnerError
from badc.recordings.audio import AudioWindow, require_unchanged, wav_bytes
from badc.runners.hawkears.checkpoints import digest_of_checkpoints
from badc.runners.hawkears.settings import INSTALL, HawkearsEngine, HawkearsSettings
from badc.runners.interface import FOUND, ChunkTimeout, RunnerOutput, WorkerPlace
from badc.runners.process.elsewhere import SOURCE_ROOT
from badc.runners.process.once import Finished, run_process
from badc.system import leash
from badc.system.environment import inherited
from badc.system.texts import csv_writer

SCRIPT = "analyze.py"
# What BADC decides itself, or what concerns whole recordings and would be wrong for each chunk.
_OURS = frozenset(
    {
        *("-i", "--input", "-o", "--output", "--rtype", "-m", "--merge", "--recurse", "--filelist"),
        *("-s", "--start", "-e", "--end", "--debug", "--embed", "-h", "--help"),
    }
)
_HELP_TIMEOUT_S = 300.0
_LOST_THREAD = "Exception in thread"
_CHECKPOINT_FOLDERS = ("data/ckpt", "data/low_band_ckpt")


class HawkearsScriptSpec(HawkearsSettings):
    """Settings of HawkEars 1.x; `root` is the folder of `analyze.py`, absolute."""

    kind = "hawkears-script"
    title = "HawkEars 1.x"
    section = "HawkEars"
    about = "HawkEars 1.x, its analyze.py once per task."
    fixed: ClassVar[Mapping[str, Any]] = {"hawkears_engine": HawkearsEngine.SCRIPT}
    takes_batches = True
    aside = HawkearsSettings.aside | {"hawkears_root", "root"}

    hawkears_root: Annotated[
        Path | None,
        Field(description="HawkEars 1.x: the folder with its analyze.py. Default: vendor/HawkEars in BADC's folder."),
    ] = None
    # Per chunk: a call with several may take that many times longer.
    chunk_timeout_s: ChunkTimeout = None
    root: Annotated[Path, Field(json_schema_extra=FOUND)] = Path()

    @classmethod
    def is_meant(cls, settings: Any) -> bool:
        """Whether the engine is given, or a script is (see `RunnerSpec.is_meant`)."""
        if settings.hawkears_engine is None:
            return settings.hawkears_root is not None or find_script(None) is not None
        return bool(settings.hawkears_engine is HawkearsEngine.SCRIPT)

    @property
    def description(self) -> str:
        """See `RunnerSpec.description`."""
        return f"HawkEars 1.x ({self.version}), script {self.root / SCRIPT} run by {self.python}"

    @property
    def working_dir(self) -> Path:
        """See `HawkearsSettings.working_dir`."""
        return self.root

    def prepared(self) -> Self:
        """Check the arguments against the options that the script lists (see `RunnerSpec.prepared`)."""
        root = find_script(self.hawkears_root)
        if root is None:
            raise NotInstalledError(f"HawkEars 1.x is not here; {INSTALL}")
        own = root / ".venv" / "bin" / "python"
        given = self.hawkears_python
        python = str(given.absolute()) if given else str(own) if own.exists() else sys.executable
        _require_known(root, python, self.hawkears_arg)
        version = _version(root)
        found = {"root": root, "python": python, "version": version, "model_version": _model_version(root, version)}
        return self.model_copy(update=found)

    def open(self, place: WorkerPlace) -> HawkearsScriptRunner:
        """Make the runner."""
        return HawkearsScriptRunner(self, place)


class HawkearsScriptRunner:
    """Calls the script on a folder of links, and splits its table of labels among the chunks."""

    name = HawkearsScriptSpec.name

    def __init__(self, spec: HawkearsScriptSpec, place: WorkerPlace) -> None:
        self._spec = spec
        self._place = place
        # Anew: the folder may be another machine's.
        self._model_version = _model_version(spec.root, spec.version)

    def detect(self, chunk: Chunk, audio: AudioWindow) -> RunnerOutput:
        """Run the script on one chunk (see `Runner.detect`)."""
        (output,) = self.detect_batch([(chunk, audio)])
        if isinstance(output, RunnerError):
            raise output
        return output

    def detect_batch(self, items: Sequence[tuple[Chunk, AudioWindow]]) -> list[RunnerOutput | RunnerError]:
        """Run the script once on all of these chunks (see `BatchRunner.detect_batch`)."""
        with ExitStack() as stack:
            folder, output = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._place.scratch_dir))) for _ in range(2)
            )
            names = _lay_out(items, folder)
            finished = self._run(folder, output, len(items))
            path = output / LABELS
            try:
                tables = _split(path.read_text(encoding="utf-8-sig"), names)
            except FileNotFoundError:
                raise RunnerError(f"HawkEars wrote no {LABELS}", **vars(finished)) from None
            except (UnicodeDecodeError, InvalidResultError) as error:
                raise RunnerError(f"HawkEars wrote a malformed {LABELS}: {error}", **vars(finished)) from None
        return [self._output(chunk, rows, finished) for (chunk, _), rows in zip(items, tables, strict=True)]

    def close(self) -> None:
        """Do nothing: no process lives longer than its task."""

    def _run(self, folder: Path, output: Path, chunks: int) -> Finished:
        spec = self._spec
        words = [spec.python, SCRIPT, "-i", str(folder), "-o", str(output), "--rtype", "csv", "--merge", "0"]
        finished = run_process(
            [*words, *spec.hawkears_arg],
            what="HawkEars",
            timeout_s=None if spec.chunk_timeout_s is None else spec.chunk_timeout_s * chunks,
            environment=self._place.environment,
            working_dir=spec.root,
        )
        if finished.returncode != 0:
            raise RunnerError(f"HawkEars {leash.how_it_ended(finished.returncode)}", **vars(finished))
        if _LOST_THREAD in finished.stderr:
            # HawkEars finishes without that thread's recordings and exits with 0: their chunks would look silent.
            raise RunnerError("a thread of HawkEars ended with an error", **vars(finished))
        return finished

    def _output(self, chunk: Chunk, rows: list[dict[str, str]], finished: Finished) -> RunnerOutput | RunnerError:
        try:
            detections = parse_detections([detection_of(row) for row in rows])
        except InvalidResultError as error:
            return RunnerError(f"HawkEars wrote a malformed {LABELS}: {error}", **vars(finished))
        status = ResultStatus.OK if detections else ResultStatus.NO_DETECTIONS
        result = ChunkResult(chunk, self.name, status, detections, model_version=self._model_version)
        return RunnerOutput(result, **vars(finished), raw_files={LABELS: _table(rows)})


def find_script(root: Path | None) -> Path | None:
    """Return the folder of HawkEars 1.x: the given one, else `vendor/HawkEars` if it has been fetched, else None.

    Raises
    ------
    RequestError
        When the given folder has no `analyze.py`.
    """
    if root is None:
        vendored = SOURCE_ROOT / "vendor" / "HawkEars"
        return vendored if (vendored / SCRIPT).is_file() else None
    if not (root / SCRIPT).is_file():
        raise RequestError(f"--hawkears-root {root}: has no {SCRIPT}; name the folder of HawkEars 1.x")
    return root.absolute()


def _require_known(root: Path, python: str, arguments: tuple[str, ...]) -> None:
    known = _known_options(root, python)
    for word in arguments:
        if not _is_option(word):
            continue
        option = word.split("=", 1)[0]
        if option in _OURS:
            raise RequestError(f"--hawkears-arg {word}: BADC decides this itself")
        if option not in known:
            raise RequestError(
                f"--hawkears-arg {word}: {root / SCRIPT} has no such option; it has {', '.join(sorted(known - _OURS))}"
            )


@lru_cache(maxsize=8)
def _known_options(root: Path, python: str) -> frozenset[str]:
    try:
        done = subprocess.run(
            [python, SCRIPT, "--help"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_HELP_TIMEOUT_S,
            env=inherited(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequestError(
            f"{python}: cannot run {root / SCRIPT} ({error}); name another with --hawkears-python"
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise NotInstalledError(
            f"{root / SCRIPT}: does not run in {python} ({last}); name an interpreter that has what it needs with "
            "--hawkears-python"
        )
    return frozenset(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", done.stdout))


@lru_cache(maxsize=8)
def _version(root: Path) -> str:
    """Return what the folder's version.txt says, with the commit if the folder is the top of a git checkout."""
    try:
        told = " ".join((root / "version.txt").read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError):
        told = ""
    try:
        words = ["git", "-C", str(root), "rev-parse", "--show-prefix", "--short", "HEAD"]
        lines = subprocess.run(words, capture_output=True, text=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    commit = f"commit {lines[1]}" if len(lines) == 2 and not lines[0] else ""
    return " ".join(filter(None, (told, commit))) or "version unknown"


@lru_cache(maxsize=8)  # the runs of a dataset ask once for each recording, and checkpoints are large
def _model_version(root: Path, version: str) -> str:
    return f"HawkEars 1.x {version} {digest_of_checkpoints(root / folder for folder in _CHECKPOINT_FOLDERS)}"


def _is_option(word: str) -> bool:
    if not word.startswith("-"):
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _lay_out(items: Sequence[tuple[Chunk, AudioWindow]], folder: Path) -> list[frozenset[str]]:
    """Put each chunk into a folder; return the names under which the script may report each.

    A chunk with a file of its own is linked. The script may report a link by its target's name, such as a git-annex
    key; two chunks with the same content share a target, so the second one is copied.
    """
    taken: set[str] = set()
    names = []
    for chunk, audio in items:
        file = audio.file
        resolved = file.resolve().name if audio.whole_file else ""
        linked = audio.whole_file and resolved not in taken
        path = folder / f"{chunk.chunk_id}{file.suffix if audio.whole_file else '.wav'}"
        if audio.whole_file:
            require_unchanged(audio)
        if linked:
            path.symlink_to(file.absolute())
            taken.add(resolved)
        elif audio.whole_file:
            shutil.copyfile(file, path)
        else:
            path.write_bytes(wav_bytes(audio))
        known = {path.name, chunk.chunk_id, *((resolved, Path(resolved).stem) if linked else ())}
        names.append(frozenset(known))
    return names


def _split(text: str, names: Sequence[frozenset[str]]) -> list[list[dict[str, str]]]:
    """Return the rows of each chunk, or raise InvalidResultError: a missing column, a short row, or an unknown file."""
    owner = {name: index for index, known in enumerate(names) for name in known}
    rows: list[list[dict[str, str]]] = [[] for _ in names]
    for line, row in rows_of(text):
        index = owner.get(Path(row["filename"]).name)
        if index is None:
            raise InvalidResultError(f"line {line} is of {row['filename']!r}, which is not a chunk of this call")
        rows[index].append(row)
    return rows


def _table(rows: Iterable[dict[str, str]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv_writer(stream)
    writer.writerow(COLUMNS)
    writer.writerows([row[column] for column in COLUMNS] for row in rows)
    return stream.getvalue().encode()
