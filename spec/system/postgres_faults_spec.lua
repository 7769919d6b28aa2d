-- Whatever PostgreSQL does, wick stays up, answers within the deadline, says 503 where it cannot do better, and is itself
-- again within 2 s of the server's return.

local socket = require "socket"
local wick = require "spec.support.wick"
local servers = require "spec.support.servers"
local process = require "spec.support.process"
local http = require "spec.support.http"

local plugin = [[
local S = require "wick.schema"
local runs, body = 0, S.record { name = S.string { optional = true }, size = S.int64 { optional = true } }
return {
  name = "faulty", version = "1.0.0", schema = "schema",
  routes = {
    { "GET", "/memory", name = "memory", handler = function() return { fine = true } end },
    { "GET", "/one", name = "one", handler = function(req, cx) return cx.db:one "select 1 as n" end },
    { "GET", "/brief", name = "brief", timeout = "400ms", handler = function(req, cx) return cx.db:one "select 2 as n" end },
    { "GET", "/cached", name = "cached", timeout = "400ms", cache = { ttl = "1h", tags = { "things" } },
      handler = function(req, cx) return cx.db:one "select count(*) as n from things" end },
    { "GET", "/stale", name = "stale", timeout = "400ms", cache = { ttl = "1ms", stale = "1h" },
      handler = function(req, cx) return cx.db:one "select count(*) as n from things" end },
    { "GET", "/sleep", name = "sleep", handler = function(req, cx) return cx.db:one "select 'asleep' as state, pg_sleep(20)" end },
    { "GET", "/nap", name = "nap", timeout = "300ms", handler = function(req, cx) return cx.db:one "select pg_sleep(20)" end },
    { "GET", "/hold", name = "hold", handler = function(req, cx) return cx.db:one "select pg_sleep(0.5)" end },
    { "POST", "/things", name = "thing_add", body = body, handler = function(req, cx)
        return cx.created("/things", cx.db:one("insert into things(name, size) values ($1, $2) returning id, name, size",
          req.body.name, req.body.size))
      end },
    { "GET", "/things/{id:uuid}", name = "thing_get", handler = function(req, cx)
        return cx.db:one("select name from things where id = $1", req.params.id) or cx.problem(404, "thing-not-found")
      end },
    { "POST", "/conflict", name = "conflict", handler = function(req, cx)
        local tries = 0
        local n = cx.db:transaction(function(tx)
          tries = tries + 1
          tx:exec "set transaction isolation level serializable"
          local n = tx:one("select n from counters where id = 1").n
          cx.sleep(100)
          tx:exec("update counters set n = $1 where id = 1", n + 1)
          return n + 1
        end)
        return { n = n, tries = tries }
      end },
    { "POST", "/again", name = "again", handler = function(req, cx)
        local tries = 0
        local rows = cx.db:transaction(function(tx)
          tries = tries + 1
          tx:exec "update counters set n = n + 1 where id = 1"
          if tries == 1 then tx:one "select pg_sleep(s) from naps" end
          return #tx:rows "select * from altered"
        end)
        return { tries = tries, rows = rows }
      end },
    { "POST", "/once", name = "once", handler = function(req, cx)
        return cx.db:exec "insert into counted(i) select 1 from pg_sleep(2)"
      end },
    { "POST", "/twice", name = "twice", handler = function(req, cx)
        return cx.db:with { idempotent = true }:exec "insert into counted(i) select 1 from pg_sleep(2)"
      end },
    { "POST", "/transaction", name = "transaction", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        tx:exec "insert into things(name, size) values ('unfinished', 1)"
        tx:one "select pg_sleep(20)"
        tx:commit()
      end },
  },
}
]]

local schema = [[
create table if not exists things (id uuid primary key default gen_random_uuid(), name text not null unique, size int check (size >= 0));
create table if not exists counters (id int primary key, n int not null);
insert into counters values (1, 0) on conflict do nothing;
create table if not exists altered(i int);
create table if not exists counted(i int);
create table if not exists naps(s float);
insert into naps select 0 where not exists (select from naps);
]]

describe("when PostgreSQL", function()
  local postgres, server

  local function start(options)
    options = options or {}
    server = wick.start {
      plugins = { faulty = { ["init.lua"] = plugin, ["schema/postgres.sql"] = schema } },
      config = {
        workers = 2, log = options.log,
        database = { sqlite = false, postgres = {
          primary = options.url or postgres.url,
          pool = options.pool or { min_size = 2, max_size = 10, acquire_timeout = "1s" },
        } },
      },
    }
    return server
  end

  setup(function() postgres = servers.postgres { set = { max_connections = 30, client_connection_check_interval = "100ms" } } end)
  before_each(function() server = nil end)
  after_each(function()
    assert.is_true(not server or server:is_running())
    wick.stop_all()
  end)
  teardown(servers.stop_all)

  local function is_unavailable(response)
    assert.equal(503, response.status, response.body)
    assert.equal("application/problem+json", response.headers["content-type"])
    assert.is_true(tonumber(response.headers["retry-after"]) >= 1)
    assert.equal(503, response:json().status)
  end

  -- 200 within 2 s.
  local function recovers(path)
    local last
    local back = process.eventually(function()
      last = server:get(path)
      return last and last.status == 200
    end, 2000)
    assert.is_true(back, path .. " says " .. (last and last.status .. ": " .. last.body or "nothing"))
  end

  -- A request under way: its connection, after `query` is seen running in the server.
  local function under_way(method, path, query)
    local conn = assert(server:connect())
    assert(conn:send(http.format(method, path)))
    local seen = process.eventually(function()
      return postgres:query("select count(*) from pg_stat_activity where state = 'active' and query like '" .. query .. "'") ~= "0"
    end, 3000)
    assert.is_true(seen, query .. " is not seen running")
    return conn
  end

  local function took_ms(fn)
    local before = process.now_ms()
    local value = fn()
    return process.now_ms() - before, value
  end

  -- The slowest of `count` requests.
  local function slowest_ms(path, count)
    local conn, worst = assert(server:connect()), 0
    for _ = 1, count do
      local took, response = took_ms(function() return assert(conn:request("GET", path)) end)
      assert.equal(200, response.status)
      worst = math.max(worst, took)
    end
    conn:close()
    return worst
  end

  it("is absent at the start, wick serves, says 503, and makes its tables when it comes", function()
    postgres:query "drop table if exists things; drop table if exists counters"
    postgres:stop()
    start()
    local ready = server:admin "/readyz"
    assert.equal(503, ready.status)
    assert.equal("not ready", ready:json().status)
    assert.not_equal("ok", ready:json().checks.database)
    assert.equal(200, server:admin("/healthz").status)
    assert.equal(200, server:get("/memory").status)
    is_unavailable(server:get "/one")
    is_unavailable(server:get "/cached")
    local pid = server.pid
    postgres:start()
    recovers "/one"
    recovers "/cached"
    assert.equal(200, server:admin("/readyz").status)
    assert.equal("t", postgres:query "select to_regclass('things') is not null")
    assert.equal(pid, server.pid)
  end)

  it("is killed in the middle of statements, they are 503 at once, and all is well within 2 s of its return", function()
    start():wait_until_ready()
    local asleep = under_way("GET", "/sleep", "%asleep%")
    local open = under_way("POST", "/transaction", "select pg_sleep(20)%")
    local took = took_ms(function()
      postgres:kill()
      is_unavailable(assert(asleep:response()))
      is_unavailable(assert(open:response()))
    end)
    assert.is_true(took < process.slow(1500), took .. " ms")
    for _ = 1, 20 do
      local each, response = took_ms(function() return server:get "/one" end)
      is_unavailable(response)
      assert.is_true(each < process.slow(1500), each .. " ms")
    end
    assert.equal(503, server:admin("/readyz").status)
    postgres:start()
    recovers "/one"
    assert.equal("0", postgres:query "select count(*) from things where name = 'unfinished'")
    assert.is_true(process.eventually(function() return server:admin("/readyz").status == 200 end, 2000))
  end)

  it("is frozen, requests end at their deadline and everything else keeps its pace", function()
    start():wait_until_ready()
    assert.equal(200, server:get("/cached").status)
    local stale = server:get "/stale"
    assert.equal(200, stale.status)
    postgres:freeze()
    local waiting = {}
    for i = 1, 30 do
      waiting[i] = assert(server:connect())
      assert(waiting[i]:send(http.format("GET", "/brief")))
    end
    local memory, cached = slowest_ms("/memory", 100), slowest_ms("/cached", 100)
    assert.is_true(memory < process.slow(50), "/memory: " .. memory .. " ms")
    assert.is_true(cached < process.slow(50), "/cached: " .. cached .. " ms")
    local took = took_ms(function()
      for _, conn in ipairs(waiting) do
        local response = assert(conn:response())
        assert.is_true(response.status == 504 or response.status == 503, response.body)
        conn:close()
      end
    end)
    assert.is_true(took < process.slow(900), took .. " ms")
    local again = server:get "/stale"
    assert.equal("STALE; layer=l1", again.headers["x-cache"])
    assert.equal(stale.body, again.body)
    postgres:thaw()
    recovers "/brief"
    recovers "/one"
  end)

  it("is away, cached routes are answered from memory, and from what is stale where a route allows it", function()
    start():wait_until_ready()
    local cached, stale = server:get "/cached", server:get "/stale"
    assert.equal(200, cached.status)
    assert.equal(200, stale.status)
    postgres:kill()
    process.sleep_ms(20)
    local hit, old = server:get "/cached", server:get "/stale"
    assert.equal("HIT; layer=l1", hit.headers["x-cache"])
    assert.equal(cached.body, hit.body)
    assert.equal(200, old.status)
    assert.equal("STALE; layer=l1", old.headers["x-cache"])
    assert.equal(stale.body, old.body)
    postgres:start()
    assert.is_true(process.eventually(function() return server:get("/stale").headers["x-cache"] == "MISS" end, 2000))
  end)

  it("ends its back ends, reads go on unharmed and what was running is 503", function()
    start():wait_until_ready()
    for _ = 1, 5 do
      assert.equal(200, server:get("/one").status)
      local pids = postgres:query [[select string_agg(pid::text, ',') from (select pid, pg_terminate_backend(pid)
        from pg_stat_activity where pid <> pg_backend_pid() and usename = 'wick' and backend_type = 'client backend') t]]
      process.eventually(function()                               -- it does not wait for them to end
        return postgres:query("select count(*) from pg_stat_activity where pid in (" .. pids .. ")") == "0"
      end)
      assert.equal(200, server:get("/one").status)
    end
    local open = under_way("POST", "/transaction", "select pg_sleep(20)%")
    postgres:query "select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep(20)%'"
    is_unavailable(assert(open:response()))
    recovers "/one"
    assert.equal("0", postgres:query "select count(*) from things where name = 'unfinished'")
  end)

  it("refuses the password, the log says so plainly and the server is not stormed", function()
    local log_path = postgres.dir .. "/log"
    local before = #process.read_file(log_path)
    start { url = ("postgres://wick:not-the-password@127.0.0.1:%d/wick"):format(postgres.port) }
    for _ = 1, 20 do
      is_unavailable(server:get "/one")
      process.sleep_ms(50)
    end
    local _, attempts = process.read_file(log_path):sub(before + 1):gsub("password authentication failed", "")
    assert.is_true(attempts >= 1 and attempts <= 10, attempts .. " attempts")
    local log = server:log()
    assert.is_truthy(log:find("password authentication failed for user", 1, true), log)
    assert.is_nil(log:find("not-the-password", 1, true))
    assert.is_nil(server:get("/one").body:find("not-the-password", 1, true))
    assert.equal(503, server:admin("/readyz").status)
  end)

  it("has no connection left, requests share those there are or are told to come back", function()
    local others = {}
    for i = 1, 24 do                                             -- of 30
      others[i] = process.start { "psql", "-qXc", "select pg_sleep(30)", postgres.url }
    end
    process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where query like 'select pg_sleep(30)%'" == "24"
    end, 5000)
    start { pool = { min_size = 1, max_size = 20, acquire_timeout = "3s" } }
    server:wait_until_ready()
    local conns = {}
    for i = 1, 20 do
      conns[i] = assert(server:connect())
      assert(conns[i]:send(http.format("GET", "/hold")))
    end
    local fine = 0
    for i = 1, 20 do
      local response = assert(conns[i]:response())
      if response.status == 200 then fine = fine + 1 else is_unavailable(response) end
      conns[i]:close()
    end
    assert.is_true(fine >= 4, fine .. " were answered")
    for _, other in ipairs(others) do
      other:signal "sigkill"
      other:wait()
    end
    recovers "/one"
  end)

  it("refuses a value, the consumer is told which kind of mistake it was", function()
    start():wait_until_ready()
    local function add(thing) return server:request("POST", "/things", { json = thing }) end
    assert.equal(201, add({ name = "first", size = 1 }).status)
    for status, thing in pairs { [409] = { name = "first", size = 2 }, [422] = { name = "second", size = -1 } } do
      local response = add(thing)
      assert.equal(status, response.status, response.body)
      assert.equal("application/problem+json", response.headers["content-type"])
      assert.is_nil(response.body:find("insert into", 1, true))
    end
    assert.equal(422, add({ size = 3 }).status)                  -- not null
    assert.equal(422, add({ name = "third", size = 99999999999 }).status)
    assert.equal(400, server:get("/things/no-uuid").status)
    assert.equal(400, server:get("/things/00000000-0000-0000-0000-00000000000g").status)
    assert.equal(404, server:get("/things/00000000-0000-4000-8000-000000000000").status)
    assert.equal("1", postgres:query "select count(*) from things")
  end)

  it("cannot serialize two transactions, cx.db:transaction runs the second one again", function()
    start():wait_until_ready()
    postgres:query "update counters set n = 0"
    local conns, tries = {}, 0
    for i = 1, 2 do
      conns[i] = assert(server:connect())
      assert(conns[i]:send(http.format("POST", "/conflict")))
    end
    for i = 1, 2 do
      local response = assert(conns[i]:response())
      assert.equal(200, response.status, response.body)
      tries = tries + response:json().tries
      conns[i]:close()
    end
    assert.equal("2", postgres:query "select n from counters where id = 1")
    assert.equal(3, tries)
  end)

  it("loses a connection, what may be run again is run again, and nothing else is", function()
    start():wait_until_ready()
    local function ended(path, pattern)
      local conn = under_way("POST", path, pattern)
      postgres:query "select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid()"
      local response = assert(conn:response())
      conn:close()
      return response
    end
    postgres:query "update counters set n = 0"
    postgres:query "update naps set s = 3"
    assert.same({ tries = 2, rows = 0 }, ended("/again", "select pg_sleep(%"):json())
    assert.equal("1", postgres:query "select n from counters where id = 1")
    assert.equal(503, ended("/once", "insert into counted%").status)
    assert.equal("0", postgres:query "select count(*) from counted")
    assert.equal(200, ended("/twice", "insert into counted%").status)
    assert.equal("1", postgres:query "select count(*) from counted")
  end)

  it("has its tables changed, a transaction is run again once", function()
    start():wait_until_ready()
    postgres:query "update naps set s = 0"
    for _ = 1, 8 do server:request("POST", "/again") end
    postgres:query "update naps set s = 3"
    local conn = under_way("POST", "/again", "select pg_sleep(%")
    postgres:query "alter table altered add column j text"
    local response = assert(conn:response()):json()
    conn:close()
    assert.is_true(response.tries <= 2)
    postgres:query "update naps set s = 0"
    for _ = 1, 8 do assert.is_true(server:request("POST", "/again"):json().tries <= 2) end
  end)

  it("works for a client that leaves, its statement is cancelled within 200 ms", function()
    start():wait_until_ready()
    for _ = 1, 3 do
      local conn, log_path = under_way("GET", "/sleep", "%asleep%"), postgres.dir .. "/log"
      local before = #process.read_file(log_path)
      local left_s = socket.gettime()
      conn:close()
      local minutes, seconds                                     -- when it was cancelled, by PostgreSQL's own log
      process.eventually(function()
        minutes, seconds = process.read_file(log_path):sub(before + 1)
          :match "%d%d:(%d%d):(%d%d%.%d+)[^\n]*canceling statement due to user request"
        return seconds
      end, 3000)
      assert.is_truthy(seconds)
      local after_ms = (minutes * 60 + seconds - left_s + 1) % 3600 * 1000 - 1000
      assert.is_true(after_ms < process.slow(200), after_ms .. " ms")
    end
    local conn = under_way("POST", "/transaction", "select pg_sleep(20)%")
    conn:close()
    assert.is_true(process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where query like 'select pg_sleep(20)%' and state <> 'idle'" == "0"
    end, 1000))
    assert.equal("0", postgres:query "select count(*) from things where name = 'unfinished'")
    recovers "/one"
  end)

  it("is still at work at a request's deadline, it is a 504 and the statement is cancelled", function()
    start():wait_until_ready()
    local took, response = took_ms(function() return server:get "/nap" end)
    assert.equal(504, response.status)
    assert.is_true(took >= 290 and took < process.slow(600), took .. " ms")
    assert.is_true(process.eventually(function()
      return postgres:query "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep(20)%'" == "0"
    end, 500))
  end)
end)
