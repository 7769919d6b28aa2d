-- What routes say of their statements, seen from outside: which of them share a commit.

local socket = require "socket"
local cjson = require "cjson"
local wick = require "spec.support.wick"
local servers = require "spec.support.servers"
local http = require "spec.support.http"
local process = require "spec.support.process"

local plugin = [[
local S = require "wick.schema"
local Event = S.record { id = S.int64 {}, text = S.string {} }
local INSERT = "insert into events(id, text) values ($1, $2) returning id"
local function add(req, cx)
  return cx.created("/events/" .. req.body.id, cx.db:one(INSERT, req.body.id, req.body.text))
end
return {
  name = "events", version = "1.0.0", schema = "schema",
  routes = {
    { "POST", "/events", name = "event_add", body = Event, group = true, handler = add },
    { "GET", "/slow", name = "slow_read", handler = function(req, cx) return cx.db:one "select pg_sleep(1)::text as slept" end },
    { "GET", "/half/{name}", name = "half_second", handler = function(req, cx)
        return cx.db:one("select pg_sleep(0.5)::text as slept, $1::text as name", req.params.name)
      end },
    { "GET", "/quick/{id:int64}", name = "quick_read", handler = function(req, cx)
        return cx.db:one("select $1::int8 as id, count(*) as n from events where id = $1", req.params.id)
      end },
    { "GET", "/held", name = "held_open", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        tx:one "select 1 as n"
        cx.sleep(1000)
        tx:commit()
      end },
    { "POST", "/alone", name = "event_add_alone", body = Event, handler = add },
  },
}
]]

describe("a route with group = true", function()
  local postgres, server

  setup(function()
    postgres = servers.postgres()
    server = wick.start {
      plugins = { events = {
        ["init.lua"] = plugin, ["schema/postgres.sql"] = "create table if not exists events (id bigint primary key, text text not null);",
      } },
      config = {
        workers = 1, database = { sqlite = false, postgres = { primary = postgres.url, pool = { min_size = 4, max_size = 8 } } },
      },
    }
    server:wait_until_ready()
  end)
  teardown(function()
    wick.stop_all()
    servers.stop_all()
  end)
  before_each(function() postgres:query "truncate events" end)

  -- Sends one request on each of many connections, then reads all answers: how many came with which status.
  local function post_all(path, ids)
    local conns, statuses = {}, {}
    for i = 1, #ids do conns[i] = assert(http.connect(server.port)) end
    for i, id in ipairs(ids) do
      local body = ('{"id":%d,"text":"event %d"}'):format(id, id)
      local head = "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
      conns[i]:send(head:format(path, #body) .. body)
    end
    for _, conn in ipairs(conns) do
      local status = assert(conn:response()).status
      statuses[status] = (statuses[status] or 0) + 1
      conn:close()
    end
    return statuses
  end

  local function ids(count)
    local out = {}
    for i = 1, count do out[i] = i end
    return out
  end

  it("stores the inserts of many requests with few commits", function()
    post_all("/events", ids(8)) -- now the statement is known everywhere
    postgres:query "truncate events"
    assert.same({ [201] = 100 }, post_all("/events", ids(100)))
    assert.equal("100", postgres:query "select count(*) from events")
    assert.is_true(tonumber(postgres:query "select count(distinct xmin::text) from events") <= 60)
    postgres:query "truncate events"
    assert.same({ [201] = 100 }, post_all("/alone", ids(100)))
    assert.equal("100", postgres:query "select count(distinct xmin::text) from events")
  end)

  it("keeps quick reads quick, in batches, while one that takes half a second runs beside them", function()
    local conns, slow, took = {}, server:connect(), {}
    for i = 1, 8 do conns[i] = server:connect() end
    local function ask_all(until_ms, keeps)
      repeat
        local begin_ms = process.now_ms()
        for i, conn in ipairs(conns) do conn:send(("GET /quick/%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i)) end
        for _, conn in ipairs(conns) do
          assert.equal(200, conn:response().status)
          if keeps then took[#took + 1] = process.now_ms() - begin_ms end
        end
      until process.now_ms() >= until_ms
    end
    ask_all(process.now_ms() + 200, false)                          -- now it is known that they are quick
    local units = server:metric("wick_pg_batch_units_total", 'kind="read"')
    local reads = server:metric("wick_pg_batch_statements_total", 'kind="read"')
    for _ = 1, 3 do
      slow:send "GET /half/a HTTP/1.1\r\nHost: a\r\n\r\n"
      ask_all(process.now_ms() + 450, true)
      assert.equal(200, slow:response().status)
    end
    units = server:metric("wick_pg_batch_units_total", 'kind="read"') - units
    reads = server:metric("wick_pg_batch_statements_total", 'kind="read"') - reads
    assert.is_true(reads > units and reads >= #took, ("%d reads in %d units"):format(reads, units))
    table.sort(took)
    assert.is_true(took[#took * 99 // 100] < process.slow(20), ("p99 of %d: %d ms"):format(#took, took[#took * 99 // 100]))
    for _, conn in ipairs(conns) do conn:close() end
    slow:close()
  end)

  it("changes its size at SIGHUP, and not at all when the configuration has a mistake", function()
    local path = server.dir .. "/config.lua"
    local before = process.read_file(path)
    local function hangup(text, words)
      process.write_file(path, text)
      server:signal "sighup"
      assert.is_true(process.eventually(function() return server:log():find(words, 1, true) ~= nil end, 5000))
    end
    assert.equal(8, server:metric("wick_pg_pool_size", 'pool="primary"'))
    hangup(before:gsub('%["max_size"%] = 8', '["max_size"] = 6'), "the pool follows the configuration")
    assert.equal(6, server:metric("wick_pg_pool_size", 'pool="primary"'))
    hangup(before:gsub('%["max_size"%] = 8', '["max_size"] = 2'), "nothing has changed")
    assert.equal(6, server:metric("wick_pg_pool_size", 'pool="primary"'))
    assert.equal(1, post_all("/alone", { 1 })[201])
    process.write_file(path, before)
  end)

  it("has a metric for each of OpenTelemetry's, and says which", function()
    post_all("/events", ids(4))
    local metrics = server:admin "/metrics".body
    for name in ("count idle.max idle.min max pending_requests timeouts create_time wait_time use_time"):gmatch "%S+" do
      local ours = metrics:match("# HELP (%S+) [^\n]*db%.client%.connection%." .. name:gsub("%.", "%%.") .. "[,)]")
      assert.is_truthy(ours, name)
      assert.is_truthy(metrics:find("\n" .. ours .. "[{_]"), ours)
    end
    local checked = process.run({ "promtool", "check", "metrics" }, { stdin = metrics })
    assert.equal("", checked.out .. checked.err)
    assert.is_true(server:metric "wick_pg_pool_use_duration_seconds_count" > 0)
    assert.is_true(server:metric "wick_pg_pool_create_duration_seconds_count" >= 4)
  end)

  it("shows what its connections are doing", function()
    local slow, held = server:connect(), server:connect()
    slow:send "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
    held:send "GET /held HTTP/1.1\r\nHost: a\r\n\r\n"
    local holders
    local pool = process.eventually(function()
      local now = server:admin "/admin/pool":json()
      holders = {}
      for _, one in ipairs(now.connections) do
        if one.holder and one.for_ms >= 50 then holders[one.holder] = one end
      end
      return now.states.used == 2 and holders.slow_read and holders.held_open and now
    end)
    assert.equal("postgres", pool.engine)
    assert.equal(0, pool.waiting)
    assert.equal("closed", pool.breaker)
    assert.equal("select pg_sleep(1)::text as slept", holders.slow_read.statement)
    assert.is_nil(holders.held_open.statement) -- between two statements
    assert.is_true(pool.longest_hold_ms >= 50)
    local shown = process.run { wick.binary(), "pool", "--config", server.config_path }
    assert.equal(0, shown.code)
    assert.matches("pool primary: %d+ of 6 connections %(at least 4%): 2 used, %d+ idle", shown.out)
    assert.matches("used +[%d.]+ m?s +%d+  slow_read\n +select pg_sleep%(1%)::text as slept", shown.out)
    for line in shown.out:gmatch "[^\n]+" do assert.is_true(#line <= 80) end
    local json = process.run { wick.binary(), "pool", "--json", "--config", server.config_path }.out
    assert.equal(pool.pool, cjson.decode(json).pool)
    assert.equal(200, slow:response().status)
    assert.equal(204, held:response().status)
  end)

  it("says when it tries again after a wrong password, and does so at once at SIGHUP", function()
    postgres:query "create role late login superuser password 'other'"
    local other = wick.start {
      plugins = {}, config = { workers = 1, database = { sqlite = false, postgres = {
        primary = postgres.url:gsub("//.-@", "//late:right@"), pool = { min_size = 1, max_size = 2 },
      } } },
    }
    local function shown() return process.run({ wick.binary(), "pool", "--config", other.config_path }).out end
    assert.is_true(process.eventually(function() return other:admin("/admin/pool"):json().retry_ms > 5000 end, 10000))
    assert.matches("connecting is paused after failures, tried again in %d+%.%d s\nlast error: [^\n]+check user and password", shown())
    postgres:query "alter role late password 'right'"
    assert.equal(503, other:admin("/readyz").status)
    other:signal "sighup"
    assert.is_true(process.eventually(function() return other:admin("/admin/pool"):json().breaker == "closed" end, 3000))
    assert.equal(0, other:admin("/admin/pool"):json().retry_ms)
    assert.is_nil(shown():find("paused", 1, true))
  end)

  it("takes a new password at SIGHUP, for cancels, too, and neither another user nor another server", function()
    postgres:query "create role rotated login superuser password 'old'"
    local other = wick.start {
      plugins = { slow = [[return { name = "slow", version = "1.0.0", routes = {
        { "GET", "/one", name = "one", handler = function(req, cx) return cx.db:one "select 1 as n" end },
        { "GET", "/slow", name = "slow", timeout = "300ms", handler = function(req, cx)
            return cx.db:one "select pg_sleep(20)::text as n" end },
      } }]] },
      config = { workers = 1, database = { sqlite = false, postgres = {
        primary = postgres.url:gsub("//.-@", "//rotated:old@"), pool = { min_size = 1, max_size = 2 },
      } } },
    }
    local text = process.read_file(other.config_path)
    local function reload(from, to)
      local at = #other:log() + 1
      process.write_file(other.config_path, (text:gsub(from, to)))
      other:signal "sighup"
      local said
      assert.is_true(process.eventually(function()
        said = other:log():sub(at):match "SIGHUP: [^\n]+"
        return said ~= nil
      end))
      return said
    end
    for _, is in ipairs { { "//rotated:", "//wick:" }, { "/wick\"", "/postgres\"" }, { "127.0.0.1:" .. postgres.port, "127.0.0.1:1" } } do
      assert.matches("nothing has changed.*differs in more than its password", reload(is[1], is[2]))
    end
    postgres:query [[alter role rotated password 'new';
      select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated']]
    assert.is_true(process.eventually(function() return other:get("/one").status == 503 end))
    assert.matches("the pool follows the configuration", reload("rotated:old@", "rotated:new@"))
    assert.is_true(process.eventually(function() return other:get("/one").status == 200 end))
    assert.equal(504, other:get("/slow").status)
    assert.is_true(process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where usename = 'rotated' and state = 'active'" == "0"
    end, 3000))
  end)

  it("ends what takes longer than statement_timeout, unless its transaction allows it more", function()
    local other = wick.start {
      plugins = { slow = [[return { name = "slow", version = "1.0.0", routes = {
        { "GET", "/alone", name = "alone", handler = function(req, cx) return cx.db:one "select pg_sleep(4)::text as n" end },
        { "GET", "/piped", name = "piped", handler = function(req, cx)
            return cx.db:pipeline(function(p) p:one "select pg_sleep(4)::text as n" end) end },
        { "GET", "/within", name = "within", handler = function(req, cx)
            return cx.db:transaction(function(tx) return tx:one "select pg_sleep(4)::text as n" end) end },
        { "GET", "/allowed", name = "allowed", handler = function(req, cx)
            return cx.db:transaction(function(tx) return tx:one "select pg_sleep(1)::text as n" end, { timeout = "20s" }) end },
      } }]] },
      config = { workers = 1, database = { sqlite = false, postgres = {
        primary = postgres.url, pool = { min_size = 1, max_size = 4, statement_timeout = "500ms" },
      } } },
    }
    for _, path in ipairs { "/alone", "/piped", "/within" } do
      local since = process.now_ms()
      assert.equal(504, other:get(path).status)
      assert.is_true(process.now_ms() - since < 3500)
    end
    assert.equal(200, other:get("/allowed").status)
  end)

  it("is as small as its share where that is less than one connection", function()
    local small = servers.postgres { set = { max_connections = "40" } }
    local other = wick.start {
      plugins = { slow = [[return { name = "slow", version = "1.0.0", routes = {
        { "GET", "/slow", name = "slow", handler = function(req, cx) return cx.db:one "select pg_sleep(0.1)::text as n" end },
      } }]] },
      config = { workers = 1, database = { sqlite = false, postgres = {
        primary = small.url, pool = { min_size = 1, max_size = 12, autosize = true, share = 1, acquire_timeout = "20s" },
      } } },
    }
    other:wait_until_ready()
    local conns, most = {}, 0
    for i = 1, 12 do conns[i] = assert(other:connect()) end
    local until_ms = process.now_ms() + 4000
    repeat
      for _, conn in ipairs(conns) do conn:send "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" end
      for _, conn in ipairs(conns) do assert.equal(200, assert(conn:response()).status) end
      most = math.max(most, other:metric "wick_pg_pool_limit")
    until process.now_ms() > until_ms
    for _, conn in ipairs(conns) do conn:close() end
    assert.equal(1, most)
  end)

  it("is said not to be there when it is not", function()
    local other = process.run { wick.binary(), "pool", "--config", "spec/support/nowhere.lua" }
    assert.equal(78, other.code)
  end)

  it("is waited for no longer than 5 s, also where nobody takes the call", function()
    local full, callers = assert(socket.bind("127.0.0.1", 0, 0)), {}
    local _, port = full:getsockname()
    for i = 1, 8 do                                              -- more than it keeps, so a SYN is not answered any more
      callers[i] = socket.tcp()
      callers[i]:settimeout(0)
      callers[i]:connect("127.0.0.1", port)
    end
    local path = process.temp_dir() .. "/config.lua"
    process.write_file(path, ('return { admin = "127.0.0.1:%d" }\n'):format(port))
    local since = process.now_ms()
    local other = process.run({ wick.binary(), "pool", "--config", path }, { timeout_ms = process.slow(20000) })
    assert.is_true(process.now_ms() - since < process.slow(8000))
    assert.equal(1, other.code)
    assert.matches("no answer in time", other.err)
    for _, one in ipairs(callers) do one:close() end
    full:close()
  end)

  it("gives each request the answer that is its own", function()
    local twice = ids(40)
    for i = 1, 10 do twice[#twice + 1] = i * 4 end
    assert.same({ [201] = 40, [409] = 10 }, post_all("/events", twice))
    assert.equal("40", postgres:query "select count(*) from events")
  end)
end)
