-- Whatever a handler does, its client gets an answer that says so, the log says why, and the others do not notice.

local wick = require "spec.support.wick"
local process = require "spec.support.process"

local plugin = [[
local S = require "wick.schema"
local kept
local function handlers()
  return {
    { "GET", "/ok", name = "ok", handler = function() return { ok = true } end },
    { "GET", "/error", name = "error_", handler = function() local t = nil; return t.x end },
    { "GET", "/error-table", name = "error_table", handler = function() error { code = 1 } end },
    { "GET", "/error-problem", name = "error_problem",
      handler = function(req, cx) error(cx.problem(418, "teapot", { detail = "short and stout" })) end },
    { "GET", "/loop", name = "loop", handler = function() while true do end end },
    { "GET", "/loop-pcall", name = "loop_pcall", handler = function() while true do pcall(function() while true do end end) end end },
    { "GET", "/function", name = "function_", handler = function() return function() end end },
    { "GET", "/nothing", name = "nothing", handler = function() end },
    { "GET", "/deep", name = "deep",
      handler = function() local t = {}; local u = t; for i = 1, 100000 do u[1] = {}; u = u[1] end; return t end },
    { "GET", "/circle", name = "circle", handler = function() local t = {}; t.t = t; return t end },
    { "GET", "/recursion", name = "recursion", handler = function() local function f() return 1 + f() end; return f() end },
    { "GET", "/memory", name = "memory", handler = function() local t = {}; for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end end },
    { "GET", "/global", name = "global", handler = function() undeclared = 1 end },
    { "GET", "/global-read", name = "global_read", handler = function() return prnt end },
    { "GET", "/late", name = "late", timeout = "100ms", handler = function(req, cx) cx.sleep(5000) end },
    { "GET", "/bad-header", name = "bad_header",
      handler = function(req, cx) return cx.reply { status = 200, headers = { ["X-A"] = "a\r\nX-B: b" }, body = "x" } end },
    { "GET", "/keep", name = "keep", handler = function(req) kept = req; return 1 end },
    { "GET", "/kept", name = "kept_", handler = function() return kept.path end },
    { "POST", "/forget", name = "forget", handler = function(req, cx)
        local tx = cx.db:begin()
        tx:exec "insert into things(name) values ('forgotten')"
        return { forgot = true }
      end },
    { "POST", "/fail-in-tx", name = "fail_in_tx", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        tx:exec "insert into things(name) values ('failed')"
        error "half way"
      end },
    { "POST", "/thing", name = "thing", handler = function(req, cx) return cx.db:exec "insert into things(name) values ('kept')" end },
    { "GET", "/things", name = "things", handler = function(req, cx) return cx.db:rows "select name from things order by name" end },
    { "POST", "/echo", name = "echo",
      body = S.record({ n = S.int64 { optional = true } }, { rest = true }), handler = function(req) return req.body end },
    { "GET", "/verify", name = "verify", handler = function(req, cx)
        local hash = cx.crypto.password_hash "right"
        local dear = "$argon2id$v=19$m=4294967295,t=4294967295,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        return { cx.crypto.password_verify(hash, "right"), cx.crypto.password_verify(hash, "wrong"), cx.crypto.password_verify(dear, "x") }
      end },
    { "GET", "/big", name = "big",
      handler = function(req, cx) return cx.reply { status = 200, type = "text/plain", body = ("x"):rep(5000000) } end },
    { "GET", "/numbers", name = "numbers", handler = function(req, cx)
        return { big = 9007199254740993, bigger = 123456789012345678, small = 1e-7,
          list = cx.json.array {}, object = {}, null = cx.json.null, deep = { { 1 } } }
      end },
  }
end
return { name = "bad", version = "1.0.0", schema = "schema", routes = handlers() }
]]

describe("a handler", function()
  local server

  setup(function()
    server = wick.start {
      plugins = { bad = { ["init.lua"] = plugin, ["schema/sqlite.sql"] = "create table if not exists things (name text not null);" } },
      config = { lua = { cpu = "200ms", memory = "32MiB" } },
    }
    server:wait_until_ready()
  end)
  teardown(wick.stop_all)

  local function problem(path, status, slug)
    local response = server:get(path)
    assert.equal(status, response.status, path .. ": " .. tostring(response.body))
    assert.equal("application/problem+json", response.headers["content-type"])
    local body = response:json()
    assert.equal(status, body.status)
    assert.equal(response.headers["x-request-id"], body.request_id)
    if slug then assert.equal("urn:wick:problem:" .. slug, body.type) end
    return body, response
  end

  local function log_has(text)
    return process.eventually(function() return server:log():find(text, 1, true) end, 2000)
  end

  after_each(function()
    assert.equal(200, server:get("/ok").status)
    assert.is_true(server:is_running())
  end)

  it("that fails is a 500 that tells nothing, and a log line with the traceback, request and route", function()
    local body = problem("/error", 500, "internal")
    assert.is_nil(body.detail and body.detail:find "attempt to index")
    assert.is_truthy(log_has "attempt to index")
    assert.is_truthy(log_has(body.request_id))
    assert.is_truthy(log_has "stack traceback")
    assert.is_truthy(log_has "error_")
    problem("/error-table", 500, "internal")
  end)

  it("may throw a problem", function()
    local body = problem("/error-problem", 418, "teapot")
    assert.equal("short and stout", body.detail)
  end)

  it("that loops for ever is stopped, also inside pcall", function()
    problem("/loop", 500)
    assert.is_truthy(log_has "CPU")
    problem("/loop-pcall", 500)
  end)

  it("that returns a function is a 500, and the log says why", function()
    problem("/function", 500, "internal")
    assert.is_truthy(log_has "a function has no JSON form")
  end)

  it("that returns nothing answers 204", function()
    local response = server:get "/nothing"
    assert.equal(204, response.status)
    assert.equal("", response.body)
  end)

  it("that returns too deep or circular tables, recurses without end or eats all memory is a 500", function()
    for _, path in ipairs { "/deep", "/circle", "/recursion", "/memory" } do problem(path, 500) end
  end)

  it("has no globals of its own", function()
    problem("/global", 500)
    assert.is_truthy(log_has "a plugin has no globals of its own")
    problem("/global-read", 500)
    assert.is_truthy(log_has "undeclared global")
    assert.is_truthy(log_has "init.lua:")
  end)

  it("that is late is a 504 at its deadline", function()
    local before = os.time()
    problem("/late", 504)
    assert.is_true(os.time() - before <= 2)
  end)

  it("cannot put a line end into a header", function()
    local _, response = problem("/bad-header", 500)
    assert.is_nil(response.headers["x-b"])
  end)

  it("that keeps its request finds it over", function()
    server:get "/keep"
    problem("/kept", 500)
    assert.is_truthy(log_has "over")
  end)

  it("that forgets to commit is rolled back and answered 500, not 200, and the log says where it began", function()
    assert.equal(500, server:request("POST", "/forget").status)
    assert.is_truthy(log_has "a transaction was still open")
    assert.is_truthy(log_has "init.lua:")
    assert.equal(500, server:request("POST", "/fail-in-tx").status)
    assert.equal(200, server:request("POST", "/thing").status)
    for _, thing in ipairs(server:get("/things"):json()) do assert.equal("kept", thing.name) end
  end)

  it("gets numbers, lists, objects and null through unharmed", function()
    local body = server:get("/numbers").body
    for _, text in ipairs { '"big":9007199254740993', '"bigger":123456789012345678', '"small":1e-07',
      '"list":[]', '"object":{}', '"null":null', '"deep":[[1]]' } do
      assert.is_truthy(body:find(text, 1, true), text .. " in " .. body)
    end
    local sent = '{"a":[],"b":{},"c":null,"d":9007199254740993,"e":"\\u00e4","f":1.5}'
    local echoed = server:request("POST", "/echo", { body = sent, headers = { ["content-type"] = "application/json" } }).body
    for _, text in ipairs { '"a":[]', '"b":{}', '"c":null', '"d":9007199254740993', '"e":"ä"', '"f":1.5' } do
      assert.is_truthy(echoed:find(text, 1, true), text .. " in " .. echoed)
    end
  end)

  it("is not run for a body that is no JSON, too deep, of another type, or too big", function()
    local function post(body, headers)
      local fields = { ["content-type"] = "application/json" }
      for name, value in pairs(headers or {}) do fields[name] = value end
      return server:request("POST", "/echo", { body = body, headers = fields }).status
    end
    assert.equal(400, post "{")
    assert.equal(400, post "")
    assert.equal(400, post '{"a":1,}')
    assert.equal(400, post '{"n":99999999999999999999}')
    assert.equal(400, post(("["):rep(100000)))
    assert.equal(400, post '{"a":"\255"}')
    assert.equal(422, post '{"n":"x"}')
    assert.equal(422, post "[]")
    assert.equal(415, post("{}", { ["content-type"] = "text/plain" }))
    assert.equal(413, post('{"a":"' .. ("x"):rep(2000000) .. '"}'))
    assert.equal(200, post("{}", { ["content-type"] = "application/json; charset=utf-8" }))
  end)

  it("checks passwords, but not against a hash that would cost hours", function()
    assert.equal("[true,false,false]", server:get("/verify").body)
  end)

  it("may answer with megabytes", function()
    assert.equal(5000000, #server:get("/big").body)
  end)
end)

describe("log.requests", function()
  after_each(wick.stop_all)

  it("writes a line for each answer, without the query", function()
    local server = wick.start {
      config = { log = { requests = true, format = "json" } },
      plugins = { one = [[return { name = "one", version = "1.0.0", routes = {
        { "GET", "/one", name = "one", handler = function() return 1 end } } }]] },
    }
    server:get "/one"
    server:get "/none?secret=1"
    local found = process.eventually(function()
      local log = server:log()
      return log:find('"route":"one"', 1, true) and log:find('"status":404', 1, true)
    end, 2000)
    assert.is_truthy(found)
    assert.is_nil(server:log():find("secret", 1, true))
  end)
end)
