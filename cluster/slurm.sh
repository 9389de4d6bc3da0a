#!/bin/bash
# A search as one SLURM job: Ray on every node of the allocation, the search on the first one.
#
#   mkdir -p logs
#   sbatch cluster/slurm.sh --method mr --gpus 1       # in the project's folder; CHANGE below first
#
# What follows the script's name goes to tuning.search. A job that was ended, by its time limit too,
# loses what trials did since their last checkpoints: the same command again goes on with the study.
# Give each study a name of its own: NAME=second sbatch cluster/slurm.sh ...
#
# `ray symmetric-run` ends every Ray of yours on its nodes when it ends, hence --exclusive.
#SBATCH --job-name=noisetune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
#SBATCH --output=logs/%x-%j.log
set -euo pipefail

# Where studies go, and the environment: folders that all nodes see. CHANGE, or set in the shell.
storage=${STORAGE:-$HOME/studies}
name=${NAME:-first}
venv=${VENV:-$HOME/noisetune-venv}

cd "${SLURM_SUBMIT_DIR:-.}"
test -x "$venv/bin/python" || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q -c constraints.txt -e . 'ray[tune]==2.60.0'
export PATH="$venv/bin:$PATH"

# Ray's ports are open on every network of the nodes; the token lets in. It is made once, 0600.
RAY_AUTH_TOKEN_PATH=$(python -c 'from tuning.session import token_file; print(token_file())')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300  # of nodes for each other, in seconds

# On each node's own disk: data made ready once a node, and Ray's files (sockets want short names).
export NOISETUNE_HOME="${LOCAL:-/tmp}/noisetune-$UID" RAY_TMPDIR="${LOCAL:-/tmp}/ray-$SLURM_JOB_ID"
# export NOISETUNE_DATA=/shared/data    # original files of data sets, where a task needs them

# This script runs on the first node. Not 10002 to 19999, which Ray's workers use.
head="$(hostname -I | cut -d' ' -f1):$((20000 + SLURM_JOB_ID % 10000))"

# What says where and how wide to run counts again when a study goes on; the rest it knows.
where=() what=()
while (($#)); do
  case $1 in
    --gpus | --cpus | --concurrency | --data-root | --max-failures | --time)
      where+=("$1" "${2-}") && shift $(($# > 1 ? 2 : 1)) ;;
    --gpus=* | --cpus=* | --concurrency=* | --data-root=* | --max-failures=* | --time=*)
      where+=("$1") && shift ;;
    *) what+=("$1") && shift ;;
  esac
done
if test -e "$storage/$name/manifest.json"; then
  set -- --resume "$storage/$name" "${where[@]}"
else
  set -- "${what[@]}" "${where[@]}" --storage "$storage" --name "$name"
fi
# on each node: nobody else may own the folders, whose names anybody can guess
srun --ntasks-per-node=1 bash -c '
  for folder in "$NOISETUNE_HOME" "$RAY_TMPDIR"; do
    mkdir -p -m 700 "$folder" && test -O "$folder" && chmod 700 "$folder" && continue
    echo "error: $(hostname): $folder is not yours (set LOCAL to a folder that is)" >&2 && exit 1
  done
  exec "$@"' own \
  ray symmetric-run --address "$head" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
  --object-store-memory 200000000 -- python -m tuning.search --address "$head" "$@"

# symmetric-run exits with 0 where Ray did not start
test -e "$storage/$name/manifest.json"
