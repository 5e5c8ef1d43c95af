"""Dask workers as Slurm jobs, for runs of BADC to join: slurm_cluster.py JOBS SCHEDULER_FILE [OPTION OF SBATCH …]

It stays until Ctrl-C, and replaces jobs that end. Each job is one worker.
"""

import json
import sys
import threading
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed.security import Security

jobs, scheduler_file, directives = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
with SLURMCluster(
    processes=1,
    cores=2,  # threads: one for the chunk, and one for the next
    job_cpu=1,
    memory="4GB",
    walltime="12:00:00",
    job_extra_directives=directives,
    job_script_prologue=[". ~/dask-credentials/dask.env"],
    worker_extra_args=["--memory-limit", "0", "--no-dashboard"],
    protocol="tls://",
    security=Security(),  # what dask.env says
    scheduler_options={"dashboard": False},
) as cluster:
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # `scale` would not replace jobs that end
    scheduler_file.write_text(json.dumps({"address": cluster.scheduler_address}))
    print(cluster.job_script(), flush=True)
    threading.Event().wait()
