#!/usr/bin/env bash
# A Prefect worker for BADC's deployments that lets its runs end before it ends: stopped by itself, it would kill them.
set -euo pipefail

usage() {
  cat <<TEXT
Usage: deployments/worker.sh [OPTION …]

Runs the deployments on this machine, until Ctrl-C or SIGTERM. Its runs are then interrupted: running chunks get their
grace period, and the summary says so. A second Ctrl-C or SIGTERM kills them.

  OPTION …   Options of \`prefect worker start\`, such as --name ridge or --limit 2. The pool is badc.
TEXT
}

case ${1:-} in -h | --help) usage; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export BADC_CHECKOUT=$PWD
PATH=$PWD/.venv/bin:$PATH
. deployments/environment.sh
command -v prefect >/dev/null || { echo "worker.sh: prefect is not installed here; run make env" >&2; exit 2; }
if [[ -z ${PREFECT_API_URL:-} ]]; then
  echo "worker.sh: PREFECT_API_URL is not set; start a server with badc server start, or export the address of one" >&2
  exit 2
fi

# shellcheck disable=SC2329 # the traps call them
runs_of_worker() { cat "/proc/$worker/task/"*/children 2>/dev/null || true; }
# One that has ended stays as a zombie while the worker stands still.
runs() { [[ -e /proc/$1 ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

# shellcheck disable=SC2329
let_runs_end() {
  asked=1
  trap 'end_worker' INT TERM
  kill -STOP "$worker" 2>/dev/null || return 0 # it begins no further run
  local started ended=0 run
  read -ra started <<<"$(runs_of_worker)"
  if ((${#started[@]})); then
    echo "worker.sh: ${#started[@]} under way: each gets its grace period; Ctrl-C again kills them" >&2
    kill -TERM "${started[@]}" 2>/dev/null || true
  fi
  until ((ended)); do
    ended=1
    for run in "${started[@]}"; do if runs "$run"; then ended=0; fi; done
    ((ended)) || sleep 0.2
  done
  end_worker
}

# shellcheck disable=SC2329
end_worker() {
  kill -TERM "$worker" 2>/dev/null || true
  kill -CONT "$worker" 2>/dev/null || true
}

set -m # in a process group of its own: what a terminal sends reaches only this script
# Prefect's worker ends itself by SIGINT, which is ignored in what a script has started in the background.
env --default-signal=INT prefect worker start --pool badc --type process "$@" &
worker=$!
set +m
trap 'let_runs_end' INT TERM
code=0 asked=0
# A signal ends the wait, not the worker.
while runs "$worker"; do wait "$worker" && code=0 || code=$?; done
((asked)) || echo "worker.sh: the worker ended by itself; its runs go on, and can be cancelled in the UI" >&2
exit "$code"
