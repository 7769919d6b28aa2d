# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # names are shared with run and its other parts
# world.sh - the servers that a measurement needs, and wick itself. Sourced by run.
#
# PostgreSQL and Redis are the peers' own (lib.sh there) where the peers are, else those of spec/support/servers.sh with the
# tables of seed.sql. After begin_world these are known: database (its URL) and ids (a file of 1,000 uuids).

peers=
nodes=no
wick_port=18200
postgres_port=55532
redis_port=56479

peers_lib() { # COMMAND: in a shell that knows the peers' functions
    # shellcheck disable=SC2016
    PEERS_WORK=$work/peers PGPORT_DIRECT=$postgres_port REDIS_PORT=$redis_port bash -c '. "$1/lib.sh"; eval "$2"' - "$peers" "$1" 9>&-
}

http_sh() {
    PEERS_WORK=$work/peers PGPORT_DIRECT=$postgres_port REDIS_PORT=$redis_port EXT_PORT=$wick_port EXT_PID=$wick_pid \
        "$peers/http.sh" "$@" 9>&-
}

find_peers() {
    local folder=${PEERS:-../shared/peers}
    if [ ! -f "$folder/http.sh" ]; then
        say "no peers at $folder: they are skipped, wick is measured alone"
    elif [ "$(id -u)" != 0 ]; then
        say "peers need root: they are skipped, wick is measured alone"
    else
        peers=$(readlink -f "$folder")
        install_node
    fi
}

# The pinned versions of the peers' setup.sh, but nothing that has to be compiled.
install_node() {
    local packages
    read -ra packages < <(grep -oE '\b(fastify|pg|ioredis|lru-cache)@[0-9.]+' "$peers/setup.sh" | paste -sd' ')
    mkdir -p "$work/peers/node"
    if [ -d "$work/peers/node/node_modules/fastify" ]; then
        nodes=yes
    elif (cd "$work/peers/node" && { [ -f package.json ] || npm init -y; } && npm install --no-audit --no-fund "${packages[@]}") \
        >"$work/npm.log" 2>&1; then
        nodes=yes
    else
        say "node or its packages cannot be had (see $work/npm.log): fastify is skipped"
    fi
}

begin_world() {
    local servers=spec/support/servers.sh
    find_peers
    if [ -n "$peers" ]; then
        peers_lib seed
        database=postgres://postgres@127.0.0.1:$postgres_port/peers
        ids=$work/peers/ids.txt
    else
        $servers redis start "$work/redis" --port=$redis_port >/dev/null
        $servers postgres start "$work/postgres" --port=$postgres_port --fsync --set=shared_buffers=1GB --set=max_wal_size=8GB \
            --set=random_page_cost=1.1 --set=checkpoint_timeout=15min >/dev/null
        database=$(sed -n 's/^url=//p' "$work/postgres/server")
        ids=$work/ids.txt
        psql -qX "$database" -v ON_ERROR_STOP=1 -f "$here"/seed.sql 2>"$work/seed.log" || die "no tables: $(cat "$work/seed.log")"
        psql -qXAt "$database" -c 'select id from services order by n limit 1000' >"$ids"
    fi
    redis-cli -p $redis_port --scan --pattern 'wick-bench:*' | xargs -r redis-cli -p $redis_port del >/dev/null
}

end_world() {
    stop_wick
    if [ -n "$peers" ]; then
        peers_lib 'pg_stop; stop_pid redis' || true
    else
        spec/support/servers.sh sweep "$work" || true
    fi
}

# --- wick ---

wick_pid=

start_wick() {
    cat >"$work/config.lua" <<CONFIG
return {
  listen = "127.0.0.1:$wick_port", admin = false, workers = 1,
  database = { sqlite = false, postgres = { primary = "$database", pool = { min_size = 20, max_size = 20 } } },
  cache = { redis = { url = "redis://127.0.0.1:$redis_port", prefix = "wick-bench:" } },
  plugins = { "$PWD/$here/plugins/bench" },
}
CONFIG
    ! answers || die "port $wick_port is taken by another program"
    "$wick" serve --config "$work/config.lua" >"$work/wick.log" 2>&1 </dev/null 9>&- &
    wick_pid=$!
    local tries=100
    until answers; do
        if [ ! -d "/proc/$wick_pid" ] || ! ((tries--)); then
            die "wick did not start: $(tail -n 5 "$work/wick.log")"
        fi
        sleep 0.1
    done
}

answers() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$wick_port/static")" = 200 ]; }

stop_wick() {
    [ -n "$wick_pid" ] || return 0
    kill "$wick_pid" 2>/dev/null || true
    wait "$wick_pid" 2>/dev/null || true
    wick_pid=
}
