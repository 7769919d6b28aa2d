--- Every setting, once: its type, default, bounds and what it means. config.lua, --help and the reference come from here.

local S = require "wick.schema"
local native = require "wick.native"
local address_text = require "wick.address"

local settings = {}

local SOCKET_BYTES_MAX = 107 -- what sockaddr_un holds (unix(7)), less its last zero

local ADDRESS = '"address:port" such as "127.0.0.1:8080" or "[::1]:8080", or the path of a unix socket'

-- "[::1]:80" -> "::1", 80; "/run/wick.sock" -> that; nil for what is no address.
local function split_address(value)
  local host, port = value:match("^%[(.-)%]:(%d+)$")
  if not host then
    host, port = value:match("^([^:%s]+):(%d+)$")
  end
  if value:match("^/") then
    return value
  elseif host and tonumber(port) <= 65535 then
    return host, tonumber(port)
  end
end

local function address(options)
  options.check = function(value)
    if value:match("^/") and #value > SOCKET_BYTES_MAX then
      return nil, ("the path of a unix socket may have %d bytes at most, this one has %d: put it into a folder with a shorter name")
        :format(SOCKET_BYTES_MAX, #value)
    elseif split_address(value) then
      return true
    end
    return nil, "expected " .. ADDRESS
  end
  local shape = S.string(options)
  shape.words = function() return ADDRESS end
  return shape
end

-- Whether who listens at one would be in the way of who listens at the other. Port 0 is a free one.
local function collide(one, other)
  local host, port = split_address(one)
  local other_host, other_port = split_address(other)
  local function covers(a, b)
    return a == "::" or (a == "0.0.0.0" and not b:find(":", 1, true))
  end
  return port == other_port and port ~= 0 and (host == other_host or (port and (covers(host, other_host) or covers(other_host, host))))
end

-- kind: who will read it, for native.check_url.
local function url(kind, scheme, options)
  options.is_secret = true -- it may carry a password
  options.min_length = 1
  options.check = function(value)
    for one in scheme:gmatch("%a+") do
      if value:match("^" .. one .. "://") then
        return native.check_url(kind, value)
      end
    end
    return nil, ("expected a URL that starts with %s"):format((scheme:gsub("(%a+)", "%1://"):gsub(" ", " or ")))
  end
  return S.string(options)
end

local off = S.literal(false)

local log = S.record({
  level = S.enum { "debug", "info", "warn", "error", default = "info", doc = "the least level that is written" },
  format = S.enum { "logfmt", "json", default = "logfmt", doc = "one line for each event, as logfmt or as a JSON object" },
  requests = S.boolean { default = false, doc = "write a line for each request, too" },
}, { order = { "level", "format", "requests" }, default = {}, doc = "Logs go to standard error." })

local http = S.record({
  line_max = S.bytes { default = "8KiB", min = "256B", max = "64KiB", doc = "longest request line; over it: 414" },
  head_max = S.bytes { default = "32KiB", min = "1KiB", max = "64KiB", doc = "longest head in all; over it: 431" },
  fields_max = S.int64 { default = 100, min = 8, max = 100, doc = "most header fields; over it: 431" },
  body_max = S.bytes { default = "1MiB", max = "1GiB", doc = "largest request body unless the route says otherwise; over it: 413" },
  header_timeout = S.duration { default = "10s", min = "100ms", max = "10m", doc = "for a whole request head" },
  body_timeout = S.duration { default = "30s", min = "100ms", max = "1h", doc = "for a whole request body" },
  idle_timeout = S.duration { default = "75s", min = "100ms", max = "1h", doc = "between two requests of a connection" },
  write_timeout = S.duration { default = "30s", min = "100ms", max = "1h", doc = "for a client that does not take its answer" },
  request_timeout = S.duration { default = "30s", min = "10ms", max = "1h", doc = "for an answer unless the route says so; over it: 504" },
  drain_timeout = S.duration { default = "30s", max = "10m", doc = "for requests under way when the server is asked to stop" },
  trusted_proxies = S.list(S.string { check = address_text.check }, {
    default = {}, max_items = 64,
    doc = 'addresses such as "10.0.0.7", "10.0.0.0/8" or "unix", whose X-Forwarded-For tells who asks (req.peer); {}: none',
  }),
  connections_max = S.int64 { default = 20000, min = 1, max = 1000000, doc = "open connections; over it: 503" },
}, {
  order = { "connections_max", "line_max", "head_max", "fields_max", "body_max", "header_timeout", "body_timeout", "request_timeout",
    "write_timeout", "idle_timeout", "drain_timeout", "trusted_proxies" },
  default = {}, doc = "Limits and deadlines of the HTTP listener.",
  check = function(value)
    if value.line_max > value.head_max then
      return nil, "line_max must not be larger than head_max: the line is part of the head"
    end
    return true
  end,
})

local sqlite = S.record({
  path = S.string {
    default = "registry.db", min_length = 1, doc = "the file; relative to the folder of this configuration",
    check = function(value)
      return value ~= ":memory:" or nil, "must name a file: each connection would have a memory of its own"
    end,
  },
  readers = S.int64 { default = 2, min = 1, max = 64, doc = "threads that read; one more writes" },
  busy_timeout = S.duration { default = "5s", max = "1m", doc = "how long to wait for a lock another program holds" },
  queue_max = S.int64 { default = 1000, min = 1, max = 100000, doc = "statements that may wait; over it: 503" },
  leak_threshold = S.duration { default = "30s", doc = "a transaction open for longer is logged, with where it was begun; 0s: none" },
  leak_reclaim = S.boolean { default = false, doc = "roll it back, too" },
  create = S.boolean { default = true, doc = "make the file where it is missing" },
}, { order = { "path", "create", "readers", "busy_timeout", "queue_max", "leak_threshold", "leak_reclaim" }, doc = "The SQLite file." })

local pool = S.record({
  min_size = S.int64 { default = 5, min = 0, max = 1000, doc = "connections kept open" },
  max_size = S.int64 {
    default = 20, min = 1, max = 1000, doc = "connections at most, for the whole process; one more while it cancels, one to listen",
  },
  idle_timeout = S.duration { default = "30s", max = "4w", doc = "an idle connection above min_size is closed after it" },
  max_lifetime = S.duration {
    default = "30m", min = "1s", max = "4w", doc = "a connection is replaced after it (less up to 10 % at random)",
  },
  acquire_timeout = S.duration { default = "5s", min = "10ms", max = "10m", doc = "for a connection to become free; over it: 503" },
  connect_timeout = S.duration { default = "5s", min = "10ms", max = "5m", doc = "for a new connection, name look-up included" },
  autosize = S.boolean { default = false, doc = "the size is found by trying, from min_size to max_size" },
  share = S.int64 { default = 80, min = 1, max = 100, doc = "percent of the server's max_connections that autosize may use" },
  connecting_limit = S.int64 { default = 2, min = 1, max = 100, doc = "connections that are being opened at a time" },
  max_uses = S.int64 { default = 0, min = 0, max = 1000000000, doc = "a connection is replaced after so many uses; 0: never" },
  keepalive = S.duration {
    default = "30s", min = "0s", max = "1h", doc = "an idle connection is asked whether it lives after it; 0s: never",
  },
  ping_timeout = S.duration { default = "1s", min = "10ms", max = "1m", doc = "for the answer to that; over it: closed" },
  max_waiting = S.int64 { default = 1000, min = 0, max = 100000, doc = "requests that may wait for a connection; over it: 503" },
  statement_timeout = S.duration {
    default = "30s", min = "10ms", max = "1h", doc = "for one statement, unless its transaction names a timeout",
  },
  leak_threshold = S.duration { default = "30s", doc = "a transaction open for longer is logged, with where it was begun; 0s: none" },
  leak_reclaim = S.boolean { default = false, doc = "roll it back, too" },
  statement_cache = S.int64 { default = 200, min = 1, max = 10000, doc = "prepared statements each connection keeps" },
  batch = S.boolean { default = true, doc = "statements of one moment share round trips; false: each goes alone" },
  idle_in_transaction = S.duration {
    default = "10s", min = "100ms", max = "1h", doc = "a transaction that does nothing is rolled back after it",
  },
}, {
  order = { "min_size", "max_size", "autosize", "share", "max_waiting", "acquire_timeout", "connect_timeout", "connecting_limit",
    "idle_timeout", "max_lifetime", "max_uses", "keepalive", "ping_timeout", "statement_timeout", "statement_cache",
    "idle_in_transaction", "leak_threshold", "leak_reclaim", "batch" },
  default = {}, doc = "Connections to PostgreSQL.",
  check = function(value)
    if value.min_size > value.max_size then
      return nil, ("min_size (%d) must not be larger than max_size (%d)"):format(value.min_size, value.max_size)
    elseif value.leak_reclaim and value.leak_threshold > 0 and value.leak_threshold < 2000 then
      return nil, "leak_reclaim needs a leak_threshold of 2s or more: PostgreSQL finds a deadlock after 1s (deadlock_timeout), "
        .. "and a transaction that waits in one is run again, unless it was rolled back before as a leak"
    end
    return true
  end,
})

local postgres = S.record({
  primary = url("postgres", "postgres postgresql", {
    example = "postgres://wick@127.0.0.1:5432/wick", doc = "postgres://user:password@host:port/database",
  }),
  behind = S.enum { "auto", "pgbouncer", default = "auto",
    doc = "a pooler in between: pgbouncer, or found out by each connection" },
  dns_ttl = S.duration { default = "15s", min = "100ms", max = "1h",
    doc = "how long the addresses of a host name serve; then connections to those it has lost are replaced" },
  pool = pool,
}, { order = { "primary", "behind", "dns_ttl", "pool" }, doc = "The PostgreSQL server." })

local database = S.record({
  sqlite = S.any_of({ off, sqlite }, {
    optional = true, doc = "The SQLite file; false: none. Default: this, or false when postgres is given.",
  }),
  postgres = S.any_of({ off, postgres }, { default = false, doc = "The PostgreSQL server; false: none." }),
}, {
  order = { "sqlite", "postgres" }, default = {},
  doc = "Where the data is. One of sqlite and postgres: served from it. Both: served from SQLite; nothing goes to PostgreSQL, "
    .. "for `wick move` is not there yet.",
})

local redis = S.record({
  url = url("redis", "redis unix", {
    example = "redis://127.0.0.1:6379", doc = "redis://[user[:password]@]host[:port][/database] or unix:///path",
  }),
  prefix = S.string { default = "candlefish:", max_length = 60, doc = "goes before every key" },
  connect_timeout = S.duration { default = "250ms", min = "10ms", max = "10s", doc = "for a connection" },
  timeout = S.duration { default = "20ms", min = "1ms", max = "10s", doc = "for a command; over it the database is asked instead" },
}, { order = { "url", "prefix", "timeout", "connect_timeout" }, doc = "Redis, the second layer." })

local cache = S.record({
  memory = S.bytes { default = "64MiB", min = "2MiB", max = "64GiB", doc = "the first layer, in this process" },
  ttl = S.duration { default = "60s", min = "1ms", max = "30d", doc = "how long an entry is fresh unless it says otherwise" },
  waiting_max = S.int64 { default = 10000, min = 1, max = 1000000, doc = "requests that may wait for an entry somebody else loads" },
  redis = S.any_of({ off, redis }, { default = false, doc = "Redis, the second layer; false: none." }),
}, { order = { "memory", "ttl", "waiting_max", "redis" }, default = {}, doc = "Caches: the first layer is memory, the second Redis." })

local lua = S.record({
  memory = S.bytes { default = "256MiB", min = "4MiB", max = "16GiB", doc = "for each worker's Lua; over it requests fail with 500" },
  cpu = S.duration { default = "1s", min = "10ms", max = "1m", doc = "Lua a request may run without waiting for anything; over it: 500" },
}, { default = {}, doc = "Limits of plugins." })

--- The schema of config.lua. Plugins' own options are checked by the plugins' schemas.
settings.schema = S.record({
  listen = address { default = "127.0.0.1:8080", doc = "where requests come in: address:port, or the path of a unix socket" },
  admin = S.any_of({ off, address {} }, { default = "127.0.0.1:9180", doc = "/healthz, /readyz, /metrics and /admin/pool; false: none" }),
  workers = S.any_of({ S.literal("auto"), S.int64 { min = 1, max = 256 } }, {
    default = "auto", doc = "threads that serve; auto: one for each core",
  }),
  log = log,
  http = http,
  database = database,
  cache = cache,
  lua = lua,
  plugins = S.any {
    default = { "accounts", "registry" }, doc = "names of folders under plugins/, or paths; options go under the plugin's name",
  },
}, { order = { "listen", "admin", "workers", "plugins", "database", "cache", "http", "log", "lua" } })

local function split_plugins(raw, errors)
  local list, options = {}, {}
  if raw == nil then
    raw = settings.schema.fields.plugins.default
  end
  if type(raw) ~= "table" then
    errors[#errors + 1] = { path = { "plugins" }, text = 'expected a list such as { "accounts", "registry" }' }
    return list, options
  end
  local count = 0
  for key, value in pairs(raw) do
    if math.type(key) == "integer" then
      if type(value) ~= "string" or value == "" then
        errors[#errors + 1] = { path = { "plugins", key }, text = "expected the name of a plugin, or the path of its folder" }
      end
      list[key], count = type(value) == "string" and value or nil, count + 1
    elseif type(value) ~= "table" then
      errors[#errors + 1] = { path = { "plugins", key }, text = ("expected a table of options: %s = { ... }"):format(tostring(key)) }
    else
      options[key] = value
    end
  end
  if count ~= #raw then
    errors[#errors + 1] = { path = { "plugins" }, text = "the list has a gap: one of its entries is nil" }
  end
  return list, options
end

--- Checks a raw table. Returns settings with every default in, or nil, the list of errors, and of the settings at least `plugins`
--- and `plugin_options`, so that mistakes in plugins can be told at the same time. secrets: see S.check.
function settings.check(raw, secrets)
  local checked, errors = S.check(settings.schema, raw, "lua", secrets)
  errors = errors or {}
  local list, options = split_plugins(raw.plugins, errors)
  if checked then
    local data, admin = checked.database, checked.admin
    if admin and collide(admin, checked.listen) then
      errors[#errors + 1] = { path = { "admin" }, text = ("is the address of listen (%s), too: give it another port, such as %s"):format(
        checked.listen, '"127.0.0.1:9180", or false for none') }
    end
    if data.sqlite == nil then
      data.sqlite = not data.postgres and assert(S.check(sqlite, {}, "lua")) or false
    end
    if not data.sqlite and not data.postgres then
      errors[#errors + 1] = { path = { "database" }, text = "give it sqlite or postgres: there must be a database" }
    end
  end
  if #errors > 0 then
    return nil, errors, { plugins = list, plugin_options = options }
  end
  checked.plugins, checked.plugin_options = list, options
  return checked
end

return settings
