-- config.lua - the operator's one file. It is Lua: it returns one table, and is read once, when wick starts.
--
-- As it stands it serves the SQLite file registry.db at http://127.0.0.1:8080 and needs no other server. With DATABASE_URL in
-- the environment it knows a PostgreSQL server, with REDIS_URL a second cache layer.
--
--   env "X"             the environment variable X; wick does not start when it is not set
--   env("X", default)   likewise, or the default
--   file "path"         what the file holds, without the line end at its end: for passwords
--   include "path"      the table that another file returns
--
-- Durations and sizes are texts with a unit: "250ms" "30s" "5m" "12h" "7d", "64KiB" "1MiB" "2GiB". Below the settings is the
-- manual: every setting there is. `wick check` says what is wrong with this file, `wick config print` what is in force.

return {
  listen = "127.0.0.1:8080",
  admin = "127.0.0.1:9180",

  database = {
    sqlite = { path = env("WICK_SQLITE", "registry.db") },
    postgres = env("DATABASE_URL", false) and { primary = env "DATABASE_URL" },
  },

  cache = {
    redis = env("REDIS_URL", false) and { url = env "REDIS_URL" },
  },

  plugins = { "accounts", "registry" },
}

-- --- the manual -----------------------------------------------------------------------------------------------------
--
-- Every setting with its default, what it means and what it may be: the output of `wick config manual`. To change one, write
-- it into the table above. Where a default is false or nothing, the value here is an example.

--return {
--  listen  = "127.0.0.1:8080",  -- where requests come in: address:port, or the
--                               -- path of a unix socket
--  admin   = "127.0.0.1:9180",  -- /healthz, /readyz, /metrics and /admin/pool;
--                               -- false: none
--  workers = "auto",            -- threads that serve; auto: one for each core
--                               -- (1 to 256)

-- Plugins: names of folders under plugins/, or paths; options go under the
-- plugin's name.
--  plugins = {
--    "accounts", "registry",
--    accounts = {
--      session_ttl    = "12h",  -- how long a login lasts (1m to 90d)
--      session_cache  = "5s",   -- how long a token found valid is remembered
--                               -- (1ms to 1m)
--      login_attempts = 5,      -- failed logins of an account within
--                               -- login_window; ten times as many from one
--                               -- address (1 to 1000)
--      login_window   = "15m",  -- how long failed logins are counted (1s to
--                               -- 1d)
--      -- An administrator, made when there are no users at all. Default: not
--      -- there.
--      first_admin = {
--        email    = "admin@example.org",  -- to log in with (required)
--        password = "a long passphrase",  -- at least 10 characters (required)
--      },
--    },
--    registry = {
--      list_ttl    = "10s",  -- how long services are served from memory;
--                            -- changes of services show at once on this node,
--                            -- health reports after it (1ms to 1h)
--      summary_ttl = "5s",   -- how long summaries and the overview are served
--                            -- from memory (1ms to 1h)
--    },
--  },

-- Where the data is. One of sqlite and postgres: served from it. Both:
-- served from SQLite; nothing goes to PostgreSQL, for `wick move` is not
-- there yet.
--  database = {
--    -- The SQLite file; false: none. Default: this, or false when postgres is
--    -- given.
--    sqlite = {
--      path           = "registry.db",  -- the file; relative to the folder of
--                                       -- this configuration
--      create         = true,           -- make the file where it is missing
--      readers        = 2,              -- threads that read; one more writes
--                                       -- (1 to 64)
--      busy_timeout   = "5s",           -- how long to wait for a lock another
--                                       -- program holds (at most 1m)
--      queue_max      = 1000,           -- statements that may wait; over it:
--                                       -- 503 (1 to 100000)
--      leak_threshold = "30s",          -- a transaction open for longer is
--                                       -- logged, with where it was begun; 0s:
--                                       -- none
--      leak_reclaim   = false,          -- roll it back, too
--    },
--    -- The PostgreSQL server; false: none. Default: false.
--    postgres = {
--      -- postgres://user:password@host:port/database (required)
--      primary = "postgres://wick@127.0.0.1:5432/wick",
--      -- a pooler in between: pgbouncer, or found out by each connection
--      -- (auto, pgbouncer)
--      behind  = "auto",
--      -- how long the addresses of a host name serve; then connections to
--      -- those it has lost are replaced (100ms to 1h)
--      dns_ttl = "15s",
--      -- Connections to PostgreSQL.
--      pool = {
--        min_size            = 5,      -- connections kept open (0 to 1000)
--        max_size            = 20,     -- connections at most, for the whole
--                                      -- process; one more while it cancels,
--                                      -- one to listen (1 to 1000)
--        autosize            = false,  -- the size is found by trying, from
--                                      -- min_size to max_size
--        share               = 80,     -- percent of the server's
--                                      -- max_connections that autosize may use
--                                      -- (1 to 100)
--        max_waiting         = 1000,   -- requests that may wait for a
--                                      -- connection; over it: 503 (0 to
--                                      -- 100000)
--        acquire_timeout     = "5s",   -- for a connection to become free; over
--                                      -- it: 503 (10ms to 10m)
--        connect_timeout     = "5s",   -- for a new connection, name look-up
--                                      -- included (10ms to 5m)
--        connecting_limit    = 2,      -- connections that are being opened at
--                                      -- a time (1 to 100)
--        idle_timeout        = "30s",  -- an idle connection above min_size is
--                                      -- closed after it (at most 4w)
--        max_lifetime        = "30m",  -- a connection is replaced after it
--                                      -- (less up to 10 % at random) (1s to
--                                      -- 4w)
--        max_uses            = 0,      -- a connection is replaced after so
--                                      -- many uses; 0: never (0 to 1000000000)
--        keepalive           = "30s",  -- an idle connection is asked whether
--                                      -- it lives after it; 0s: never (0s to
--                                      -- 1h)
--        ping_timeout        = "1s",   -- for the answer to that; over it:
--                                      -- closed (10ms to 1m)
--        statement_timeout   = "30s",  -- for one statement, unless its
--                                      -- transaction names a timeout (10ms to
--                                      -- 1h)
--        statement_cache     = 200,    -- prepared statements each connection
--                                      -- keeps (1 to 10000)
--        idle_in_transaction = "10s",  -- a transaction that does nothing is
--                                      -- rolled back after it (100ms to 1h)
--        leak_threshold      = "30s",  -- a transaction open for longer is
--                                      -- logged, with where it was begun; 0s:
--                                      -- none
--        leak_reclaim        = false,  -- roll it back, too
--        batch               = true,   -- statements of one moment share round
--                                      -- trips; false: each goes alone
--      },
--    },
--  },

-- Caches: the first layer is memory, the second Redis.
--  cache = {
--    memory      = "64MiB",  -- the first layer, in this process (2MiB to
--                            -- 64GiB)
--    ttl         = "60s",    -- how long an entry is fresh unless it says
--                            -- otherwise (1ms to 30d)
--    waiting_max = 10000,    -- requests that may wait for an entry somebody
--                            -- else loads (1 to 1000000)
--    -- Redis, the second layer; false: none. Default: false.
--    redis = {
--      -- redis://[user[:password]@]host[:port][/database] or unix:///path
--      -- (required)
--      url             = "redis://127.0.0.1:6379",
--      -- goes before every key
--      prefix          = "candlefish:",
--      -- for a command; over it the database is asked instead (1ms to 10s)
--      timeout         = "20ms",
--      -- for a connection (10ms to 10s)
--      connect_timeout = "250ms",
--    },
--  },

-- Limits and deadlines of the HTTP listener.
--  http = {
--    connections_max = 20000,    -- open connections; over it: 503 (1 to
--                                -- 1000000)
--    line_max        = "8KiB",   -- longest request line; over it: 414 (256B to
--                                -- 64KiB)
--    head_max        = "32KiB",  -- longest head in all; over it: 431 (1KiB to
--                                -- 64KiB)
--    fields_max      = 100,      -- most header fields; over it: 431 (8 to 100)
--    body_max        = "1MiB",   -- largest request body unless the route says
--                                -- otherwise; over it: 413 (at most 1GiB)
--    header_timeout  = "10s",    -- for a whole request head (100ms to 10m)
--    body_timeout    = "30s",    -- for a whole request body (100ms to 1h)
--    request_timeout = "30s",    -- for an answer unless the route says so;
--                                -- over it: 504 (10ms to 1h)
--    write_timeout   = "30s",    -- for a client that does not take its answer
--                                -- (100ms to 1h)
--    idle_timeout    = "75s",    -- between two requests of a connection (100ms
--                                -- to 1h)
--    drain_timeout   = "30s",    -- for requests under way when the server is
--                                -- asked to stop (at most 10m)
--    trusted_proxies = {},       -- addresses such as "10.0.0.7", "10.0.0.0/8"
--                                -- or "unix", whose X-Forwarded-For tells who
--                                -- asks (req.peer); {}: none (at most 64)
--  },

-- Logs go to standard error.
--  log = {
--    level    = "info",    -- the least level that is written (debug, info,
--                          -- warn, error)
--    format   = "logfmt",  -- one line for each event, as logfmt or as a JSON
--                          -- object (logfmt, json)
--    requests = false,     -- write a line for each request, too
--  },

-- Limits of plugins.
--  lua = {
--    cpu    = "1s",      -- Lua a request may run without waiting for anything;
--                        -- over it: 500 (10ms to 1m)
--    memory = "256MiB",  -- for each worker's Lua; over it requests fail with
--                        -- 500 (4MiB to 16GiB)
--  },
--}
