#!/usr/bin/env bash
# spec/support/servers.sh - private PostgreSQL, PgBouncer and Redis servers for specs, each in a folder of its own.
#
#   servers.sh port                                   prints a TCP port that is free on 127.0.0.1
#   servers.sh postgres start DIR [--port=N] [--fsync] [--set=NAME=VALUE]...
#   servers.sh redis    start DIR [--port=N] [--set=NAME=VALUE]...
#   servers.sh pgbouncer start DIR --server=PORT [--port=N] [--set=NAME=VALUE]...    in front of the PostgreSQL on that port
#   servers.sh postgres|redis|pgbouncer stop DIR           ends it at once; harmless when it is gone
#   servers.sh postgres|redis|pgbouncer signal DIR SIGNAL  to every process of that server: KILL, STOP, CONT, ...
#   servers.sh postgres bin                           prints the folder of PostgreSQL's programs
#   servers.sh sweep DIR                              stops every server in a folder below DIR
#
# `start` returns when the server answers, and prints three lines: port=N, pid=N and url=...; the same lines stand in
# DIR/server. Started again in the same DIR it keeps its data and its port. PostgreSQL is user, password and database
# `wick`, over TCP with scram-sha-256, and over the socket in DIR with no password. It refuses to run as root: then it
# runs as the user postgres, and so does PgBouncer, which pools transactions, knows the same user, and hands over its password. fsync is off unless --fsync asks for it; a kill -9 of the server loses nothing either way.

set -euo pipefail
export LC_ALL=C.UTF-8

self=$(readlink -f "$0")
answer_s=20

die() {
    printf 'servers.sh: %s\n' "$1" >&2
    exit 1
}

# The system hands out ephemeral ports in turn, so two calls in a row do not get the same one.
free_port() {
    lua5.4 -e 'local s = assert(require "socket".bind("127.0.0.1", 0)); print((select(2, s:getsockname())))'
}

postgres_bin() {
    local dir
    for dir in "${WICK_TEST_PG_BIN:-/usr/lib/postgresql/15/bin}" /usr/lib/postgresql/*/bin; do
        if [ -x "$dir/postgres" ]; then
            echo "$dir"
            return
        fi
    done
    die "PostgreSQL's server programs are not installed: run tools/setup test"
}

# The words before a program of PostgreSQL's that make it run as a user it accepts.
as_postgres=()
if [ "$(id -u)" = 0 ]; then
    as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi

# A killed process stays a zombie until somebody asks for its status: that is dead enough.
is_alive() {
    local state
    state=$(sed -E 's/^.*\) (.).*/\1/' "/proc/$1/stat" 2>/dev/null) || return 1
    [ "$state" != Z ] && [ "$state" != X ]
}

field_of() { sed -n "s/^$2=//p" "$1/server" 2>/dev/null || true; }

write_server() {
    printf 'port=%s\npid=%s\nurl=%s\n' "$2" "$3" "$4" >"$1/server"
    cat "$1/server"
}

# Waits until "$@" succeeds, while process $1 lives; $2 is its log, shown if it does not come up.
wait_for_answer() {
    local pid=$1 log=$2 tries=$((answer_s * 50))
    shift 2
    while ! "$@" >/dev/null 2>&1; do
        if ! is_alive "$pid"; then
            tail -n 20 "$log" >&2
            return 1
        fi
        ((tries--)) || die "no answer within $answer_s s, see $log"
        sleep 0.02
    done
}

wait_until_gone() {
    local pid tries=$((answer_s * 50))
    for pid in "$@"; do
        while is_alive "$pid"; do
            ((tries--)) || die "process $pid does not end"
            sleep 0.02
        done
    done
}

# --- PostgreSQL ---

postgres_init() {
    local dir=$1 bin=$2
    mkdir -p "$dir"
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$dir"
    fi
    echo wick >"$dir/password"
    (cd "$dir" && "${as_postgres[@]}" "$bin/initdb" -D "$dir/data" -U wick --pwfile=password --no-sync \
        --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256) >"$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        die "initdb failed in $dir"
    }
}

# After a kill -9: its children live on for a moment, and its pid may be a zombie that postgres takes for a live one.
postgres_clear_away_killed() {
    local dir=$1 pid pids
    [ -e "$dir/data/postmaster.pid" ] || return 0
    pid=$(head -n 1 "$dir/data/postmaster.pid")
    ! is_alive "$pid" || die "PostgreSQL is running in $dir already, as process $pid"
    mapfile -t pids < <(pids_of postgres "$dir")
    wait_until_gone "${pids[@]}"
    rm -f "$dir/data/postmaster.pid" "$dir"/.s.PGSQL.*
}

postgres_start() {
    local dir bin port='' fsync=off settings=() pid
    dir=$(mkdir -p "$1" && cd "$1" && pwd)
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --port=*) port=${1#*=} ;;
        --fsync) fsync=on ;;
        --set=*) settings+=(-c "${1#*=}") ;;
        *) die "no such flag: $1" ;;
        esac
        shift
    done
    bin=$(postgres_bin)
    [ ${#dir} -le 80 ] || die "too long for a socket's path: $dir"
    [ -e "$dir/data/PG_VERSION" ] || postgres_init "$dir" "$bin"
    port=${port:-$(field_of "$dir" port)}
    port=${port:-$(free_port)}
    postgres_clear_away_killed "$dir"
    (
        cd "$dir"
        # What this shell was given open (a lock, a pipe to a reader) must not live as long as the server.
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        setsid "${as_postgres[@]}" "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c fsync=$fsync \
            -c listen_addresses=127.0.0.1 -c max_connections=200 -c shared_buffers=64MB \
            -c log_min_messages=warning -c logging_collector=off -c timezone=UTC "${settings[@]}" \
            >log 2>&1 </dev/null &
        echo $! >pid
    )
    pid=$(cat "$dir/pid")
    wait_for_answer "$pid" "$dir/log" "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" ||
        die "PostgreSQL did not start in $dir"
    "$bin/psql" -qX -h "$dir" -p "$port" -U wick -d postgres -c 'create database wick' 2>/dev/null || true
    write_server "$dir" "$port" "$pid" "postgres://wick:wick@127.0.0.1:$port/wick"
}

# --- PgBouncer ---

pgbouncer_start() {
    local dir port='' server='' lines='' pid
    dir=$(mkdir -p "$1" && cd "$1" && pwd)
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --port=*) port=${1#*=} ;;
        --server=*) server=${1#*=} ;;
        --set=*)
            local pair=${1#*=}
            lines+="${pair%%=*} = ${pair#*=}"$'\n'
            ;;
        *) die "no such flag: $1" ;;
        esac
        shift
    done
    [ -n "$server" ] || die "pgbouncer start needs --server=PORT"
    PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || die "pgbouncer is not installed: run tools/setup test"
    port=${port:-$(field_of "$dir" port)}
    port=${port:-$(free_port)}
    echo '"wick" "wick"' >"$dir/users"
    printf '[databases]\n* = host=127.0.0.1 port=%s\n[pgbouncer]\n' "$server" >"$dir/pgbouncer.ini"
    printf '%s\n' "listen_addr = 127.0.0.1" "listen_port = $port" "unix_socket_dir =" "auth_type = scram-sha-256" \
        "auth_file = users" "admin_users = wick" "pool_mode = transaction" "default_pool_size = 20" "max_client_conn = 500" \
        "server_round_robin = 1" "log_connections = 0" "log_disconnections = 0" "$lines" >>"$dir/pgbouncer.ini"
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres "$dir"
    fi
    (
        cd "$dir"
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        PATH=$PATH:/usr/sbin setsid "${as_postgres[@]}" pgbouncer pgbouncer.ini >log 2>&1 </dev/null &
        echo $! >pid
    )
    pid=$(cat "$dir/pid")
    wait_for_answer "$pid" "$dir/log" "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$port" ||
        die "PgBouncer did not start in $dir"
    write_server "$dir" "$port" "$pid" "postgres://wick:wick@127.0.0.1:$port/wick"
}

# --- Redis ---

redis_start() {
    local dir port='' settings=() pid
    dir=$(mkdir -p "$1" && cd "$1" && pwd)
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --port=*) port=${1#*=} ;;
        --set=*)
            local pair=${1#*=}
            settings+=("--${pair%%=*}" "${pair#*=}")
            ;;
        *) die "no such flag: $1" ;;
        esac
        shift
    done
    command -v redis-server >/dev/null || die "redis-server is not installed: run tools/setup test"
    port=${port:-$(field_of "$dir" port)}
    port=${port:-$(free_port)}
    (
        cd "$dir"
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        setsid redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly no --daemonize no \
            --enable-debug-command local \
            "${settings[@]}" >log 2>&1 </dev/null &
        echo $! >pid
    )
    pid=$(cat "$dir/pid")
    wait_for_answer "$pid" "$dir/log" redis-cli -h 127.0.0.1 -p "$port" ping || die "Redis did not start in $dir"
    write_server "$dir" "$port" "$pid" "redis://127.0.0.1:$port"
}

# --- all of them ---

server_folder() {
    case $1 in
    postgres) readlink -f "$2/data" ;;
    redis | pgbouncer) readlink -f "$2" ;;
    esac
}

# The live processes of the server in that folder, also those that lost their parent. A server's working directory
# tells whose it is, which a pid in a file, perhaps given to somebody else since, does not.
pids_of() {
    local folder pid
    folder=$(server_folder "$1" "$2")
    { find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$folder" 2>/dev/null || true; } | cut -d/ -f3 |
        while read -r pid; do
            if grep -qsE '^(postgres|pgbouncer|redis-server)' "/proc/$pid/comm" && is_alive "$pid"; then
                echo "$pid"
            fi
        done
}

signal_server() {
    local kind=$1 dir=$2 name=$3 pids
    mapfile -t pids < <(pids_of "$kind" "$dir")
    [ ${#pids[@]} -gt 0 ] || return 0
    kill "-$name" "${pids[@]}" 2>/dev/null || true
}

stop_server() {
    local kind=$1 dir=$2 pids
    [ -e "$dir/server" ] || return 0
    mapfile -t pids < <(pids_of "$kind" "$dir")
    [ ${#pids[@]} -gt 0 ] || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    wait_until_gone "${pids[@]}"
}

sweep() {
    local file dir
    [ -d "$1" ] || return 0
    while read -r file; do
        dir=${file%/server}
        if [ -d "$dir/data" ]; then
            stop_server postgres "$dir"
        elif [ -e "$dir/pgbouncer.ini" ]; then
            stop_server pgbouncer "$dir"
        else
            stop_server redis "$dir"
        fi
    done < <(find "$1" -maxdepth 4 -name server -type f 2>/dev/null)
}

case "${1:-} ${2:-}" in
"port ") free_port ;;
"postgres bin") postgres_bin ;;
"postgres start") postgres_start "${@:3}" ;;
"redis start") redis_start "${@:3}" ;;
"pgbouncer start") pgbouncer_start "${@:3}" ;;
"postgres stop" | "redis stop" | "pgbouncer stop") stop_server "$1" "$3" ;;
"postgres signal" | "redis signal" | "pgbouncer signal") signal_server "$1" "$3" "$4" ;;
"sweep "?*) sweep "$2" ;;
"-h " | "--help ") awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$self" ;;
*) die "what shall it do? see servers.sh --help" ;;
esac
