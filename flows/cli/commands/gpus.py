"""`badc gpus`: this machine's GPUs as the driver reports them, and why none can be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.console import print_table

if TYPE_CHECKING:
    from badc.system.gpus import Gpu


def gpus(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> int:
    """List the GPUs of this machine, or say why none can be used (exit code 1)."""
    from badc.system.gpus import NoGpuError, driver_version, list_gpus, usable_gpus

    version, rows, reason = None, [], None
    try:
        version = driver_version()
        rows = [_row(gpu) for gpu in list_gpus()]
        usable_gpus()
    except NoGpuError as error:
        reason = str(error)
    if as_json:
        print(json.dumps({"driver_version": version, "gpus": rows, "reason": reason}))
    else:
        _print(version, rows)
        if reason is not None:
            print(f"no GPU: {reason}")
    return 0 if reason is None and any(row["usable"] for row in rows) else 1


def _row(gpu: Gpu) -> dict[str, Any]:
    from badc.system.gpus import GpuReader, why_not_usable

    reading = GpuReader(gpu).read()
    problem = why_not_usable(gpu)
    return {
        "index": gpu.index,
        "name": gpu.name,
        "uuid": gpu.uuid,
        "memory_total_mib": gpu.memory_total_mib,
        "memory_used_mib": reading.memory_used_mb if reading else None,
        "utilization": reading.utilization if reading else None,
        "temperature_c": reading.temperature_c if reading else None,
        "power_w": reading.power_w if reading else None,
        "mig_slices": [{"name": s.name, "uuid": s.uuid, "memory_total_mib": s.memory_total_mib} for s in gpu.slices],
        "usable": problem is None,
        "problem": problem,
    }


def _print(version: str | None, rows: list[dict[str, Any]]) -> None:

    print_table(
        [
            {
                "GPU": row["index"],
                "name": row["name"],
                "UUID": row["uuid"],
                "memory MiB": f"{row['memory_used_mib']} of {row['memory_total_mib']}",
                "utilization": "" if row["utilization"] is None else f"{row['utilization']} %",
                "MIG slices": len(row["mig_slices"]),
                "driver": version,
                "usable": "yes" if row["usable"] else f"no: {row['problem']}",
            }
            for row in rows
        ]
    )
