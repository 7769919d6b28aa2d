-- The pool's faults as those who ask over HTTP see them: through a fault proxy, and with a server that is stopped, crashes and comes back.
-- What is never true afterwards: a request without an answer, a write done twice, a connection nobody counts.

local socket = require "socket"
local wick = require "spec.support.wick"
local servers = require "spec.support.servers"
local process = require "spec.support.process"
local http = require "spec.support.http"
local fault_proxy = require "spec.support.proxy"
local pool = require "spec.support.pool"

local plugin = [[
local S = require "wick.schema"
return {
  name = "faulty", version = "1.0.0", schema = "schema",
  routes = {
    { "GET", "/memory", name = "memory", handler = function() return { fine = true } end },
    { "GET", "/one", name = "one", handler = function(req, cx) return cx.db:one "select 1 as n" end },
    { "GET", "/slow", name = "slow", handler = function(req, cx) return cx.db:one "select 1 as n from pg_sleep(0.05)" end },
    { "GET", "/brief", name = "brief", timeout = "400ms", handler = function(req, cx) return cx.db:one "select 2 as n" end },
    { "GET", "/rows", name = "rows", handler = function(req, cx)
        return cx.db:rows "select i, repeat('x', 1000) as x from generate_series(1, 200) i" end },
    { "GET", "/big", name = "big", handler = function(req, cx)
        return cx.db:rows "select repeat('x', 1000) as x from generate_series(1, 16000) i" end },
    { "GET", "/huge", name = "huge", handler = function(req, cx)
        return cx.db:rows "select repeat('x', 1000) as x from generate_series(1, 1000000) i" end },
    { "POST", "/marks/{id:int64}", name = "mark", handler = function(req, cx)
        return cx.created("/marks", cx.db:one("insert into marks(id) values ($1) returning id, repeat('y', 100) as y", req.params.id))
      end },
    { "POST", "/slow-marks/{id:int64}", name = "slow_mark", handler = function(req, cx)
        return cx.created("/marks", cx.db:one("insert into marks select $1::int8 from pg_sleep(0.5) returning id", req.params.id))
      end },
    { "POST", "/forgotten", name = "forgotten", timeout = "5s", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        tx:exec "insert into marks(id) values (-1)"
        cx.sleep(2500)
        tx:commit()
        return cx.no_content()
      end },
  },
}
]]

local schema = "create table if not exists marks (id int8 primary key);\n"

describe("behind a bad network and a bad server", function()
  local postgres, server, proxy, before

  local function start(options)
    options = options or {}
    proxy = fault_proxy.start(postgres.port)
    server = wick.start {
      plugins = { faulty = { ["init.lua"] = plugin, ["schema/postgres.sql"] = schema } },
      config = {
        workers = 2,
        database = { sqlite = false, postgres = {
          primary = proxy:url(postgres.url) .. (options.extra or ""),
          pool = options.pool or { min_size = 2, max_size = 10, acquire_timeout = "1s" },
        } },
      },
    }
    server:wait_until_ready()
    for _ = 1, 20 do assert.equal(200, server:get("/one").status) end   -- libuv opens a spare descriptor where the first client comes
    postgres:query "truncate marks"
    before = assert(process.eventually(function()
      local now = pool.look(server, postgres)
      return now.counted == now.seen and now
    end))
  end

  setup(function() postgres = servers.postgres { set = { client_connection_check_interval = "100ms" } } end)
  before_each(function() server = nil end)
  after_each(function()
    assert.is_true(not server or server:is_running())
    local code, log
    if server then code, log = server:stop() end                 -- with its own look at memory and handles
    fault_proxy.stop_all()
    wick.stop_all()
    if code then assert.equal(0, code, log) end
  end)
  teardown(servers.stop_all)

  local function restores() pool.restores(server, postgres, "/one", before) end

  local function is_unavailable(response)
    assert.equal(503, response.status, response.body)
    assert.equal("application/problem+json", response.headers["content-type"])
    assert.is_true(tonumber(response.headers["retry-after"]) >= 1)
  end

  local function took_ms(fn)
    local since = process.now_ms()
    local value = fn()
    return process.now_ms() - since, value
  end

  -- `count` requests under way at once, each on a connection of its own; their responses in order.
  local function all_at_once(count, path)
    local conns, responses = {}, {}
    for i = 1, count do conns[i] = assert(server:connect()) end
    for _, conn in ipairs(conns) do assert(conn:send(http.format("GET", path))) end
    for i, conn in ipairs(conns) do
      conn.timeout_s = 30
      responses[i] = assert(conn:response())
      conn:close()
    end
    return responses
  end

  it("idle back ends that end cost no request anything", function()
    start()
    local conn = assert(server:connect())
    for _ = 1, 3 do
      local pids = postgres:query [[select string_agg(pid::text, ',') from (select pid, pg_terminate_backend(pid)
        from pg_stat_activity where application_name = 'wick') t]]
      process.eventually(function()                              -- it does not wait for them to end
        return postgres:query("select count(*) from pg_stat_activity where pid in (" .. pids .. ")") == "0"
      end)
      process.sleep_ms(process.slow(50))
      for _ = 1, 5 do
        local response = assert(conn:request("POST", "/marks/" .. math.random(1 << 40)))
        assert.equal(201, response.status, response.body)        -- a write, so nothing is retried
        assert.equal(200, assert(conn:request("GET", "/rows")).status)
      end
    end
    conn:close()
    assert.equal("15", postgres:query "select count(*) from marks")
    restores()
  end)

  it("a reset in the middle of an answer costs a read nothing, and a write is done once and said to be unknown", function()
    start()
    for i, cut in ipairs { "on D:100 half rst", "on Z before fatal" } do
      proxy:tell(cut)
      local response = server:get "/rows"
      assert.equal(200, response.status, response.body)
      assert.equal(200, #response:json())
      restores()                                                 -- no login is under way that could meet the cut
      proxy:tell((cut:gsub(":100", "")))
      response = server:request("POST", "/marks/" .. i)
      assert.equal(0, proxy:stat().armed)
      is_unavailable(response)
      assert.equal("1", postgres:query("select count(*) from marks where id = " .. i))
      restores()
    end
  end)

  it("every connection falls silent: requests end at their deadline, nothing else waits, and the silent ones are given up", function()
    start { extra = "&tcp_user_timeout=1000&keepalives_idle=1&keepalives_interval=1&keepalives_count=1" }
    if proxy:stat().darkens == 0 then
      pending "this user may drop no packets"
      return
    end
    local lag = pool.laggards(server, pool.lag_bound())
    proxy:tell "dark"
    local took, response = took_ms(function() return server:get "/brief" end)
    assert.is_true(response.status == 504 or response.status == 200, response.body)
    assert.is_true(took < process.slow(600), took .. " ms")
    assert.is_true(took_ms(function() return server:get "/memory" end) < process.slow(50))
    process.sleep_ms(3200)                                       -- cancels and retransmissions are over
    assert.equal(0, pool.laggards(server, pool.lag_bound()) - lag)
    restores()
  end)

  it("the whole server stands still: the loop does not, waits end at acquire_timeout, and all goes on where it was", function()
    start { pool = { min_size = 2, max_size = 2, acquire_timeout = "500ms", statement_timeout = "10s" } }
    local lag = pool.laggards(server, pool.lag_bound())
    postgres:freeze()
    local busy = {}
    for i = 1, 4 do
      busy[i] = assert(server:connect())
      assert(busy[i]:send(http.format("POST", "/marks/" .. i)))
      process.sleep_ms(20)
    end
    for i = 3, 4 do                                              -- two run, and these have waited in vain
      local response = assert(busy[i]:response())
      is_unavailable(response)
    end
    local took, response = took_ms(function() return server:get "/one" end)
    is_unavailable(response)
    assert.is_true(took >= 490 and took < process.slow(620), took .. " ms")
    local worst = 0
    for _ = 1, 200 do
      worst = math.max(worst, (took_ms(function() return server:get "/memory" end)))
      process.sleep_ms(5)
    end
    assert.is_true(worst < process.slow(20), worst .. " ms")
    postgres:thaw()
    for i = 1, 2 do assert.equal(201, assert(busy[i]:response()).status) end
    for _, conn in ipairs(busy) do conn:close() end
    assert.equal(0, pool.laggards(server, pool.lag_bound()) - lag)
    assert.equal("2", postgres:query "select count(*) from marks")
    restores()
  end)

  it("a back end crashes: 503 with Retry-After while the server recovers, then 200 by itself", function()
    start()
    local conn = assert(server:connect())
    assert(conn:send(http.format("POST", "/slow-marks/1")))
    local pid = process.eventually(function()
      return tonumber(postgres:query "select max(pid) from pg_stat_activity where application_name = 'wick' and state = 'active'")
    end)
    process.run { "kill", "-KILL", tostring(math.tointeger(pid)) }
    is_unavailable(assert(conn:response()))
    conn:close()
    local seen = {}
    assert.is_true(process.eventually(function()
      local response = server:get "/one"
      seen[response.status] = (seen[response.status] or 0) + 1
      if response.status ~= 200 then is_unavailable(response) end
      return response.status == 200
    end, 3000))
    local function count() return postgres:query "select count(*) from marks" end
    assert.is_true(process.eventually(function() return (pcall(count)) end, 3000)) -- a 200 may have come before the others were ended
    assert.equal("0", count())
    restores()
  end)

  it("100 requests want two connections: all are served, none before its turn", function()
    start { pool = { min_size = 2, max_size = 2, acquire_timeout = "30s" } }
    local took, responses = took_ms(function() return all_at_once(100, "/slow") end)
    for _, response in ipairs(responses) do assert.equal(200, response.status) end
    assert.is_true(took >= 2400 and took < process.slow(4000), took .. " ms")
    restores()
  end)

  it("more wait than may: the others are 503 at once and told to come back", function()
    start { pool = { min_size = 2, max_size = 2, max_waiting = 20, acquire_timeout = "30s" } }
    local fine, refused = 0, 0
    for _, response in ipairs(all_at_once(60, "/slow")) do
      if response.status == 200 then
        fine = fine + 1
      else
        is_unavailable(response)
        refused = refused + 1
      end
    end
    assert.is_true(fine >= 22, fine .. " were answered")
    assert.is_true(refused >= 1, refused .. " were refused")
    restores()
  end)

  it("a handler forgets its transaction: it is rolled back, and the locks and the connection are free again", function()
    start { pool = { min_size = 1, max_size = 2, idle_in_transaction = "1s" } }
    local conn = assert(server:connect())
    assert(conn:send(http.format("POST", "/forgotten")))
    assert.is_true(process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where state = 'idle in transaction'" == "1"
    end))
    assert.is_true(process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where state = 'idle in transaction'" == "0"
    end, 2000))
    local response = assert(conn:response())
    assert.is_true(response.status >= 500, response.body)
    conn:close()
    assert.equal("0", postgres:query "select count(*) from marks")
    assert.is_truthy(server:log():find("idle for too long", 1, true))
    restores()
  end)

  it("clients read slowly: the answer is kept in bounds, and its connection serves others", function()
    start { pool = { min_size = 1, max_size = 2 } }
    local function rss() return tonumber(process.read_file(("/proc/%d/status"):format(server.pid)):match "VmRSS:%s+(%d+)") / 1024 end
    local at_rest, conns = rss(), {}
    for i = 1, 3 do
      conns[i] = assert(server:connect())
      assert(conns[i]:send(http.format("GET", "/big")))          -- 16 MB, of which nothing is read
    end
    assert.is_true(process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where application_name = 'wick' and state = 'active'" == "0"
    end, 5000))
    for _ = 1, 20 do assert.equal(200, server:get("/one").status) end
    local held = rss() - at_rest
    assert.is_true(held < 3 * (16 + 32) + 32 or process.slow(1) > 3, held .. " MB")
    for _, conn in ipairs(conns) do
      conn.timeout_s = 30
      local response = assert(conn:response())
      assert.equal(200, response.status)
      assert.equal(16000, #response:json())
      conn:close()
    end
    local response = server:get "/huge"                          -- a gigabyte: it is not waited for
    assert.is_true(response.status >= 500, response.body)
    assert.is_true(rss() - at_rest < 400 or process.slow(1) > 3, rss() - at_rest .. " MB")
    restores()
  end)

  it("bytes come one by one, and ten in a second: right answers or deadlines, and no processor is burnt", function()
    start()
    proxy:tell "set down_fragment=1 up_fragment=1"
    assert.equal(200, server:get("/one").status)
    proxy:tell "set down_fragment=40 up_fragment=40"
    assert.equal(200, #server:get("/rows"):json())
    proxy:tell "set down_fragment=0 up_fragment=0 down_rate=10"
    local function ticks()
      local fields = {}
      for field in process.read_file(("/proc/%d/stat"):format(server.pid)):match("%) (.*)$"):gmatch "%S+" do fields[#fields + 1] = field end
      return tonumber(fields[12]) + tonumber(fields[13])
    end
    local since, used = socket.gettime(), ticks()
    for _ = 1, 2 do assert.equal(504, server:get("/brief").status) end
    local share = (ticks() - used) / 100 / (socket.gettime() - since)
    assert.is_true(share < 0.05 * process.slow(1), share * 100 .. " %")
    proxy:tell "set down_rate=0"
    restores()
  end)
end)
