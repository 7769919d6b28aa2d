# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # names are shared with run and its other parts
# measure.sh - the cases: pairs by the peers' http.sh (or a loop of our own when alone), idle connections, mixed load. Sourced by run.
#
# Every line that comes out is one of
#   ext.CASE or PEER.CASE  c=64  N req/s (min N max N)  p50 N ms  p99 N ms  bad N  server N%CPU N MB .. other N% .. N us/req
#   idle N connections  N MB  errors N
#   mixed: p50 N p95 N p99 N errors N

pair_names() { for name in $cases; do [ -z "${peer[$name]:-}" ] || echo "$name"; done; }

measure_pairs() {
    local name list=()
    for name in $(pair_names); do
        list+=("ext.$name")
        [[ -z $peers || (${peer[$name]} == node* && $nodes == no) ]] || list+=("${peer[$name]}")
    done
    [ ${#list[@]} -gt 0 ] || return 0
    if [ -n "$peers" ]; then
        http_sh -r "$rounds" -d "$seconds" -c 64 "${list[@]}"
    else
        measure_alone
    fi
}

# --- alone ---

ticks_of() { # PIDs: user and system ticks of these processes and their children, those that ended included
    local pid sum=0 fields
    for pid in "$@" $(printf '%s\n' "$@" | xargs -n 1 pgrep -P || true); do
        read -ra fields < <(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) || continue
        sum=$((sum + fields[11] + fields[12] + fields[13] + fields[14]))
    done
    echo $sum
}

peak_mb() { awk '/VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$wick_pid/status"; }

# CASE SECONDS: one line of columns, req/s p50 p99 bad server% MB us/req
measure_once() {
    local path=/ script=() before after begin took_ms
    case $1 in
    static) path=/static ;;
    post) path=/services script=(-s "$here"/wrk/post.lua) ;;
    crud) script=(-s "$here"/wrk/crud.lua) ;;
    *)
        export BENCH_IDS=$ids BENCH_PREFIX=/$1/services/
        script=(-s "$here"/wrk/get.lua)
        ;;
    esac
    echo 5 >"/proc/$wick_pid/clear_refs"
    before=$(ticks_of "$wick_pid") begin=$(now_ms)
    wrk -t1 -c64 -d"$2s" --latency "${script[@]}" "http://127.0.0.1:$wick_port$path" >"$work/wrk.out" 2>&1 || cat "$work/wrk.out" >&2
    after=$(ticks_of "$wick_pid") took_ms=$(($(now_ms) - begin))
    awk -v ticks=$((after - before)) -v took_ms=$took_ms -v mb="$(peak_mb)" '
        function ms(text) { return text ~ /us$/ ? text / 1000 : text ~ /ms$/ ? text + 0 : text * 1000 }
        /^ +50%/ { p50 = ms($2) } /^ +99%/ { p99 = ms($2) } /Requests\/sec/ { rate = $2 }
        /Socket errors/ { gsub(/[a-z,:]/, " "); for (i = 1; i <= NF; i++) bad += $i }
        /Non-2xx/ { bad += $NF }
        END { cpu = ticks / took_ms * 10; print rate, p50, p99, bad + 0, cpu * 100, mb, rate ? cpu * 1e6 / rate : 0 }' "$work/wrk.out"
}

measure_alone() {
    local name round rows=$work/rows
    for name in $(pair_names); do measure_once "$name" 2 >/dev/null; done
    : >"$rows"
    for ((round = 0; round < rounds; round++)); do
        for name in $(pair_names); do echo "$name $(measure_once "$name" "$seconds")" >>"$rows"; done
    done
    awk '
        function median(name, k,    n, i, j, t, v) {
            n = count[name]
            for (i = 1; i <= n; i++) v[i] = cell[name, i, k]
            for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
            return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        }
        !count[$1]++ { order[++names] = $1 }
        { for (k = 2; k <= NF; k++) cell[$1, count[$1], k] = $k + 0; if ($5 > bad[$1]) bad[$1] = $5; if ($7 > mb[$1]) mb[$1] = $7 }
        END {
            for (i = 1; i <= names; i++) {
                name = order[i]
                printf "ext.%s c=64 %.0f req/s  p50 %.2f ms  p99 %.2f ms  bad %d  server %.0f%%CPU %.1f MB  %.2f us/req\n", name,
                    median(name, 2), median(name, 3), median(name, 4), bad[name], median(name, 6), mb[name], median(name, 8)
            }
        }' "$rows"
}

# --- idle connections ---

rss_mb() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$wick_pid/status"; }

# Opens connections up to COUNT in held[]; each has had one answer, so it is kept alive and has been worked for.
hold() {
    local fd
    while [ ${#held[@]} -lt "$1" ]; do
        if ! { exec {fd}<>"/dev/tcp/127.0.0.1/$wick_port"; } 2>/dev/null; then
            errors=$((errors + 1))
            return
        fi
        held+=("$fd")
        ask "$fd"
    done
}

ask() { # FD: one request and its answer
    local line left=0
    printf 'GET /idle HTTP/1.1\r\nHost: bench\r\n\r\n' >&"$1"
    while IFS= read -r -u "$1" line && [ "$line" != $'\r' ]; do
        [[ $line != Content-Length:* ]] || left=${line//[^0-9]/}
    done
    IFS= read -r -N "$left" -u "$1" line && [ "$left" -gt 0 ] || errors=$((errors + 1))
}

# In a process that has just been started, so that its cache is empty.
measure_idle() {
    local count errors held=() i
    start_wick
    for count in 1000 10000; do
        errors=0
        hold $count
        for ((i = 0; i < ${#held[@]}; i += 100)); do ask "${held[i]}"; done
        echo "idle $count connections $(rss_mb) MB errors $errors"
    done
    for i in "${held[@]}"; do exec {i}>&-; done
    stop_wick
}

# --- mixed load ---

measure_mixed() {
    start_wick
    wrk -t1 -c200 -d2s -s "$here"/wrk/crud.lua "http://127.0.0.1:$wick_port/" >/dev/null 2>&1
    local round
    for ((round = 0; round < rounds; round++)); do
        wrk -t1 -c200 -d"${seconds}s" -s "$here"/wrk/crud.lua "http://127.0.0.1:$wick_port/" | grep '^mixed:'
    done
    stop_wick
}

# --- where it was measured ---

version_of() { "$@" 2>&1 | head -n 1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1; }

versions() {
    printf 'wick %s (%s), PostgreSQL %s, Redis %s, wrk %s' "$(version_of "$wick" version)" "$commit" \
        "$(psql -qXAt "$database" -c 'show server_version' | cut -d' ' -f1)" "$(version_of redis-server --version)" "$(version_of wrk -v)"
    [ -n "$peers" ] || return 0
    printf ', nginx %s' "$(version_of nginx -v)"
    [ "$nodes" = no ] || printf ', node %s, %s' "$(version_of node --version)" "$(grep -oE '\b(fastify|pg|ioredis|lru-cache)@[0-9.]+' \
        "$peers/setup.sh" | tr @ ' ' | paste -sd, | sed 's/,/, /g')"
}

describe() {
    cat <<TEXT
# Benchmark

- Date: $(date -u +%F)
- Machine: $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ { printf "%.0f", $2 / 1e6 }' /proc/meminfo) GB, $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), Linux $(uname -r); load generator and servers share the cores
- Versions: $(versions)
- Command: \`$here/run --rounds $rounds --seconds $seconds --cases "$cases"\`
- One worker, 64 connections over loopback, a pool of 20, PostgreSQL with fsync and synchronous_commit on; median of $rounds rounds of $seconds s, wick and peers in turn
- us: the server's CPU time for a request; MB: its peak memory; other: the share of a core that went to processes outside of the measurement
- A case is met when both ratios reach the bar; where wrk itself is at its limit (90 % of a core or more) CPU for a request decides

TEXT
}
