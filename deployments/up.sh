#!/usr/bin/env bash
# Makes a Prefect server ready for BADC: work pool, types of block, GPU pool, automations, deployments.
# It can be run again at any time; what an operator has changed stays: the limit of the GPU pool, schedules and
# parameters of the deployments, and which automations are switched off.
set -euo pipefail

usage() {
  cat <<TEXT
Usage: deployments/up.sh [--gpu-limit N] [--message-block TYPE/NAME]

Makes the server in PREFECT_API_URL ready for BADC, and can be run again at any time.

  --gpu-limit N              Runs that may use the GPUs at the same time, when the GPU pool is made. Default: 1.
  --message-block TYPE/NAME  Notification block for messages about failed datasets and silent workers, such as
                             custom-webhook/lab. Without it these two automations are left out.
TEXT
}

gpu_limit=1
message_block=
while (($#)); do
  case $1 in
    --gpu-limit) gpu_limit=${2:?--gpu-limit needs a number}; shift 2 ;;
    --message-block) message_block=${2:?--message-block needs TYPE/NAME}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[[ $gpu_limit =~ ^[1-9][0-9]*$ ]] || { echo "up.sh: --gpu-limit $gpu_limit: not a number" >&2; exit 2; }

cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset BADC_CHECKOUT # a worker's own, which must not get into the deployments
PATH=$PWD/.venv/bin:$PATH
. deployments/environment.sh
command -v prefect >/dev/null || { echo "up.sh: prefect is not installed here; run make env" >&2; exit 2; }
if [[ -z ${PREFECT_API_URL:-} ]]; then
  echo "up.sh: PREFECT_API_URL is not set; start a server with badc server start, or export the address of one" >&2
  exit 2
fi
python - 2>/dev/null <<'PY' || { echo "up.sh: no Prefect server answers at $PREFECT_API_URL" >&2; exit 1; }
import os, urllib.request
urllib.request.urlopen(os.environ["PREFECT_API_URL"] + "/health", timeout=30)
PY
# Without an authentication string, every user of the machine can read, start and cancel runs.
python - 2>/dev/null <<'PY' && echo "up.sh: WARNING: the server lets everybody in; start it with badc server start" >&2
import os, urllib.request
urllib.request.urlopen(os.environ["PREFECT_API_URL"] + "/admin/version", timeout=30)
PY

say() { echo "== $*"; }
quietly() {
  local said
  said=$("$@" 2>&1) || { echo "$said" >&2; return 1; }
}

say "Work pool badc"
if prefect work-pool inspect badc >/dev/null 2>&1; then
  echo "is there"
else
  quietly prefect --no-prompt work-pool create badc --type process
  echo "made"
fi

say "Types of block"
badc setup

say "GPU pool gpu"
if prefect gcl inspect gpu >/dev/null 2>&1; then
  echo "is there, and keeps its limit"
else
  quietly prefect gcl create gpu --limit "$gpu_limit"
  echo "made; runs that use GPUs at the same time: $gpu_limit"
fi

say "Deployments"
python deployments/deploy.py

say "Automations"  # which start deployments
python deployments/automations/apply.py "$message_block"

say "Ready"
echo "Start a worker in this folder, on each machine that is to run something:"
echo "  deployments/worker.sh"
