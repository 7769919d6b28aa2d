# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # names are shared with run and its other parts
# same.sh - that wick and its peers give the same answers, before anything is measured. Sourced by run.
#
# JSON is compared as values: key order and blanks do not count, and +00:00 is the same as .000Z. nginx gives the bytes that Redis
# holds, fastify what it makes of a row.

nginx_port=18081
node_port=18091
differences=0

# One line: the status and the body.
answer_of() { # PORT PATH [METHOD BODY]
    local more=()
    [ $# -lt 3 ] || more=(-X "$3" -H 'Content-Type: application/json' -d "$4")
    curl -s -m 5 -w '\n%{http_code}\n' "${more[@]}" "http://127.0.0.1:$1$2" |
        jq -Sc 'walk(if type == "string" then sub("(\\.0+)?(Z|\\+00:00)$"; "Z") else . end)' 2>&1 | paste -sd' '
}

same() { # PORT PATH [METHOD BODY]
    local ours theirs
    ours=$(answer_of "$wick_port" "${@:2}")
    theirs=$(answer_of "$@")
    [ "$ours" != "$theirs" ] || return 0
    say "$2 differs from port $1:"
    printf '  wick: %s\n  peer: %s\n' "$ours" "$theirs" >&2
    differences=$((differences + 1))
}

# An error's body is everybody's own; its status is not.
same_status() { # PORT PATH
    local ours theirs
    ours=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$wick_port$2")
    theirs=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1$2")
    [ "$ours" = "$theirs" ] || { say "$2: wick says $ours, port $1 says $theirs" && differences=$((differences + 1)); }
}

same_as_nginx() {
    local id
    same $nginx_port /static
    while read -r id; do
        same $nginx_port "/l1/services/$id"
        same $nginx_port "/l2/services/$id"
    done < <(shuf -n 20 --random-source=<(yes) "$ids")
    same_status $nginx_port /l1/services/00000000-0000-0000-0000-000000000000
}

same_as_node() {
    local id item
    while read -r id; do
        same $node_port "/l3/services/$id"
    done < <(shuf -n 20 --random-source=<(yes) "$ids")
    same_status $node_port /l3/services/00000000-0000-0000-0000-000000000000
    for item in 1 2 7 49999; do
        same $node_port "/crud/items/$item"
        same $node_port "/crud/items/$item" PUT '{"name":"Same Product","price":7,"quantity":8}'
        sleep 0.25 # the peer's own copy is as old as that at most
        same $node_port "/crud/items/$item"
    done
    same $node_port '/crud/items?category=office&page=3&limit=10'
    same $node_port /crud/items POST '{"id":100001,"name":"New Product","category":"test","price":150,"quantity":30}'
    same_insert
}

same_insert() {
    local body id port
    body=$(sed -n "s/^wrk.body = '\(.*\)'\$/\1/p" "$peers/lua/post.lua")
    for port in $wick_port $node_port; do
        id=$(curl -s -H 'Content-Type: application/json' -d "$body" "http://127.0.0.1:$port/services" | jq -r '.id')
        psql -qXAt "$database" -c "select name, labels from services where id = '$id'" >"$work/inserted.$port"
    done
    if [ ! -s "$work/inserted.$wick_port" ] || ! cmp -s "$work/inserted.$wick_port" "$work/inserted.$node_port"; then
        say "POST /services leaves different rows"
        differences=$((differences + 1))
    fi
}

wait_for() { # PORT
    local tries=150
    until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
        ((tries--)) || die "port $1 did not open"
        sleep 0.1
    done
}

# http.sh starts the peers for as long as it measures, so it measures something short meanwhile.
check_same() {
    [ -n "$peers" ] || return 0
    local run=(nginx1.l1) pid
    [ "$nodes" = no ] || run+=(node1.l3)
    http_sh -r 1 -d 8 -c 64 "${run[@]}" >"$work/same.log" 2>&1 &
    pid=$!
    wait_for $nginx_port
    [ "$nodes" = no ] || wait_for "$node_port"
    same_as_nginx
    [ "$nodes" = no ] || same_as_node
    wait "$pid" || die "http.sh failed: $(tail -n 5 "$work/same.log")"
    [ $differences = 0 ] || die "$differences answers differ: nothing is measured"
    say "answers are the same as the peers'"
}
