#!/bin/sh
# How time and memory of a step grow with the batch and with the number of towers, and whether steps stay as fast as they
# began. Needs what adapter.sh needs; see README.md beside it.
set -eu
. "$(dirname "$0")/common.sh"
binary=${1-}
[ -x "$binary" ] || usage "BATCHES='1 8 32 128 256' BATCH=32 STEPS=10000 REPEATS=5 $0 BINARY [DEVICES]"
devices=${2-0}
batches=${BATCHES-1 8 32 128 256}
batch=${BATCH-32}
steps=${STEPS-10000}
repeats=${REPEATS-5}
out=$(folder -growth "${devices%%,*}")
record "$out" "growth on $devices" \
    "BATCHES='$batches' BATCH=$batch STEPS=$steps REPEATS=$repeats $0 $*"
echo "everything goes to $out"

# step NAME MODEL BATCH: one row of the table.
step() {
    "$binary" bench step --model "$2" --batch "$3" --devices "$devices" --repeats "$repeats" \
        --save "$out/$1.json" > "$out/$1.txt" 2> "$out/$1.log" || {
        tail -n 1 "$out/$1.log" >&2
        printf '| %s | %s | - | - | - | - |\n' "$2" "$3"
        return 0
    }
    seconds=$(number step "$out/$1.json")
    rate=$(per "$(number images_per_second "$out/$1.json")" 1 %.1f)
    planned=$(per "$(sum planned "$out/$1.json")" 1048576 %.1f)
    allocated=$(sum allocated "$out/$1.json")
    [ "$allocated" = 0 ] && allocated=
    printf '| %s | %s | %s | %s | %s | %s |\n' "$2" "$3" "$(per "$seconds" 0.001 %.1f)" "$rate" "$planned" \
        "$(per "$allocated" 1048576 %.1f)"
}

{
    echo
    echo "| network | batch | ms a step | images/s | planned, MiB | allocated, MiB |"
    echo "| --- | ---: | ---: | ---: | ---: | ---: |"
    for size in $batches; do
        step "batch-$size" alexnet "$size"
    done
    for model in alexnet-one-tower alexnet alexnet-four-towers; do
        step "$model" "$model" "$batch"
    done
} | tee "$out/growth.md"

# The times of all steps are a list in the JSON, one a line.
"$binary" bench step --model mini --devices "$devices" --repeats "$steps" --save "$out/mini.json" \
    > "$out/mini.txt" 2> "$out/mini.log"
sed -n '/^  "times": \[/,/^  \]/p' "$out/mini.json" | sed -n 's/^    \([0-9.eE+-]*\),\{0,1\}$/\1/p' | awk '
    { time[NR] = $1 }
    END {
        print ""
        printf "| steps of mini | steps/s |\n| --- | ---: |\n"
        for (bucket = 0; bucket < 10; bucket++) {
            first = int(NR * bucket / 10) + 1
            last = int(NR * (bucket + 1) / 10)
            seconds = 0
            for (i = first; i <= last; i++) seconds += time[i]
            if (last >= first) printf "| %d to %d | %.1f |\n", first, last, (last - first + 1) / seconds
        }
    }' > "$out/steps.md"
cat "$out/steps.md"
cat "$out/growth.md" "$out/steps.md" >> "$out/README.md"
tidy "$out"
