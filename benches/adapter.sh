#!/bin/sh
# Measures one adapter in one go: parity, ceilings and kernels, the training step and its host time, peers where they
# are installed. Needs the program, a Vulkan loader and sh; see README.md beside it.
set -eu
. "$(dirname "$0")/common.sh"
binary=${1-}
[ -x "$binary" ] || usage "MODEL=alexnet BATCH=32 REPEATS=5 $0 BINARY [DEVICES]"
devices=${2-0}
model=${MODEL-alexnet}
batch=${BATCH-32}
repeats=${REPEATS-5}
out=$(folder "" "${devices%%,*}")
record "$out" "$model, batch $batch, on $devices" "MODEL=$model BATCH=$batch REPEATS=$repeats $0 $*"
echo "everything goes to $out"

echo "parity"
if ! "$binary" check --devices "$devices" --json > "$out/check.json" 2> "$out/check.log"; then
    cat "$out/check.log" >&2
    echo "no number of an adapter is worth anything that computes something else" >&2
    exit 1
fi

# bench WHAT NAME OPTION...: a table on paper and on screen, and the JSON beside it.
bench() {
    what=$1
    name=$2
    shift 2
    echo "$name"
    "$binary" bench "$what" --model "$model" --batch "$batch" --devices "$devices" --repeats "$repeats" \
        --save "$out/$name.json" "$@" > "$out/$name.txt" 2> "$out/$name.log" || {
        cat "$out/$name.log" >&2
        return 1
    }
    cat "$out/$name.txt"
}

bench kernels kernels
bench step step
precisions=step
if "$binary" bench step --help | grep -q -- --precision; then
    # An adapter that cannot is no reason to stop.
    bench step step-mixed --precision mixed && precisions="step step-mixed"
fi

# row NAME FILE: of the table in the end.
row() {
    step=$(number step "$2")
    images=$(per "$(number images_per_second "$2")" 1 %.1f)
    rate=$(per "$(number flops_per_second "$2")" 1e9 %.1f)
    host=$(per "$(number host "$2")" 0.001 %.2f)
    printf '| %s | %s | %s | %s | %s |\n' "$1" "$(per "$step" 0.001 %.1f)" "$images" "$rate" "$host"
}

{
    echo
    echo "| training, batch $batch | ms a step | images/s | GFLOP/s | host, ms a step |"
    echo "| --- | ---: | ---: | ---: | ---: |"
    for name in $precisions; do
        case $name in
            step-mixed) row "$model, mixed" "$out/$name.json" ;;
            *) row "$model, f32" "$out/$name.json" ;;
        esac
    done
} > "$out/summary.md"

peer=$(dirname "$0")/peers/pytorch.py
if [ -f "$peer" ] && python3 -c 'import torch' 2> /dev/null; then
    echo "peers"
    if python3 "$peer" --batch "$batch" > "$out/pytorch.txt" 2> "$out/pytorch.log"; then
        { echo; echo '```'; cat "$out/pytorch.txt"; echo '```'; } >> "$out/summary.md"
    else
        cat "$out/pytorch.log" >&2
    fi
fi

cat "$out/summary.md"
{
    cat "$out/summary.md"
    for name in kernels $precisions; do
        printf '\n%s:\n\n```\n' "$name"
        cat "$out/$name.txt"
        echo '```'
    done
} >> "$out/README.md"
tidy "$out"
