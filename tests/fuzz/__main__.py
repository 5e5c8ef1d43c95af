"""Feed every reader with made-up files: `make fuzz`, or `python -m tests.fuzz --seconds 600 [TARGET …]`.

Needs atheris (`make fuzz` installs it). Inputs that were worth keeping stay in `build/fuzz/corpus`, those that are a
fault in `build/fuzz/found`, one for each place in the code. The exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import traceback
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS, FOUND = ROOT / "build" / "fuzz" / "corpus", ROOT / "build" / "fuzz" / "found"
_LONGEST_BYTES = 200_000
_TIMEOUT_S = 60
_MOST_MEMORY_MIB = 2048


def main() -> int:
    """Run the targets one after another, each in a process of its own; return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("targets", nargs="*", help="those to run; by default all")
    arguments.add_argument("--seconds", type=int, default=600, help="how long all of them take (default: 600)")
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child is not None:
        fuzz(given.child)
    from tests.fuzz.targets import TARGETS

    targets = given.targets or list(TARGETS)
    faults = 0
    for name in targets:
        before = _files(FOUND / name)
        with tempfile.TemporaryDirectory() as folder:
            returncode = _run(name, given.seconds // len(targets), Path(folder))
        new = sorted(_files(FOUND / name) - before)
        faults += len(new) + (returncode != 0 and not new)
        print(f"{name}: {len(new)} faults" if new or returncode == 0 else f"{name}: ended with {returncode}")
        for path in new:
            print(f"  {path.relative_to(ROOT)}")
    return int(faults > 0)


def _run(name: str, seconds: int, folder: Path) -> int:
    for place in (CORPUS / name, FOUND / name):
        place.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"FUZZ_SECONDS": str(seconds), "PYTHONPATH": _with_root()}
    words = [sys.executable, "-m", "tests.fuzz", "--child", name]
    return subprocess.run(words, cwd=folder, env=environment, check=False).returncode


def _with_root() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def _files(folder: Path) -> set[Path]:
    return set(folder.iterdir()) if folder.is_dir() else set()


def fuzz(name: str) -> None:
    """Feed a target in this process and working directory until the time is over; does not return."""
    import atheris

    with atheris.instrument_imports(include=["badc"]):
        from tests.fuzz import targets
    from badc.errors import BadcError
    from tests.fuzz.mutation import mutator

    target = targets.TARGETS[name]
    targets.lay_out()
    for seed in target.seeds():
        (CORPUS / name / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    places: set[str] = set()

    def one_input(content: bytes) -> None:
        try:
            target.run(content)
        except BadcError:
            pass
        except Exception as error:
            lines = [str(frame) for frame in traceback.extract_tb(error.__traceback__) if "/badc/" in frame.filename]
            place = f"{type(error).__name__} {lines[-1:]}"
            if place not in places:  # and go on: there may be others
                places.add(place)
                traceback.print_exc()
                (FOUND / name / f"{type(error).__name__}-{sha256(content).hexdigest()[:16]}").write_bytes(content)

    one_input(target.seeds()[0])  # loads the libraries, which is not to count as slow
    limits = (f"-max_total_time={os.environ['FUZZ_SECONDS']}", f"-max_len={_LONGEST_BYTES}", f"-timeout={_TIMEOUT_S}")
    limits += (
        f"-rss_limit_mb={_MOST_MEMORY_MIB}",
        f"-report_slow_units={_TIMEOUT_S}",
        f"-artifact_prefix={FOUND / name}/",
        "-print_final_stats=1",
    )
    atheris.Setup(
        ["fuzz", *limits, str(CORPUS / name)],
        one_input,
        custom_mutator=mutator(lambda *given: atheris.Mutate(*given)),  # not to be looked up before Setup
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
