-- What routes say of their statements, seen from outside: which of them share a commit.

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
      conns[i]:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(path, #body, body))
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
  end)

  it("gives each request the answer that is its own", function()
    local twice = ids(40)
    for i = 1, 10 do twice[#twice + 1] = i * 4 end
    assert.same({ [201] = 40, [409] = 10 }, post_all("/events", twice))
    assert.equal("40", postgres:query "select count(*) from events")
  end)
end)
