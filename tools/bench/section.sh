# shellcheck shell=bash
# section.sh - results.md is made of sections by several tools; each replaces its own. Sourced.

# put_section NAME FILE: what comes in becomes the section "## NAME" of FILE, in its old place or at the end.
put_section() {
    local name=$1 file=$2 text
    text=$(mktemp)
    { printf '## %s\n\n' "$name" && cat; } >"$text"
    [ -e "$file" ] || : >"$file"
    awk -v name="## $name" -v text="$text" '
        function put(    line) { while ((getline line < text) > 0) print line; is_put = 1 }
        /^## / { skip = $0 == name; if (skip) { put(); print "" } }
        !skip
        END { if (!is_put) { print ""; put() } }' "$file" >"$file.new"
    mv "$file.new" "$file"
    rm -f "$text"
    say "wrote the section $name of $file"
}

# put_head FILE: what comes in becomes everything before the first section.
put_head() {
    local file=$1 text
    text=$(mktemp)
    cat >"$text"
    [ ! -e "$file" ] || { echo && sed -n '/^## /,$p' "$file"; } >>"$text"
    mv "$text" "$file"
    say "wrote the head of $file"
}
