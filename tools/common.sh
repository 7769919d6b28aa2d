# shellcheck shell=bash
# common.sh - what every tool here shares. Sourced, never run.
#
# After it: the shell stands at the top of the tree, `set -euo pipefail` holds, and these are known:
#   say TEXT            one line for the person, on standard error
#   die TEXT [STATUS]   the same, then ends with STATUS (default 1)
#   usage_error TEXT    names the mistake and --help, ends with 2
#   print_help FILE     the comment at the head of a tool is its --help
#   now_ms, seconds_since MS

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8

tool=${0##*/}

say() { printf '%s: %s\n' "$tool" "$1" >&2; }

die() {
    say "$1"
    exit "${2:-1}"
}

usage_error() { die "$1 (see tools/$tool --help)" 2; }

# The lines after the #! line up to the first that is no comment, without their "# ".
print_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$1"; }

now_ms() { echo "$((${EPOCHREALTIME/./} / 1000))"; }

seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}
