-- Redis is a help and never a need: whatever it does, requests are answered from the database, soon, and the second layer is
-- used again within 2 s of its return.

local wick = require "spec.support.wick"
local servers = require "spec.support.servers"
local process = require "spec.support.process"

local slow = process.slow

-- The memory layer forgets at once, so that every request asks Redis.
local plugin = [[
return {
  name = "layered", version = "1.0.0", schema = "schema",
  routes = {
    { "GET", "/things/{id:int64}", name = "thing", handler = function(req, cx)
        return cx.cache:get("thing:" .. req.params.id, { ttl = "60s", memory_ttl = "1ms" }, function()
          return cx.db:one("select id, name from things where id = $1", req.params.id)
        end)
      end },
  },
}
]]

local schema = [[
create table if not exists things (id integer primary key, name text not null);
insert into things(id, name) values (1, 'one'), (2, 'two'), (3, 'drei'), (4, 'quatre') on conflict do nothing;
]]

local THING = '{"id":3,"name":"drei"}'

describe("when Redis", function()
  local redis, server

  local function start(options)
    server = wick.start {
      plugins = { layered = { ["init.lua"] = plugin, ["schema/sqlite.sql"] = schema } },
      config = { workers = 2, cache = { redis = { url = options and options.url or redis.url, prefix = "spec:" } } },
    }
    server:wait_until_ready()
  end

  setup(function() redis = servers.redis() end)
  before_each(function() redis:start() end)
  after_each(function()
    assert.is_true(server:is_running())
    wick.stop_all()
    redis:thaw()
    redis:stop()
  end)
  teardown(servers.stop_all)

  local function get() return server:get "/things/3" end

  local function is_fine(response)
    assert.equal(200, response.status, response.body)
    assert.equal(THING, response.body)
    return response
  end

  -- Both workers have the layer again: several answers in a row come from it.
  local function layer_answers(timeout_ms)
    return process.eventually(function()
      local hits = 0
      for _ = 1, 8 do
        if is_fine(get()).headers["x-cache"] == "HIT; layer=l2" then hits = hits + 1 end
        process.sleep_ms(2)
      end
      return hits >= 6
    end, timeout_ms or 2000)
  end

  -- The 99th percentile of the time of `count` requests in milliseconds, all of which are right.
  local function p99_ms(count)
    local conn, times = assert(server:connect()), {}
    for i = 1, count do
      local before = process.now_ms()
      is_fine(assert(conn:request("GET", "/things/3")))
      times[i] = process.now_ms() - before
    end
    conn:close()
    table.sort(times)
    return times[math.ceil(count * 0.99)]
  end

  local function is_quick(count)
    local took = p99_ms(count or 300)
    assert.is_true(took < slow(60), "p99 is " .. took .. " ms")
  end

  it("is there, what one loaded the next has from it", function()
    start()
    assert.is_true(layer_answers())
    assert.is_true(server:metric("wick_cache_requests_total", 'layer="l2",result="hit"') >= 6)
    assert.is_true(process.eventually(function() return server:admin("/readyz"):json().checks.redis == "ok" end, 2000))
    assert.equal("1", redis:query { "exists", redis:query { "keys", "spec:*" } })
  end)

  it("is absent at the start, requests are answered from the database, and from it once it is there", function()
    redis:stop()
    start()
    is_quick()
    assert.equal(200, server:admin("/readyz").status)
    assert.not_equal("ok", server:admin("/readyz"):json().checks.redis)
    redis:start()
    assert.is_true(layer_answers())
    assert.is_true(process.eventually(function() return server:admin("/readyz"):json().checks.redis == "ok" end, 2000))
  end)

  it("is killed and comes back empty, nobody notices but by the clock", function()
    start()
    assert.is_true(layer_answers())
    local skipped = server:metric("wick_cache_requests_total", 'layer="l2",result="skipped"')
    redis:kill()
    is_quick()
    assert.is_true(server:metric("wick_cache_requests_total", 'layer="l2",result="skipped"') > skipped)
    assert.matches('level=warn msg="Redis is away; requests go on without it" why="Redis at 127.0.0.1:%d+: ', server:log())
    local hits = server:metric("wick_cache_requests_total", 'layer="l2",result="hit"')
    redis:start()
    assert.is_true(layer_answers())
    assert.is_true(server:metric("wick_cache_requests_total", 'layer="l2",result="hit"') > hits)
    local log = server:log()
    assert.matches('level=info msg="Redis answers again"', log, 1, true)
    assert.is_true(select(2, log:gsub("Redis is away", "")) <= 2)    -- once for each worker, however often it was tried
  end)

  it("is frozen, a few requests wait for it a moment and the others do not", function()
    start()
    assert.is_true(layer_answers())
    redis:freeze()
    local before = process.now_ms()
    is_fine(get())
    assert.is_true(process.now_ms() - before < slow(60))
    is_quick()
    local until_ms = process.now_ms() + 1500                     -- it is tried now and then
    repeat is_quick(100) until process.now_ms() > until_ms
    redis:thaw()
    assert.is_true(layer_answers())
  end)

  it("is frozen under load, everybody is answered", function()
    start()
    assert.is_true(layer_answers())
    redis:freeze()
    local conns, request = {}, "GET /things/%d HTTP/1.1\r\nHost: x\r\n\r\n"
    local before = process.now_ms()
    for i = 1, 100 do
      conns[i] = assert(server:connect())
      assert(conns[i]:send(request:format(i % 4 + 1)))
    end
    for i = 1, 100 do
      assert.equal(200, assert(conns[i]:response()).status)
      conns[i]:close()
    end
    assert.is_true(process.now_ms() - before < slow(500))
  end)

  it("holds something else under our keys, it is loaded and written again", function()
    start()
    assert.is_true(layer_answers())
    local key = redis:query { "keys", "spec:*thing:3" }
    local cut = "redis.call('set', KEYS[1], string.sub(redis.call('get', KEYS[1]), 1, -4))"
    local bent = "local v = redis.call('get', KEYS[1]) redis.call('set', KEYS[1], string.sub(v, 1, -6) .. 'xyz' .. string.sub(v, -2))"
    for _, words in ipairs {
      { "set", key, "" }, { "set", key, "garbage" }, { "set", key, ("g"):rep(1000) }, { "set", key, '{"id":3,"name":"false"}' },
      { "eval", cut, "1", key }, { "eval", bent, "1", key },
    } do
      redis:query(words)
      process.sleep_ms(3)
      assert.equal("MISS", is_fine(get()).headers["x-cache"], table.concat(words, " "))
      assert.is_true(layer_answers(), table.concat(words, " "))
    end
    for _, words in ipairs { { "lpush", key, "a" }, { "hset", key, "a", "b" } } do
      redis:query { "del", key }
      redis:query(words)
      is_fine(get())                                             -- SET replaces it, of whatever type it is
      assert.is_true(layer_answers(), table.concat(words, " "))
    end
  end)

  it("is full, asks for a password, or is not Redis at all, requests do without it", function()
    start()
    assert.is_true(layer_answers())
    redis:query { "config", "set", "maxmemory", "1" }
    redis:query { "flushall" }
    is_quick(50)
    redis:query { "config", "set", "maxmemory", "0" }
    assert.is_true(layer_answers())
    wick.stop_all()
    redis:query { "config", "set", "requirepass", "secret-of-redis" }
    start()
    is_quick(50)
    assert.is_truthy(server:admin("/readyz"):json().checks.redis ~= "ok")
    wick.stop_all()
    start { url = redis.url:gsub("127", ":not-the-password@127", 1) }
    is_quick(50)
    assert.is_nil(server:log():find("not-the-password", 1, true))
    wick.stop_all()
    start { url = redis.url:gsub("127", ":secret-of-redis@127", 1) }
    assert.is_true(layer_answers())
    wick.stop_all()
    local other = wick.start {}
    start { url = "redis://127.0.0.1:" .. other.port }
    is_quick(50)
  end)
end)
