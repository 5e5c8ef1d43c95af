"""Options that other tools have: some still work, the others are answered with the line to use. The help has none."""

from __future__ import annotations

from collections.abc import Sequence

# Options that are arguments now, by command.
_ARGUMENTS = {"infer run": "--manifest", "chunk split": "--file", "chunk probe": "--file"}
_ANSWERS = {
    "chunk split --manifest": "it only prints the chunks' ids; `badc chunk manifest AUDIO --output FILE` "
    "writes a manifest",
    "pipeline run --chunk-plan": "it makes its own plan each time; `badc chunk orchestrate DATASET --plan-json FILE` "
    "writes the plan of the chunking, and `badc infer orchestrate DATASET --chunk-plan FILE` runs only its recordings",
    "chunk probe --gpu": "--gpu-index N chooses the GPU",
    **{
        f"{command} --scheduler-file": "--scheduler FILE takes a scheduler's file as well as its address"
        for command in ("infer run", "infer orchestrate", "pipeline run")
    },
}


def as_now(command: str, words: Sequence[str]) -> list[str]:
    """Return the words of a command, such as `infer run`, without the options that are arguments now."""
    option = _ARGUMENTS.get(command)
    return [word.removeprefix(f"{option}=") for word in words if word != option]


def answer(command: str, words: Sequence[str]) -> str | None:
    """Return what to do instead of the first option that only another tool has; None if there is none."""
    for word in words:
        option = word.partition("=")[0]
        if (told := _ANSWERS.get(f"{command} {option}")) is not None:
            return f"badc {command} has no {option}: {told}"
    return None
