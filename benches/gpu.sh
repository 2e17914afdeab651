#!/bin/sh
# Measures a GPU in one call of at most four minutes: parity of the contractions, ceilings and kernels, steps in f32 and
# mixed precision on one device and on two of one adapter, PyTorch where it is installed. What matters most comes first,
# and what is not begun when time is up is named. Needs the program, a Vulkan loader with the GPU's driver, and sh.
set -eu
. "$(dirname "$0")/common.sh"
binary=${1-}
[ -x "$binary" ] || usage "MODEL=alexnet BATCHES='128 256' REPEATS=5 SECONDS_IN_ALL=240 OUT=DIR $0 BINARY [DEVICE]"
device=${2-0}
model=${MODEL-alexnet}
batches=${BATCHES-128 256}
repeats=${REPEATS-5}
end=$(($(date +%s) + ${SECONDS_IN_ALL-240}))
if [ -n "${OUT-}" ]; then
    out=$OUT
    mkdir -p "$out"
else
    out=$(folder -gpu "$device")
fi
record "$out" "$model, batches $batches, on $device" \
    "MODEL=$model BATCHES='$batches' REPEATS=$repeats $0 $*"
first=${batches%% *}
# No part may take more than a third of the time.
most=$((${SECONDS_IN_ALL-240} / 3))

# part NAME COMMAND...: runs a command within the time that is left; its output in NAME.txt, its complaints in NAME.log.
part() {
    name=$1
    shift
    left=$((end - $(date +%s)))
    [ "$left" -le "$most" ] || left=$most
    if [ "$left" -le 5 ]; then
        echo "$name: not begun, time is up" | tee -a "$out/missing.md"
        return 0
    fi
    begin=$(date +%s)
    if timeout "$left" "$@" > "$out/$name.txt" 2> "$out/$name.log"; then
        echo "$name: $(($(date +%s) - begin)) s"
    else
        echo "$name: failed or out of time ($(tail -n 1 "$out/$name.log"))" | tee -a "$out/missing.md"
    fi
}

# bench NAME WHAT BATCH OPTION...: a table, and the JSON beside it.
bench() {
    name=$1
    what=$2
    batch=$3
    shift 3
    part "$name" "$binary" bench "$what" --model "$model" --batch "$batch" --repeats "$repeats" \
        --save "$out/$name.json" "$@"
}

part check "$binary" check --devices "$device" --only conv.
for batch in $batches; do
    bench "step-f32-$batch" step "$batch" --devices "$device"
    bench "step-mixed-$batch" step "$batch" --devices "$device" --precision mixed
done
bench "kernels-f32-$first" kernels "$first" --devices "$device"
bench "kernels-mixed-$first" kernels "$first" --devices "$device" --precision mixed
bench "step-f32-$first-two" step "$first" --devices "$device,$device"
bench "step-mixed-$first-two" step "$first" --devices "$device,$device" --precision mixed
peer=$(dirname "$0")/peers/pytorch.py
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    for mode in default f32 bf16; do
        part "pytorch-$mode" python3 "$peer" --device cuda --mode "$mode" --batch "$first" --repeats "$repeats"
        part "pytorch-$mode-channels-last" \
            python3 "$peer" --device cuda --mode "$mode" --batch "$first" --repeats "$repeats" --channels-last
    done
else
    echo "pytorch: not installed, or without this GPU" | tee -a "$out/missing.md"
fi

{
    echo
    echo "| step | ms | images/s | GFLOP/s | host, ms |"
    echo "| --- | ---: | ---: | ---: | ---: |"
    for file in "$out"/step-*.json; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .json)
        printf '| %s | %s | %s | %s | %s |\n' "${name#step-}" "$(per "$(number step "$file")" 0.001 %.2f)" \
            "$(per "$(number images_per_second "$file")" 1 %.1f)" \
            "$(per "$(number flops_per_second "$file")" 1e9 %.1f)" "$(per "$(number host "$file")" 0.001 %.2f)"
    done
    [ ! -e "$out/missing.md" ] || { echo; sed 's/^/- /' "$out/missing.md"; }
    for file in "$out"/*.txt; do
        printf '\n%s:\n\n```\n' "$(basename "$file" .txt)"
        cat "$file"
        echo '```'
    done
} > "$out/tables.md"
sed '/^```/,$d' "$out/tables.md" | head -n 40
cat "$out/tables.md" >> "$out/README.md"
rm -f "$out"/*.txt "$out/tables.md" "$out/missing.md"
find "$out" -name '*.log' -size 0 -exec rm -f {} +
echo "everything is in $out"
