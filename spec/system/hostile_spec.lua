-- A plugin written by somebody who means harm, or who is careless, does not take the server with it.

local wick = require "spec.support.wick"
local process = require "spec.support.process"

local plugin = [[
local cjson = require "cjson"
local kept
local routes = {}
local function route(name, handler)
  routes[#routes + 1] = { "GET", "/" .. name, name = "r_" .. name:gsub("-", "_"), handler = handler }
end

route("ok", function() return { ok = true } end)

-- what would run for ever
route("pattern", function() return ("a"):rep(40):find(("a?"):rep(40) .. ("a"):rep(40)) end)
route("trim", function() return ((" "):rep(1000000) .. "x"):gsub("%s+$", "") end)
route("insert", function() table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1) end)
route("move", function() table.move({}, 1, 1 << 60, 2) end)
route("finalizer", function()
  for _ = 1, 1000 do setmetatable({}, { __gc = function() while true do end end }) end
  local t = {}
  for i = 1, 1000000 do t[i % 10] = {} end
end)
route("message-handler", function() return xpcall(error, function() while true do end end, "x") end)
route("pcall-pcall", function() local function f() pcall(f) pcall(f) end f() end)
route("xpcall-xpcall", function() local function f() xpcall(f, f) xpcall(f, f) end f() end)
route("repeat-nothing", function() return { #(""):rep(1 << 60) } end)
route("xpcall", function()
  local fine, a, b = xpcall(function(...) return ... end, error, 1, 2)
  local failed, why = xpcall(error, function(text) return "handled " .. text end, "x")
  local bad = xpcall(error, error, "y")
  return { fine, a, b, failed, why, bad }
end)

-- what would crash
route("json-depth", function() cjson.decode_max_depth(1000000000) return cjson.decode(("["):rep(3000000)) end)
route("json-dag", function() local t = {} for _ = 1, 60 do t = { t, t } end return cjson.encode(t) end)
route("json-often", function()
  local text, t = ("x"):rep(4000000), {}
  for i = 1, 600 do t[i] = text end
  return cjson.encode(t)
end)
route("json-holds-itself", function() local t = {} t[1] = t return cjson.encode(t) end)
route("json-sparse", function() cjson.encode_sparse_array(false, 0, 0) return cjson.encode { [1 << 40] = 1 } end)
route("json-long", function() return cjson.decode("[" .. ("0,"):rep(2200000) .. "0]") end)
route("json-memory", function() return cjson.decode("[" .. ("[],"):rep(1200000) .. "0]") end)
route("json-settings", function() return { keep = cjson.encode_keep_buffer == nil, new = cjson.new == nil } end)
route("json", function() return { cjson.decode("[1]")[1], cjson.encode { a = 1 } } end)

-- tables that change while they are written
route("problem-index", function(req, cx)
  local t = { a = ("x"):rep(3000), detail = "as it was", title = "A title" }
  return cx.problem(400, "odd", setmetatable(t, { __index = function(_, key)
    if key == "retry_after" then
      rawset(t, "detail", nil)
      cx.json.encode(("y"):rep(2000000))
    end
  end }))
end)
route("problem-later", function(req, cx)
  local t = {}
  local problem = cx.problem(400, "odd", t)
  t.status, t.type, t.request_id, t.more = 200, "forged", "forged", 1
  return problem
end)
route("json-weak", function()
  local t = setmetatable({}, { __mode = "kv" })
  for i = 1, 2000 do t[("key"):rep(100) .. i] = { i } end
  return t
end)
route("json-one-name", function() return { [5] = 1, ["5"] = 2 } end)
route("overflow", function() local function f(n) return 1 + f(n + 1) end return f(1) end)

-- what no client would take
route("long-type", function(req, cx) return cx.reply { type = ("a"):rep(1000000), body = "x" } end)

-- coroutines that outlive their request
route("keep-first", function() kept = coroutine.running() return 1 end)
route("resume-first", function(req, cx) cx.sleep(200) return { coroutine.resume(kept) } end)
route("resume-self", function() local fine, why = coroutine.resume(coroutine.running()) return { fine, why } end)
route("suspend-loader", function(req, cx)
  kept = coroutine.create(function() return cx.cache:get("suspended", {}, function() coroutine.yield() return 1 end) end)
  return { coroutine.resume(kept) }
end)
route("resume-kept", function() local fine, why = coroutine.resume(kept) return { fine, tostring(why) } end)
route("nested", function(req, cx)
  return cx.cache:get("outer" .. math.random(), {}, function()
    return cx.cache:get("inner" .. math.random(), {}, function() cx.sleep(1) return "inner" end):value() .. " outer"
  end)
end)
route("rollback-on-close", function(req, cx)
  local tx = cx.db:begin()
  local co = coroutine.wrap(function()
    local _ <close> = setmetatable({}, { __close = function() tx:rollback() end })
    error("half way", 0)
  end)
  local _, why = pcall(co)
  return { why, tostring(select(2, pcall(tx.one, tx, "select 1"))) }
end)

-- tags that are gone when the loader is done
route("tags", function(req, cx)
  local tags = {}
  for i = 1, 4 do tags[i] = ("tag"):rep(100) .. i .. math.random() end
  local options = { tags = tags }
  return cx.cache:get("tags" .. math.random(), options, function()
    for i = 1, 4 do tags[i] = nil end
    options.tags, tags = nil, nil
    local t = {}
    for i = 1, 200000 do t[i % 100] = {} end
    for i = 1, 100 do t[i] = ("z"):rep(301 + i) end
    cx.sleep(1)
    return { fine = true }
  end)
end)

return { name = "hostile", version = "1.0.0", routes = routes }
]]

describe("wick without standard files", function()
  local dir

  before_each(function() dir = process.temp_dir() end)
  after_each(function()
    wick.stop_all()
    process.run { "rm", "-rf", dir }
  end)

  it("writes its log nowhere else", function()
    local free_port = require("spec.support.http").free_port
    local listen, admin = free_port(), free_port()
    process.write_file(dir .. "/config.lua", ([[return { listen = "127.0.0.1:%d", admin = "127.0.0.1:%d", workers = 1,
      database = { sqlite = { path = "a.db" } }, plugins = {} }]]):format(listen, admin))
    local child = process.start { "sh", "-c", ("exec %s serve --config %s/config.lua <&- >&- 2>&-"):format(wick.binary(), dir) }
    local http = require "spec.support.http"
    assert.truthy(process.eventually(function() return http.request(admin, "GET", "/healthz") end, 10000))
    for fd = 0, 2 do
      assert.equal("/dev/null", (require("luv").fs_readlink(("/proc/%d/fd/%d"):format(child.pid, fd))))
    end
    child:signal "sigterm"
    assert.equal(0, (child:wait(10000)))
  end)

  it("says that its output could not be written", function()
    process.write_file(dir .. "/config.lua", "return { plugins = {} }")
    for _, redirect in ipairs { ">/dev/full", ">&-" } do
      for _, words in ipairs { "routes", "config print", "version", "config manual" } do
        local result = process.run { "sh", "-c", ("%s %s --config %s/config.lua %s"):format(wick.binary(), words, dir, redirect) }
        assert.equal(1, result.code, words .. redirect)
        assert.matches("^wick: the output cannot be written: ", result.err)
      end
    end
  end)
end)

describe("a configuration that loops for ever", function()
  it("is a mistake with its line", function()
    local result = wick.command({ "check" }, { config = "return {\n  workers = (function() while true do end end)(),\n}" })
    assert.equal(78, result.code)
    assert.matches("config.lua:2: used 5 s of CPU time while it was loaded: does it loop for ever?", result.err, 1, true)
  end)

  it("is one where it calls itself for ever, too, and at once", function()
    local begin_ms = process.now_ms()
    local result = wick.command({ "check" }, { config = "local function f() return f() + 1 end\nreturn { workers = f() }" })
    assert.equal(78, result.code)
    assert.matches("config.lua:1: stack overflow", result.err, 1, true)
    assert.is_true(process.now_ms() - begin_ms < process.slow(2000))
  end)

  it("is one of a plugin, too", function()
    local dir = process.temp_dir()
    process.write_file(dir .. "/init.lua", "local x = 1\nwhile x do end")
    local result = wick.command({ "check" }, { config = ("return { plugins = { %q } }"):format(dir) })
    process.run { "rm", "-rf", dir }
    assert.equal(78, result.code)
    assert.matches(dir .. "/init.lua:2: used 5 s of CPU time", result.err, 1, true)
  end)
end)

describe("a hostile plugin", function()
  local server

  setup(function()
    server = wick.start { plugins = { hostile = plugin }, config = { lua = { cpu = "200ms", memory = "64MiB" } } }
    server:wait_until_ready()
  end)
  teardown(wick.stop_all)

  local function fails(path, words)
    local response = assert(server:get(path), path .. ": no answer")
    assert.equal(500, response.status, path)
    local id = response.headers["x-request-id"]
    assert.is_true(process.eventually(function()
      for line in server:log():gmatch "[^\n]+" do
        if line:find(id, 1, true) and line:find(words, 1, true) then return true end
      end
    end, 2000), words)
  end

  local function gives(path, body)
    local response = assert(server:get(path), path .. ": no answer")
    assert.equal(body, response.body, path)
  end

  after_each(function()
    assert.is_true(server:is_running())
    gives("/ok", '{"ok":true}')
  end)

  it("gets its CPU budget and no more, inside of C functions, too", function()
    for _, path in ipairs { "/pattern", "/trim", "/message-handler", "/pcall-pcall", "/xpcall-xpcall" } do
      fails(path, "used its CPU budget of 200 ms")
    end
    fails("/insert", "a table without __len expected")
    fails("/move", "too many elements to move")
    fails("/finalizer", "a plugin's tables have no __gc; clean up with local x <close>")
    gives("/repeat-nothing", "[0]")
    gives("/xpcall", '[true,1,2,false,"handled x",false]')
  end)

  it("cannot overflow the stack with the depth of JSON", function()
    fails("/json-depth", "cjson.decode_max_depth: at most 1000")
    gives("/json", [=[[1,"{\"a\":1}"]]=])
  end)

  it("cannot hang or end the process by JSON, nor take more than its memory", function()
    for _, path in ipairs { "/json-dag", "/json-often" } do fails(path, "cjson: a value of more than 4 MiB") end
    fails("/json-holds-itself", "cjson: deeper than 1000 levels")
    fails("/json-sparse", "cjson.encode_sparse_array: a ratio from 1 to 10")
    fails("/json-long", "a text of more than 4 MiB; cx.json takes larger ones")
    fails("/json-memory", "not enough memory")
    gives("/json-settings", '{"keep":true,"new":true}')
  end)

  it("cannot change what is being written, nor write a name twice", function()
    local problem = server:get("/problem-index"):json()
    assert.same({ ("x"):rep(3000), "as it was", "A title", 400 }, { problem.a, problem.detail, problem.title, problem.status })
    local body = server:get("/problem-later").body
    assert.is_nil(body:find("forged", 1, true))
    assert.matches('"more":1', body, 1, true)
    for _ = 1, 5 do assert.equal(200, server:get("/json-weak").status) end
    fails("/json-one-name", "are one name in JSON")
  end)

  it("gets a short traceback of a stack that has overflowed, and soon", function()
    local begin_ms = process.now_ms()
    fails("/overflow", "stack overflow")
    assert.is_true(process.now_ms() - begin_ms < process.slow(2000))
    assert.matches("(and more than 180 levels)", server:log(), 1, true)
  end)

  it("cannot send a content type of a megabyte", function()
    fails("/long-type", "the content type is longer than 255 bytes")
  end)

  it("cannot resume the coroutine of a request that is over", function()
    local late = server:connect()
    late:send "GET /resume-first HTTP/1.1\r\nHost: a\r\n\r\n"
    process.sleep_ms(50)
    gives("/keep-first", "1")
    assert.equal(500, late:response().status)
    assert.matches("this coroutine is the first of another request", server:log(), 1, true)
    for _ = 1, 3 do gives("/nested", '"inner outer"') end
    gives("/resume-self", '[false,"cannot resume non-suspended coroutine"]')
  end)

  it("cannot finish loading for a request that is over", function()
    gives("/suspend-loader", "[true]")
    local body = server:get("/resume-kept").body
    assert.matches("^%[false,.*the request that asked the cache for this value is over", body)
    for _ = 1, 3 do gives("/nested", '"inner outer"') end
  end)

  it("may close its transaction in a coroutine that fails", function()
    gives("/rollback-on-close", '["half way","this transaction is over"]')
  end)

  it("may change the list of tags while a loader runs", function()
    for _ = 1, 3 do gives("/tags", '{"fine":true}') end
  end)
end)
