#!/usr/bin/env bash
#SBATCH --job-name=alexnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Trains on every GPU of two nodes, a rank each, and goes on where it was when Slurm starts it again. Five minutes before
# its time is over it saves and asks to be started again.
#
#   sbatch --export=ALL,DATA=/scratch/imagenet,RUN=/scratch/runs/alexnet slurm.sh
set -euo pipefail

data=${DATA:?is the folder of the images, the same path on every node}
run=${RUN:?is the folder of the run, on a file system that all nodes share}

arguments=(--model alexnet --data "$data" --save-every 30m)
if [ -e "$run/config.toml" ]; then
    arguments+=(--resume "$run")
else
    arguments+=(--out "$run")
fi

# A rank that ends early ends the others. The program is signalled as a job step, not by the shell.
srun --mpi=pmix --kill-on-bad-exit=1 alexnet train "${arguments[@]}" &
step=$!
trap 'scancel --signal=TERM "$SLURM_JOB_ID.0"; wait "$step" || true; scontrol requeue "$SLURM_JOB_ID"' USR1
wait "$step"
