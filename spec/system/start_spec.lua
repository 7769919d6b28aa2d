-- What happens between the start and the first answer: tables, then the plugins' start functions, then readiness.

local wick = require "spec.support.wick"
local process = require "spec.support.process"

local schema = "create table if not exists marks (text text not null);"
local marking = [[
return {
  name = "marking", version = "1.0.0", schema = "schema",
  start = function(options, cx) cx.db:exec "insert into marks(text) values ('started')" end,
  stop = function(cx) cx.log:info "marking stopped" end,
  routes = { { "GET", "/marks", name = "marks", handler = function(req, cx) return cx.db:rows "select text from marks" end } },
}
]]
local reluctant = [[
local tries = 0
return {
  name = "reluctant", version = "1.0.0",
  start = function()
    tries = tries + 1
    if tries < 2 then error "not in the mood" end
  end,
  routes = { { "GET", "/ok", name = "ok", handler = function() return true end } },
}
]]

describe("starting", function()
  after_each(wick.stop_all)

  it("runs the plugins' start functions once in each worker, with their tables made, and stop at the end", function()
    local server = wick.start {
      config = { workers = 2 }, plugins = { marking = { ["init.lua"] = marking, ["schema/sqlite.sql"] = schema } },
    }
    server:wait_until_ready()
    assert.equal(2, #server:get("/marks"):json())
    local code, log = server:stop()
    assert.equal(0, code)
    local _, stops = log:gsub("marking stopped", "")
    assert.equal(2, stops)
  end)

  it("is not ready while a plugin cannot start, says so once, and tries again", function()
    local server = wick.start { plugins = { reluctant = reluctant } }
    assert.equal(200, server:get("/ok").status)
    server:wait_until_ready()
    local _, complaints = server:log():gsub("a plugin cannot start yet", "")
    assert.equal(1, complaints)
    assert.is_truthy(server:log():find("not in the mood", 1, true))
  end)

  it("says at SIGHUP that SQLite takes nothing from the configuration until a restart", function()
    local server = wick.start {}
    server:wait_until_ready()
    server:signal "sighup"
    assert.is_true(process.eventually(function()
      return server:log():find("on SQLite it is read at the start only", 1, true) ~= nil
    end, 5000))
    assert.is_nil(server:log():find("the pool follows", 1, true))
  end)

  it("starts and stops each plugin once, also when one beside it fails", function()
    local first = [[
      return { name = "first", version = "1.0.0",
        start = function(options, cx) cx.log:info "first started" end, stop = function(cx) cx.log:info "first stopped" end }
    ]]
    local second = [[
      local tries = 0
      return { name = "second", version = "1.0.0", after = { "first" },
        start = function() tries = tries + 1 if tries < 2 then error "not yet" end end, stop = function() error "never" end }
    ]]
    local server = wick.start { plugins = { first = first, second = second } }
    server:wait_until_ready()
    local _, log = server:stop()
    local _, started = log:gsub("first started", "")
    assert.equal(1, started)
    assert.is_truthy(log:find("a plugin's stop function failed", 1, true))
    assert.is_truthy(log:find("first stopped", 1, true))
  end)

  it("says what to raise when the limit of open files is too low for it", function()
    for _, limit in ipairs { 14, 18, 22, 26 } do
      local server = wick.start {
        wait = false, config = { workers = 2 }, under = { "sh", "-c", ('ulimit -n %d; exec "$@"'):format(limit), "sh" },
      }
      server.process:wait()
      assert.not_equal(0, server.process.code)
      assert.matches(('msg="cannot start" why=.* fix="raise the limit of open files, which is %d and reached %%(ulimit %%-n'):format(limit),
        server:log())
    end
  end)

  it("makes the first administrator, once, in a database without users", function()
    local top = require("luv").cwd()
    local server = wick.start {
      config = {
        workers = 2,
        plugins = {
          top .. "/plugins/accounts", accounts = { first_admin = { email = "You@Example.com", password = "long enough for this" } },
        },
      },
    }
    server:wait_until_ready()
    local login = server:request("POST", "/api/v1/login", { json = { email = "you@example.com", password = "long enough for this" } })
    assert.equal(201, login.status)
    local users = server:get("/api/v1/users", { authorization = "Bearer " .. login:json().token })
    assert.equal(1, #users:json())
    local _, made = server:log():gsub("made the first administrator", "")
    assert.equal(1, made)
    assert.is_nil(server:log():find("long enough for this", 1, true))
  end)
end)
