-- A stop in the middle of it all: whatever handlers do, and however their clients leave, wick ends with 0 and gives back all it took.
-- What it did not give back it says itself ("memory was left"), and AddressSanitizer says of what.

local wick = require "spec.support.wick"
local servers = require "spec.support.servers"
local process = require "spec.support.process"
local http = require "spec.support.http"

local plugin = [[
local function compute() while true do end end
local function loop_in(tx) tx:one "select 1 as n" compute() end
local function nap_in(tx) tx:one "select pg_sleep(20)::text as t" end
local routes = {}
local function route(name, handler)
  routes[#routes + 1] = { "GET", "/" .. name, name = name, handler = handler }
end

route("loop", function(req, cx) local tx <close> = cx.db:begin() loop_in(tx) end)
route("loop_left_open", function(req, cx) local tx = cx.db:begin() loop_in(tx) end)
route("loop_caught", function(req, cx) local tx <close> = cx.db:begin() pcall(loop_in, tx) loop_in(tx) end)
route("loop_in_loader", function(req, cx)
  return cx.cache:get("value", {}, function() local tx <close> = cx.db:begin() loop_in(tx) end)
end)
route("loop_in_pipeline", function(req, cx) cx.db:pipeline(function(pipe) pipe:one "select 1 as n" compute() end) end)
route("loop_in_closure", function(req, cx) cx.db:transaction(loop_in) end)
route("loop_in_coroutine", function(req, cx)
  coroutine.wrap(function() local tx <close> = cx.db:begin() loop_in(tx) end)()
end)
route("loop_when_cut", function(req, cx) local tx <close> = cx.db:begin() pcall(nap_in, tx) compute() end)
route("nap", function(req, cx) local tx <close> = cx.db:begin() nap_in(tx) end)
route("nap_alone", function(req, cx) cx.db:one "select pg_sleep(20)::text as t" end)
route("copy", function(req, cx)
  local tx <close> = cx.db:begin()
  for _ in tx:copy_out "copy (select generate_series(1, 10000000)) to stdout" do cx.sleep(10) end
end)
route("notify", function(req, cx)
  for _, channel in ipairs { "computes", "shielded" } do cx.db:notify(channel, "x") end
  return { done = true }
end)

local running = {}
route("running", function() return running end)
local function note(name, work)
  return function(_, cx) running[name] = true work(cx) end
end

return {
  name = "stops", version = "1.0.0", routes = routes,
  listen = {
    computes = note("computes", function(cx) pcall(cx.sleep, "20s") compute() end),
    shielded = note("shielded", function(cx) cx.shield(function() cx.sleep "20s" end) end),
  },
}
]]

local paths = {
  "loop", "loop_left_open", "loop_caught", "loop_in_loader", "loop_in_pipeline", "loop_in_closure", "loop_in_coroutine",
  "loop_when_cut", "nap", "nap_alone", "copy", "notify",
}

describe("a stop", function()
  local postgres, server

  setup(function() postgres = servers.postgres() end)
  teardown(servers.stop_all)
  after_each(wick.stop_all)

  local function start(workers, cpu)
    server = wick.start {
      plugins = { stops = plugin },
      config = {
        workers = workers, lua = { cpu = cpu }, http = { drain_timeout = "200ms" },
        database = { sqlite = false, postgres = { primary = postgres.url, pool = { min_size = 1, max_size = 4 } } },
      },
    }
    server:wait_until_ready()
  end

  -- The connection ends with a reset, as that of a client that was killed.
  local function reset(conn)
    assert(conn.tcp:setoption("linger", { on = true, timeout = 0 }))
    conn:close()
  end

  local function ends_well()
    local code, log = server:stop("sigterm", 30000)
    assert.equal(0, code, log)
    assert.is_truthy(log:find("msg=stopped", 1, true), log)
    assert.is_nil(log:find("left open at the end", 1, true), log)
    assert.is_nil(log:find("memory was left", 1, true), log)
  end

  it("amid loops in open transactions, naps, COPY and a full pool, while the clients are reset, leaves nothing behind", function()
    start(2, "100ms")
    local conns = {}
    for _ = 1, 2 do
      for _, path in ipairs(paths) do
        local conn = assert(server:connect())
        conn:send(http.format("GET", "/" .. path))
        conns[#conns + 1] = conn
      end
    end
    process.sleep_ms(100)
    for i = 1, #conns, 2 do reset(conns[i]) end
    server:signal "sigterm"
    for i = 2, #conns, 2 do reset(conns[i]) end
    ends_well()
  end)

  it("is not cut short by a signal that comes while it ends", function()
    start(1, "100ms")
    server:signal "sigterm"
    assert.is_truthy(process.eventually(function()
      server:signal "sighup"
      return not server:is_running()
    end))
    local code, log, signal = server:stop()
    assert.equal(0, signal, log)
    assert.equal(0, code, log)
  end)

  it("takes no whole budget of each handler that computes on when the drain is over", function()
    start(1, "5s")
    local conns = {}
    for i = 1, 6 do
      conns[i] = assert(server:connect())
      conns[i]:send(http.format("GET", "/loop_when_cut"))
    end
    process.sleep_ms(300) -- they nap, and are cut in a moment
    local begin_ms = process.now_ms()
    ends_well()
    assert.is_true(process.now_ms() - begin_ms < 6000 + process.slow(2000))
    for _, conn in ipairs(conns) do conn:close() end
  end)

  it("waits for those behind a shield also when another handler has computed for all that time", function()
    start(1, "3500ms")
    assert.is_truthy(process.eventually(function()
      server:get "/notify"
      local running = server:get "/running":json()
      return running.computes and running.shielded
    end))
    ends_well()
  end)
end)
