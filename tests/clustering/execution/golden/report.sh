#!/usr/bin/env bash
#SBATCH --job-name=spd-report
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --mem=64G
#SBATCH --output="/scratch/my out/slurm_logs/slurm-%j.out"
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

export SPD_OUT_DIR='/scratch/my out'
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
cd /home/me/spd || exit 2

command=(/home/me/.venv/bin/python -m spd.report /out/e-0123abcd --again)
task="$SLURM_JOB_ID"

export SPD_SLURM_TASK="$task"
restarts="${SLURM_RESTART_COUNT:-0}"
child=
requeue=no
trap 'requeue=yes; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' USR1
trap '[ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM

echo "$(date -u +%FT%TZ) job $task on $(hostname), restart $restarts: ${command[*]}"
"${command[@]}" &
child=$!
[ "$requeue" = no ] || kill -TERM "$child"
while kill -0 "$child" 2>/dev/null; do wait "$child"; done   # a signal ends a wait before the child has ended
wait "$child"
status=$?

if [ "$requeue" = yes ] && { [ "$status" = 143 ] || [ "$status" = 130 ]; }; then
    own="$(scontrol show job "$task" 2>/dev/null)"
    counted="$(sed -n 's/.*Restarts=\([0-9]*\).*/\1/p' <<< "$own")"   # SLURM_RESTART_COUNT may be an outer job's
    restarts="${counted:-$restarts}"
    if [ "$restarts" -ge 20 ]; then
        echo "error: cut off $((restarts + 1)) times, not requeued again: give the job more time" >&2
    elif ! grep -q "^ *JobId=$SLURM_JOB_ID\b" <<< "$own"; then
        echo "error: $task is not this job, $SLURM_JOB_ID: not requeued" >&2
    else
        echo "$(date -u +%FT%TZ) job $task: cut off, what it had is saved; requeued to go on"
        scontrol requeue "$task" && exit 0
        echo "error: SLURM did not requeue $task" >&2
    fi
fi
[ "$status" -le 128 ] || echo "error: ended by signal $((status - 128))" >&2
exit "$status"
