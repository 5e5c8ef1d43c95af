"""How to recognize that a GPU's memory ran out; with the standard library only, as hosts need it."""

from __future__ import annotations

import re

ADVICE = (
    "the GPU's memory is too small for this chunk: cut shorter ones (`badc chunk probe` finds the longest that fits)"
)

_SIGNS = re.compile(
    "|".join(
        (
            r"CUDA out of memory",  # torch.OutOfMemoryError, older torch.cuda.OutOfMemoryError
            r"\bOutOfMemoryError\b",
            r"CUDA_ERROR_OUT_OF_MEMORY",  # the driver API
            r"cudaErrorMemoryAllocation",  # the runtime API
            r"CU(?:BLAS|DNN|FFT)_STATUS_ALLOC_FAILED",
            r"CUDA failure 2: out of memory",  # onnxruntime's CUDA provider
            r"Failed to allocate memory for requested buffer",  # onnxruntime's arena
            r"BFCArena::AllocateRawInternal",
            r"OOM when allocating tensor",  # TensorFlow
        )
    )
)


def is_gpu_out_of_memory(*texts: str) -> bool:
    """Return whether any text (an error, a process's output) has a library's message that GPU memory ran out."""
    return any(_SIGNS.search(text) for text in texts)
