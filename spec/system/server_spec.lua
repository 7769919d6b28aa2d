-- The process as operators and clients see it: it starts and stops cleanly, shares its port, tells how it is, holds thousands
-- of connections in little memory, and gets rid of those who misbehave.

local socket = require "socket"
local unix = require "socket.unix"
local cjson = require "cjson"
local wick = require "spec.support.wick"
local process = require "spec.support.process"
local http = require "spec.support.http"

local slow = process.slow
local has_sanitizers = (os.getenv "WICK_TEST_SANITIZE" or "") ~= "" -- they take memory

local plugin = [[
return {
  name = "plain", version = "1.0.0",
  routes = {
    { "GET", "/fine", name = "fine", handler = function() return { fine = true } end },
    { "GET", "/slow", name = "slow", handler = function(req, cx) cx.sleep "1s"; return { slow = true } end },
    { "GET", "/endless", name = "endless", handler = function(req, cx) cx.sleep "20s"; return { slow = true } end },
    { "POST", "/echo", name = "echo", handler = function(req) return req.body end },
    { "GET", "/error", name = "error_", handler = function() error 'a "quoted"\nmessage' end },
  },
}
]]

describe("the server", function()
  local server, conns

  before_each(function() conns = {} end)
  after_each(function()
    for _, conn in ipairs(conns) do conn:close() end
    wick.stop_all()
  end)

  local function start(config, options)
    options = options or {}
    options.plugins, options.config = { plain = plugin }, config
    server = wick.start(options)
    return server
  end

  local function connect()
    local conn = assert(server:connect())
    conns[#conns + 1] = conn
    return conn
  end

  local function rss_mb()
    return tonumber(process.read_file(("/proc/%d/status"):format(server.pid)):match "VmRSS:%s*(%d+)") / 1024
  end

  local function ends_well()
    local code, log = server:stop()
    assert.equal(0, code, log)
    assert.is_truthy(log:find("msg=stopped", 1, true), log)
    assert.is_nil(log:find("left open", 1, true), log)
    assert.is_nil(log:find("memory was left", 1, true), log)
  end

  -- --- start and stop ---

  it("finishes what is under way when it is told to stop, takes nothing new, and ends with 0", function()
    start { workers = 2 }
    local idle, busy, half = connect(), connect(), connect()
    assert.equal(200, assert(idle:request("GET", "/fine")).status)
    busy:send(http.format("GET", "/slow"))
    half:send "GET /fine HTTP/1.1\r\nHost: a\r\n"
    process.sleep_ms(100)
    server:signal "sigterm"
    assert.is_true(idle:is_closed())
    assert.is_true(process.eventually(function()
      local conn = server:connect()
      if conn then conn:close() end
      return not conn
    end, 400))
    assert.equal("draining", server:admin("/readyz"):json().status)
    assert.equal(503, server:admin("/readyz").status)
    half:send "\r\n"                                             -- it has begun, so it may end
    for _, conn in ipairs { half, busy } do
      local response = assert(conn:response())
      assert.equal(200, response.status)
      assert.equal("close", response.headers.connection)
      assert.is_true(conn:is_closed())
    end
    assert.equal(0, (server.process:wait(5000)))
    ends_well()
  end)

  it("does not wait for ever for those under way: after drain_timeout they are cut", function()
    start { http = { drain_timeout = "200ms" } }
    local busy = connect()
    busy:send(http.format("GET", "/endless"))
    process.sleep_ms(50)
    local before = process.now_ms()
    ends_well()
    assert.is_true(process.now_ms() - before < slow(2000))
  end)

  it("is not held up by one who was refused and does not leave, nor by one who never asked", function()
    start()
    connect():send "G\xffT / HTTP/1.1\r\n\r\n"
    connect()
    process.sleep_ms(50)
    local before = process.now_ms()
    ends_well()
    assert.is_true(process.now_ms() - before < slow(1500))
  end)

  it("stops at once when it is told again a second later", function()
    start()
    connect():send(http.format("GET", "/endless"))
    process.sleep_ms(50)
    server:signal "sigterm"
    process.sleep_ms(1100)
    assert.is_true(server:is_running())
    server:signal "sigint"
    assert.equal(1, (server.process:wait(3000)))
  end)

  it("finishes what is under way when two tell it to stop at the same time", function()
    start()
    local busy = connect()
    busy:send(http.format("GET", "/slow"))
    process.sleep_ms(50)
    for _, name in ipairs { "sigterm", "sigint", "sigterm" } do server:signal(name) end
    assert.equal(200, assert(busy:response()).status)
    assert.equal(0, (server.process:wait(5000)))
    ends_well()
  end)

  it("stops well, however little or much it has done", function()
    start { workers = 4 }
    ends_well()
    start({ workers = 2 }, { wait = false })
    process.sleep_ms(20)
    server:signal "sigterm"
    server.process:wait(5000)
    assert.is_false(server:is_running())
  end)

  it("is told by a port in use that it cannot start, and says which", function()
    start()
    for workers = 1, 2 do
      local other = wick.start {
        config = { workers = workers, listen = "127.0.0.1:" .. server.port }, plugins = { plain = plugin }, wait = false,
      }
      assert.equal(1, other.process:wait(5000))
      local log = other:log()
      assert.is_truthy(log:find("127.0.0.1 port " .. server.port, 1, true), log)
      assert.is_truthy(log:find("in use", 1, true), log)
      assert.is_nil(log:find("left open", 1, true), log)
    end
    local other = wick.start { config = { admin = "127.0.0.1:" .. server.port }, plugins = { plain = plugin }, wait = false }
    assert.equal(1, other.process:wait(5000))
    assert.is_truthy(other:log():find("in use", 1, true), other:log())
    assert.equal(200, server:get("/fine").status)
  end)

  it("has workers that share its port", function()
    start { workers = 2 }
    for _ = 1, 60 do assert.equal(200, assert(connect():request("GET", "/fine")).status) end
    assert.is_true(process.eventually(function()
      local first, second = server:metric("wick_http_connections", 'worker="0"'), server:metric("wick_http_connections", 'worker="1"')
      return first > 5 and second > 5 and first + second == 60
    end, 2000))
  end)

  it("tells systemd when it serves and when it stops", function()
    local dir = process.temp_dir()
    local listener = assert(unix.dgram())
    assert(listener:bind(dir .. "/notify"))
    listener:settimeout(5)
    start({}, { env = { NOTIFY_SOCKET = dir .. "/notify", WATCHDOG_USEC = "200000" } })
    local function hears(text)
      local said
      repeat said = assert(listener:receive()) until said:find(text, 1, true)
      return said
    end
    hears "READY=1"
    hears "WATCHDOG=1"
    server:signal "sigterm"
    hears "STOPPING=1"
    assert.equal(0, (server.process:wait()))
    listener:close()
    process.run { "rm", "-rf", dir }
  end)

  it("listens on a unix socket as well as on a port", function()
    local dir = process.temp_dir()
    for _ = 1, 2 do
      start({ listen = dir .. "/wick.sock", workers = 2 }, { wait = false })
      server.port = dir .. "/wick.sock"
      server:wait_until_up()
      local conn = connect()
      for _ = 1, 3 do assert.equal(200, assert(conn:request("GET", "/fine")).status) end
      if _ == 1 then server:stop "sigkill" else ends_well() end  -- one that was killed leaves its socket behind
    end
    process.run { "rm", "-rf", dir }
  end)

  -- --- how it is ---

  it("answers on its admin listener, and nowhere else, how it is", function()
    start():wait_until_ready()
    local health = server:admin "/healthz"
    assert.equal(200, health.status)
    assert.equal("ok", health:json().status)
    assert.equal("no-store", health.headers["cache-control"])
    local ready = server:admin("/readyz"):json()
    assert.same({ status = "ready", checks = { database = "ok", tables = "ok" } }, ready)
    assert.equal(404, server:admin("/other").status)
    local refused = http.request(server.admin_port, "POST", "/metrics")
    assert.equal(405, refused.status)
    assert.is_truthy(refused.headers.allow:find "GET")
    local asked = http.request(server.admin_port, "OPTIONS", "/metrics")
    assert.same({ 204, "GET, HEAD, OPTIONS" }, { asked.status, asked.headers.allow })
    for _, path in ipairs { "/healthz", "/readyz", "/metrics" } do assert.equal(404, server:get(path).status) end
  end)

  it("can do without an admin listener", function()
    start({ admin = false }, { wait = false })
    assert.is_true(process.eventually(function()
      local response = server:get "/fine"
      return response and response.status == 200
    end, 5000))
    ends_well()
  end)

  it("has metrics that Prometheus understands", function()
    start()
    for _ = 1, 3 do server:get "/fine" end
    server:get "/nowhere"
    server:get "/error"
    assert.equal(3, server:metric("wick_http_requests_total", 'route="fine"'))
    assert.equal(1, server:metric("wick_http_requests_total", 'code="404"'))
    assert.equal(1, server:metric("wick_http_requests_total", 'code="500"'))
    assert.equal(3, server:metric("wick_http_request_duration_seconds_count", 'route="fine"'))
    assert.is_true(server:metric "process_resident_memory_bytes" > 1e6)
    local response = server:admin "/metrics"
    assert.is_truthy(response.headers["content-type"]:find("version=0.0.4", 1, true))
    local help, kind = {}, {}
    for line in response.body:gmatch "[^\n]+" do
      local name = line:match "^# HELP (%S+) .+"
      if name then help[name] = true end
      name = line:match "^# TYPE (%S+) %a+$"
      if name then kind[name] = true end
      name = line:match "^([%a_:][%w_:]*)"
      if name then
        local family = kind[name] and name or name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
        assert.is_true(kind[family] and help[family], line)
      end
    end
    if process.run({ "sh", "-c", "command -v promtool" }).code ~= 0 then return end
    local checked = process.run({ "promtool", "check", "metrics" }, { stdin = response.body })
    assert.equal("", checked.out .. checked.err)
    assert.equal(0, checked.code)
  end)

  it("writes logs of which each line is JSON, when it is asked to", function()
    start { log = { format = "json", requests = true } }
    server:get "/error"
    server:get "/fine?a=%22%0a%5c"
    connect():send "G\xffT / HTTP/1.1\r\n\r\n"
    process.sleep_ms(50)
    local code, log = server:stop()
    assert.equal(0, code)
    local messages = {}
    for line in log:gmatch "[^\n]+" do
      local entry = cjson.decode(line)
      assert.is_truthy(entry.time:match "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
      assert.is_truthy(({ debug = 1, info = 1, warn = 1, error = 1 })[entry.level])
      messages[entry.msg] = entry
    end
    assert.is_truthy(messages.listening and messages.stopped)
    local failed = messages["a handler failed"]
    assert.equal("error_", failed.route)
    assert.is_truthy(failed.error:find('a "quoted"\nmessage', 1, true))
    assert.is_truthy(failed.traceback:find("stack traceback", 1, true))
  end)

  it("serves and stops while nobody reads its log, and tells how many lines were lost", function()
    local stalled = [[mkfifo "$0/pipe" && { sleep 120 <"$0/pipe" & exec "$@" 2>"$0/pipe"; }]]
    local dir = process.temp_dir()
    start({ log = { requests = true }, workers = 2 }, { under = { "sh", "-c", stalled, dir } })
    local conn, long = connect(), ("x"):rep(4000)
    for _ = 1, 600 do assert.equal(404, assert(conn:request("GET", "/" .. long)).status) end
    assert.is_true(server:metric "wick_log_lost_total" > 100)
    assert.equal(0, (server:stop()))
    process.run { "rm", "-rf", dir }
  end)

  -- --- many ---

  it("needs at most 40 MB with 1,000 open connections", function()
    start { workers = 2 }
    for _ = 1, 1000 do assert.equal(200, assert(connect():request("GET", "/fine")).status) end
    local used = rss_mb()
    assert.is_true(has_sanitizers or used <= 40, ("%.1f MB"):format(used))
  end)

  it("holds 10,000 idle connections in less than 80 MB, and a new one is served at once", function()
    local limit = tonumber(process.read_file("/proc/self/limits"):match "Max open files%s+(%d+)") or 1024
    local count = math.min(10000, limit - 200)
    start { workers = 2 }
    for i = 1, count do
      local conn = connect()
      if i % 10 == 0 then assert.equal(200, assert(conn:request("GET", "/fine")).status) end
    end
    assert.is_true(process.eventually(function() return server:metric "wick_http_connections" >= count end, 5000))
    local used, worst = rss_mb(), 0
    for _ = 1, 20 do
      local before = socket.gettime()
      assert.equal(200, server:get("/fine").status)
      worst = math.max(worst, socket.gettime() - before)
    end
    assert.is_true(has_sanitizers or used < 80, ("%d connections: %.1f MB"):format(count, used))
    assert.is_true(worst < slow(50) / 1000, ("%.1f ms"):format(worst * 1000))
    local before = process.now_ms()
    ends_well()
    assert.is_true(process.now_ms() - before < slow(3000))
  end)

  it("refuses who comes when http.connections_max are there, and serves again when one has gone", function()
    start { http = { connections_max = 5 } }
    for _ = 1, 5 do assert.equal(200, assert(connect():request("GET", "/fine")).status) end
    local refused = 0
    for _ = 1, 3 do                                              -- how exactly it counts is its own affair
      local response = connect():request("GET", "/fine")
      if not response or response.status == 503 then refused = refused + 1 end
    end
    assert.is_true(refused >= 2)
    for _, conn in ipairs(conns) do conn:close() end
    assert.is_true(process.eventually(function()
      local response = server:get "/fine"
      return response and response.status == 200
    end, 1000))
  end)

  -- --- who misbehaves ---

  local host = "Host: a\r\n"
  local bad = {
    ["a request without Host"] = "GET /fine HTTP/1.1\r\n\r\n",
    ["two Hosts"] = "GET /fine HTTP/1.1\r\n" .. host .. host .. "\r\n",
    ["a line end without CR"] = "GET /fine HTTP/1.1\nHost: a\n\n",
    ["a folded field"] = "GET /fine HTTP/1.1\r\n" .. host .. "X-A: b\r\n c\r\n\r\n",
    ["a space before the colon"] = "GET /fine HTTP/1.1\r\nHost : a\r\n\r\n",
    ["a NUL in a value"] = "GET /fine HTTP/1.1\r\n" .. host .. "X-A: b\0c\r\n\r\n",
    ["length and chunks"] = "POST /echo HTTP/1.1\r\n" .. host .. "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ["two lengths"] = "POST /echo HTTP/1.1\r\n" .. host .. "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ["a length with a sign"] = "POST /echo HTTP/1.1\r\n" .. host .. "Content-Length: +2\r\n\r\n{}",
    ["a coding that is not chunked"] = "POST /echo HTTP/1.1\r\n" .. host .. "Transfer-Encoding: xchunked\r\n\r\n",
    ["chunked not last"] = "POST /echo HTTP/1.1\r\n" .. host .. "Transfer-Encoding: chunked, gzip\r\n\r\n",
    ["a chunk size that is no number"] = "POST /echo HTTP/1.1\r\n" .. host .. "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ["a chunk longer than it says"] = "POST /echo HTTP/1.1\r\n" .. host .. "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    ["two spaces"] = "GET  /fine HTTP/1.1\r\n" .. host .. "\r\n",
    ["another version"] = "GET /fine HTTP/2.0\r\n" .. host .. "\r\n",
    ["a path with a control character"] = "GET /fi\1ne HTTP/1.1\r\n" .. host .. "\r\n",
    ["a greeting of TLS"] = "\22\3\1\2\0\1\0\1\252\3\3\r\n\r\n",
    ["a line that is too long"] = "GET /" .. ("x"):rep(9000) .. " HTTP/1.1\r\n" .. host .. "\r\n",
    ["a head that is too long"] = "GET /fine HTTP/1.1\r\n" .. host .. ("X-A: " .. ("y"):rep(4000) .. "\r\n"):rep(10) .. "\r\n",
    ["too many fields"] = "GET /fine HTTP/1.1\r\n" .. host .. ("X-A: b\r\n"):rep(101) .. "\r\n",
  }

  it("refuses what is no proper request with a problem, and closes", function()
    start()
    for name, bytes in pairs(bad) do
      local conn = connect()
      conn:send(bytes)
      local response, why = conn:response()
      assert.is_truthy(response, name .. ": " .. tostring(why))
      assert.is_true(response.status >= 400 and response.status < 506, name .. ": " .. response.status)
      assert.is_true(response.status < 500 or response.status == 505 or response.status == 501, name .. ": " .. response.status)
      assert.equal("close", response.headers.connection, name)
      assert.equal("application/problem+json", response.headers["content-type"], name)
      assert.is_true(conn:is_closed(), name)
    end
    assert.equal(200, server:get("/fine").status)
  end)

  it("never takes what is behind a refused request for another one", function()
    start()
    for name, bytes in pairs(bad) do
      local conn = connect()
      conn:send(bytes .. "GET /fine HTTP/1.1\r\nHost: a\r\n\r\n")
      local all = conn:rest() or ""                              -- a reset may take the answer with it
      local _, answers = all:gsub("HTTP/1%.1 %d%d%d", "")
      assert.is_true(answers <= 1, name .. ": " .. all)
      assert.is_nil(all:find("HTTP/1.1 200", 1, true), name)
    end
  end)

  it("does not wait long for a head or a body that comes byte by byte", function()
    start { http = { header_timeout = "300ms", body_timeout = "300ms" } }
    for _, beginning in ipairs { "", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" } do
      local conn, before = connect(), process.now_ms()
      assert(conn:send(beginning))
      local text, at = beginning == "" and "GET /fine HTTP/1.1\r\nHost: a\r\n" .. ("X-A: b\r\n"):rep(200) or (" "):rep(1000), 0
      while process.now_ms() - before < slow(2000) and #conn.buffer == 0 do
        at = at + 1
        if not conn:send(text:sub(at, at)) then break end
        local more, why = conn:fill(socket.gettime() + 0.010)
        if not more and why ~= "timeout" then break end
      end
      local took = process.now_ms() - before
      assert.is_true(took >= 280 and took < slow(1000), took .. " ms")
      local response = conn:response()
      assert.is_true(not response or response.status == 408, response and response.status)
      assert.is_true(conn:is_closed())
    end
    assert.equal(200, server:get("/fine").status)
  end)

  it("lets nobody stay who does not ask, and nobody who does not take the answer", function()
    start { http = { idle_timeout = "200ms", write_timeout = "300ms" } }
    local conn = connect()
    assert.equal(200, assert(conn:request("GET", "/fine")).status)
    assert.is_false(conn:is_closed(0.1))
    assert.is_true(conn:is_closed(1))
    local greedy = connect()
    greedy.timeout_s = 0.5
    local request = "GET /fine HTTP/1.1\r\nHost: a\r\n\r\n"
    local cut = false
    local deadline = process.now_ms() + 5000
    while not cut and process.now_ms() < deadline do
      local _, why = greedy:send(request:rep(1000))
      cut = why == "closed"
    end
    assert.is_true(cut)
    assert.equal(200, server:get("/fine").status)
  end)
end)
