# What the scripts of this folder share; sourced by them.

# usage TEXT: explains and ends, where the first argument is no program.
usage() {
    echo "usage: $1" >&2
    exit 2
}

# number KEY FILE: the first number of that name at the top of a JSON document as the program prints it.
number() {
    sed -n "s/^  \"$1\": \([0-9.eE+-]*\),\{0,1\}\$/\1/p" "$2" | head -n 1
}

# sum KEY FILE: the sum of all numbers of that name, at any depth; null counts as nothing.
sum() {
    sed -n "s/^ *\"$1\": \([0-9.eE+-]*\),\{0,1\}\$/\1/p" "$2" | awk '{ s += $1 } END { printf "%.0f\n", s }'
}

# per NUMBER DIVISOR FORMAT: a quotient for people; "-" without a number.
per() {
    awk -v a="$1" -v b="$2" -v f="$3" 'BEGIN { if (a == "") print "-"; else printf f "\n", a / b }'
}

# folder SUFFIX DEVICES: makes benches/runs/DATE-ADAPTER[-SUFFIX] beside the scripts and prints its path.
folder() {
    name=$("$binary" devices 2>/dev/null | awk -v wanted="$2" '
        $1 == wanted || $1 == wanted ":" { sub(/^[^ ]+ +/, ""); print; exit }')
    [ "$2" = cpu ] && name=cpu
    name=$(printf %s "${name:-adapter $2}" | cut -c 1-40 | tr 'A-Z' 'a-z' | tr -cs 'a-z0-9' '-' | sed 's/^-//; s/-$//')
    base=$(cd "$(dirname "$0")" && pwd)/runs/$(date +%Y-%m-%d)-$name$1
    path=$base
    again=1
    while [ -e "$path" ]; do
        again=$((again + 1))
        path=$base-$again
    done
    mkdir -p "$path"
    printf '%s\n' "$path"
}

# commit: of the sources beside the scripts, where git and they are there.
commit() {
    git -C "$(dirname "$0")" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown
}

# record FOLDER WHAT COMMAND: begins the README of a run.
record() {
    {
        echo "# $2"
        echo
        echo "- command: \`$3\`"
        echo "- program: $("$binary" --version), commit $(commit)"
        echo "- begun: $(date -u +%Y-%m-%dT%H:%M:%SZ), load $(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || uptime)"
        echo "- machine: $(uname -srm), $(getconf _NPROCESSORS_ONLN 2>/dev/null) processors," \
            "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
        echo
        echo '```'
        "$binary" devices 2>/dev/null
        echo '```'
    } > "$1/README.md"
}

# tidy FOLDER: leaves its README, the JSON, and the logs that say something.
tidy() {
    rm -f "$1"/*.txt "$1/summary.md" "$1/growth.md" "$1/steps.md"
    find "$1" -name '*.log' -size 0 -exec rm -f {} +
}
