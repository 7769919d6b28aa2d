-- Plugins are found, loaded in their sandboxes, checked as a whole, and put in order; every mistake is told at once, with its line.

local native = require "spec.lua.support.native"
local process = require "spec.support.process"
local config = require "wick.config"
local plugin = require "wick.plugin"
local route = require "wick.route"
local S = require "wick.schema"

describe("plugins", function()
  local dir

  before_each(function()
    dir = process.temp_dir() .. "/"
    native.routes = {}
  end)

  after_each(function()
    process.run { "rm", "-rf", dir }
  end)

  local function write(files)
    for path, text in pairs(files) do
      local folder = (dir .. path):match "^(.*)/"
      process.run { "mkdir", "-p", folder }
      process.write_file(dir .. path, text)
    end
  end

  -- Loads what config_text asks for: the list, or nil and the mistakes without the folder's name.
  local function load_all(config_text)
    process.write_file(dir .. "config.lua", config_text)
    local settings, texts, origin = config.load(dir .. "config.lua", native)
    assert(settings, texts and texts[1])
    local list
    list, texts = plugin.load_all(settings, function(name, errors)
      for _, err in ipairs(errors) do
        err.path = { "plugins", name, table.unpack(err.path) }
      end
      return config.error_texts(settings.config_path, origin.source, errors)
    end, origin.secrets)
    for i, text in ipairs(texts or {}) do
      texts[i] = text:gsub(dir:gsub("%p", "%%%0"), "")
    end
    return list, texts, settings
  end

  local function loaded(config_text)
    local list, texts, settings = load_all(config_text)
    assert(list, texts and table.concat(texts, "\n"))
    return list, settings
  end

  local function mistakes(files, config_text)
    write(files)
    local list, texts = load_all(config_text or 'return { plugins = { "a" } }')
    assert.is_nil(list)
    return texts
  end

  local function names(list)
    local out = {}
    for i, one in ipairs(list) do
      out[i] = one.plugin.name
    end
    return table.concat(out, " ")
  end

  it("may listen to channels, with a function or with a handler of gaps beside it", function()
    write { ["plugins/a/init.lua"] = [[return { name = "a", listen = {
      plain = function() end, ["With Gap"] = { note = tostring, gap = tostring },
    } }]] }
    local list = loaded 'return { plugins = { "a" } }'
    assert.equal("function", type(list[1].plugin.listen.plain))
    assert.equal("function", type(list[1].plugin.listen["With Gap"].gap))
  end)

  it("are told what is wrong with listen", function()
    local function wrong(listen)
      return mistakes({ ["plugins/a/init.lua"] = ('return {\n  name = "a",\n  listen = %s,\n}'):format(listen) })[1]
    end
    assert.equal("plugins/a/init.lua:3: listen.c: expected function(payload, cx), or { note = function(payload, cx), gap = function(cx) }",
      wrong '{ c = "x" }')
    assert.equal("plugins/a/init.lua:3: listen.c: note is missing: expected { note = function(payload, cx), gap = function(cx) }",
      wrong '{ c = { gap = tostring } }')
    assert.equal("plugins/a/init.lua:3: listen.c: note: expected a function", wrong '{ c = { note = 1 } }')
    assert.is_truthy(wrong '{ c = { note = tostring, gaps = tostring } }':find('gaps: is not known here (did you mean "gap"?)', 1, true))
    assert.is_truthy(wrong('{ [("x"):rep(64)] = tostring }'):find("cannot be a channel: its name has 1 to 63 bytes", 1, true))
    assert.is_truthy(wrong '{ tostring }':find("listen: expected a table, got a list", 1, true))
  end)

  describe("are found", function()
    it("beside the configuration, by path, or among those that come with wick", function()
      write {
        ["plugins/a/init.lua"] = 'return { name = "a" }', ["elsewhere/b/init.lua"] = 'return { name = "b" }',
        ["elsewhere/c/init.lua"] = 'return { name = "c" }',
      }
      local list = loaded(('return { plugins = { "a", "./elsewhere/b", "%selsewhere/c/", "accounts" } }'):format(dir))
      assert.equal("a b c accounts", names(list))
      assert.equal(dir .. "plugins/a", list[1].folder)
    end)

    it("or not, and then it says where it looked", function()
      local texts = mistakes({}, 'return { plugins = { "nowhere", "./x/y" } }')
      assert.matches('^config.lua:1: plugins%[1%]: no plugin "nowhere": there is no init.lua in plugins/nowhere or .*/plugins/nowhere$',
        texts[1])
      assert.equal('config.lua:1: plugins[2]: no plugin "./x/y": there is no init.lua in ./x/y', texts[2])
      assert.matches('%(did you mean "registry"%?%)$', mistakes({}, 'return { plugins = { "accounts", "regsitry" } }')[1])
    end)

    it("once", function()
      assert.same({ "config.lua:1: plugins[2]: plugin a is listed twice" },
        mistakes({ ["plugins/a/init.lua"] = 'return { name = "a" }' }, 'return { plugins = { "a", "./plugins/a" } }'))
    end)
  end)

  describe("are loaded", function()
    it("with modules of their own, each once", function()
      write {
        ["plugins/a/init.lua"] = [[
          local one, two = require "a.deep.rules", require "a.deep.rules"
          one.count = one.count + 1
          return { name = "a", version = ("%d.%d.0"):format(one.count, two.count) }]],
        ["plugins/a/deep/rules.lua"] = "return { count = 0 }",
      }
      assert.equal("1.1.0", loaded('return { plugins = { "a" } }')[1].plugin.version)
    end)

    it("or the error is told with its line, and the others are checked all the same", function()
      local texts = mistakes({
        ["plugins/a/init.lua"] = "return {\n  name = ,\n}", ["plugins/b/init.lua"] = "local x = nil\nreturn x.y",
        ["plugins/c/init.lua"] = "return 7", ["plugins/d/init.lua"] = 'return { name = "d", require "d.e" }',
        ["plugins/d/e.lua"] = "\n\nreturn undeclared", ["plugins/f/init.lua"] = 'return { name = "f", versoin = "1.0.0" }',
        ["plugins/g/init.lua"] = string.dump(function() end), ["plugins/h/init.lua"] = 'error({ code = 1 })',
      }, 'return { plugins = { "a", "b", "c", "d", "f", "g", "h" } }')
      assert.equal("plugins/a/init.lua:2: unexpected symbol near ','", texts[1])
      assert.equal("plugins/b/init.lua:2: attempt to index a nil value (local 'x')", texts[2])
      assert.equal('plugins/c/init.lua: must return a table: return { name = "c", routes = { ... } }', texts[3])
      assert.equal('plugins/d/e.lua:3: undeclared global "undeclared": write local undeclared', texts[4])
      assert.matches("binary chunk", texts[5])
      assert.matches("^table: ", texts[6])
      assert.equal('plugins/f/init.lua:1: versoin: is not known here (did you mean "version"?)', texts[7])
      assert.equal(7, #texts)
    end)

    it("with modules of plugins they require, in whatever order they are listed", function()
      write {
        ["plugins/a/init.lua"] = 'local b = require "b.words" return { name = "a", requires = { b = ">=1.2" }, version = b.version }',
        ["plugins/b/init.lua"] = 'require "b.words".version = "3.0.0" return { name = "b", version = "1.2.3" }',
        ["plugins/b/words.lua"] = 'return { version = "2.0.0" }',
      }
      for _, order in ipairs { '"a", "b"', '"b", "a"' } do
        local list = loaded(('return { plugins = { %s } }'):format(order))
        assert.equal("b a", names(list))
        assert.equal("3.0.0", list[2].plugin.version)
      end
    end)

    it("but not with modules of plugins they do not require", function()
      assert.same({ 'plugins/a/init.lua: requires: uses files of plugin b: write requires = { b = ">=1.0" }' }, mistakes({
        ["plugins/a/init.lua"] = 'require "b.words" return { name = "a" }', ["plugins/b/init.lua"] = 'return { name = "b" }',
        ["plugins/b/words.lua"] = "return {}",
      }, 'return { plugins = { "a", "b" } }'))
      assert.matches("plugins/a/init.lua:1: plugin b is not in plugins$",
        mistakes({ ["plugins/a/init.lua"] = 'require "b.words" return { name = "a" }' })[1])
    end)

    it("and never in a circle of files", function()
      assert.matches("modules must not require each other in a circle", mistakes({
        ["plugins/a/init.lua"] = 'require "a.x" return { name = "a" }', ["plugins/a/x.lua"] = 'require "a.y"',
        ["plugins/a/y.lua"] = 'require "a.x"',
      })[1])
      assert.matches("must not require each other's files in a circle", mistakes({
        ["plugins/a/init.lua"] = 'require "b.x" return { name = "a", requires = { b = ">=1.0" } }', ["plugins/a/x.lua"] = "return 1",
        ["plugins/b/init.lua"] = 'require "a.x" return { name = "b", requires = { a = ">=1.0" } }', ["plugins/b/x.lua"] = "return 1",
      }, 'return { plugins = { "a", "b" } }')[1])
    end)
  end)

  describe("are checked", function()
    it("in every field, at once", function()
      assert.same({
        'plugins/a/init.lua:5: after: expected a list, got "x"',
        "plugins/a/init.lua:3: api: expected a whole number from 1 to 1, got 2",
        "plugins/a/init.lua:11: health: is not there yet: this version of wick does nothing with it",
        'plugins/a/init.lua:7: middleware[1].headers.A: must match the pattern ^[ -~]+$, got "b\\nc: d"',
        "plugins/a/init.lua:7: middleware[1].wrap: is required: expected anything",
        'plugins/a/init.lua:2: name: must match the pattern ^[a-z][a-z0-9_]*$, got "A b"',
        "plugins/a/init.lua:6: options: expected a schema such as S.record { ... }",
        'plugins/a/init.lua:9: requires.b: must match the pattern ^>=%d+%.%d+%.?%d*$, got "1"',
        "plugins/a/init.lua:8: route_fields.x: expected a schema such as S.record { ... }",
        "plugins/a/init.lua:4: start: expected a function",
        "plugins/a/init.lua:4: stop: expected a function",
        'plugins/a/init.lua:10: versoin: is not known here (did you mean "version"?)',
      }, mistakes { ["plugins/a/init.lua"] = [[
return {
  name = "A b",
  api = 2,
  start = 1, stop = "x",
  after = "x",
  options = { a = 1 },
  middleware = { { name = "m", headers = { A = "b\nc: d" } } },
  route_fields = { x = 1 },
  requires = { b = "1" },
  versoin = "1.0.0",
  health = function() end,
}]] })
    end)

    it("in every route", function()
      assert.same({
        "plugins/a/init.lua:3: routes[1][1] (route one): expected a method first (GET, POST, PUT, PATCH, DELETE), got get",
        'plugins/a/init.lua:3: routes[1][2] (route one): "no slash" is no pattern',
        "plugins/a/init.lua:4: routes[2].handler (route POST /b): is required: expected anything",
        "plugins/a/init.lua:4: routes[2].name (route POST /b): is required: expected text of at most 60 characters",
        'plugins/a/init.lua:4: routes[2].hanlder (route POST /b): is not known here (did you mean "handler"?)',
        'plugins/a/init.lua:5: routes[3]: expected a table: { "GET", "/path", name = "...", handler = function(req, cx) ... end }',
      }, mistakes { ["plugins/a/init.lua"] = [[
local function f() end
return { name = "a", routes = {
  { "get", "no slash", name = "one", handler = f },
  { "POST", "/b", hanlder = f },
  "GET /c",
} }]] })
    end)

    it("in what goes together in a route", function()
      local texts = mistakes { ["plugins/a/init.lua"] = [[
local S = require "wick.schema"
local function f() end
return { name = "a", routes = {
  { "POST", "/a", name = "a", handler = f, cache = { ttl = "1s" } },
  { "GET", "/b", name = "b", handler = f, body = S.record {} },
  { "GET", "/c", name = "c", handler = 1, timeout = "2h", cache = { ttl = 5, tagz = {} } },
} }]] }
      assert.same({
        "plugins/a/init.lua:4: routes[1].cache (route a): only GET routes can be cached",
        "plugins/a/init.lua:5: routes[2].body (route b): a GET request has no body",
        'plugins/a/init.lua:6: routes[3].cache.ttl (route c): expected a duration such as "30s" of at least 1ms, '
          .. "or a table with option, got 5",
        'plugins/a/init.lua:6: routes[3].cache.tagz (route c): is not known here (did you mean "tags"?)',
        "plugins/a/init.lua:6: routes[3].handler (route c): expected a function",
        'plugins/a/init.lua:6: routes[3].timeout (route c): expected a duration such as "30s" from 1ms to 1h, got "2h"',
      }, texts)
    end)

    it("against each other: what they require must be there and new enough", function()
      local texts = mistakes({
        ["plugins/a/init.lua"] = 'return { name = "a", requires = { acounts = ">=1.0", c = ">=1.10.2" } }',
        ["plugins/accounts/init.lua"] = 'return { name = "accounts" }',
        ["plugins/c/init.lua"] = 'return { name = "c", version = "1.9.9" }',
      }, 'return { plugins = { "a", "accounts", "c" } }')
      table.sort(texts)
      assert.same({
        'plugins/a/init.lua: requires c >=1.10.2, but it is 1.9.9',
        'plugins/a/init.lua: requires the plugin "acounts", which is not in plugins (did you mean "accounts"?)',
      }, texts)
    end)

    it("for circles among them", function()
      assert.same({ "plugins: these come after each other in a circle: a -> b -> a" }, mistakes({
        ["plugins/a/init.lua"] = 'return { name = "a", after = { "b" } }',
        ["plugins/b/init.lua"] = 'return { name = "b", after = { "a" } }',
      }, 'return { plugins = { "a", "b" } }'))
    end)
  end)

  describe("have options", function()
    local files = { ["plugins/a/init.lua"] = [[
local S = require "wick.schema"
return { name = "a",
  options = S.record {
    ttl = S.duration { default = "5s", max = "1m" }, count = S.int64 { default = 3 }, key = S.secret { optional = true },
  },
  routes = {
    { "GET", "/a", name = "a", handler = function() end, cache = { ttl = { option = "ttl" }, stale = "1m", tags = { "x" } } },
  },
}]], ["plugins/b/init.lua"] = 'return { name = "b" }' }

    it("with defaults, and routes take durations from them", function()
      write(files)
      local list = loaded 'return { plugins = { "a" } }'
      assert.same({ ttl = 5000, count = 3 }, list[1].options)
      assert.same({ ttl = 5000, stale = 60000, tags = { "x" } }, list[1].routes[1].cache)
      list = loaded 'return { plugins = { "a", a = { ttl = "10s" } } }'
      assert.equal(10000, list[1].routes[1].cache.ttl)
    end)

    it("whose mistakes are told with the line of config.lua", function()
      assert.same({
        'config.lua:4: plugins.a.ttl: expected a duration such as "30s" of at most 1m, got "2m"',
        'config.lua:5: plugins.a.cuont: is not known here (did you mean "count"?)',
        "config.lua:7: plugins.b: this plugin has no options",
        'config.lua:8: plugins.c: options for a plugin that is not listed',
      }, mistakes(files, [[return {
  plugins = { "a", "b",
    a = {
      ttl = "2m",
      cuont = 1,
    },
    b = { x = 1 },
    c = {},
  },
}]]))
    end)

    it("whose secrets are in no mistake", function()
      native.environment.KEY = "hunter2hunter2"
      local texts = mistakes(files, 'return { plugins = { "a", a = { key = { "hunter2" }, count = env "KEY" } } }')
      assert.equal(2, #texts)
      for _, text in ipairs(texts) do
        assert.is_nil(text:find("hunter2", 1, true), text)
      end
    end)

    it("that a route may name only when they are durations", function()
      assert.same({
        'plugins/a/init.lua:4: routes[1].cache.ttl (route a): there is no option "tll" that is a duration (did you mean "ttl"?)',
        'plugins/a/init.lua:4: routes[1].cache.stale (route a): there is no option "count" that is a duration',
      }, mistakes { ["plugins/a/init.lua"] = [[
local S = require "wick.schema"
return { name = "a", options = S.record { ttl = S.duration { default = "1s" }, count = S.int64 { default = 1 } },
  routes = {
    { "GET", "/a", name = "a", handler = function() end, cache = { ttl = { option = "tll" }, stale = { option = "count" } } },
  },
}]] })
    end)
  end)

  describe("give routes", function()
    local function add(config_text)
      local list, settings = loaded(config_text or 'return { plugins = { "a" } }')
      for _, one in ipairs(list) do
        one.cx = native.cx(one.plugin.name, one.options)
      end
      return route.add_all(list, settings)
    end

    -- A cx whose replies are plain tables.
    local cx = { problem = function(status, slug, members) return { status = status, slug = slug, errors = members.errors } end }

    it("with limits of their own or of the settings", function()
      write { ["plugins/a/init.lua"] = [[
local function f() end
return { name = "a", routes = {
  { "GET", "/a", name = "a", handler = f },
  { "POST", "/b", name = "b", handler = f, timeout = "1s", max_body = "2KiB", reads = true },
} }]] }
      assert.equal(2, add 'return { plugins = { "a" }, http = { request_timeout = "7s", body_max = "3KiB" } }')
      local a, b = native.routes[1], native.routes[2]
      assert.same({ "GET", "/a", "a", "a", 7000, 3072, true }, { a.method, a.pattern, a.name, a.plugin, a.timeout_ms, a.body_max, a.reads })
      assert.same({ 1000, 2048, true }, { b.timeout_ms, b.body_max, b.reads })
      assert.is_nil(a.cache)
    end)

    it("whose query and body are checked before the handler runs", function()
      write { ["plugins/a/init.lua"] = [[
local S = require "wick.schema"
return { name = "a", routes = {
  { "POST", "/a", name = "a", query = S.record { n = S.int64 { default = 5 }, w = S.duration { default = "1m" } },
    body = S.list(S.record { name = S.string {} }), handler = function(req) return { req.query, req.body } end },
  { "GET", "/b", name = "b", handler = function(req) return "seen" end },
} }]] }
      add()
      local call, plain = native.routes[1].handler, native.routes[2].handler
      assert.same({ { n = 7, w = 60000 }, { { name = "x" } } }, call({ query = { n = "7" }, body = { { name = "x" } } }, cx))
      assert.same({ status = 400, slug = "invalid-query", errors = {
        { parameter = "n", detail = 'expected a whole number, got "x"' }, { parameter = "m", detail = "is not known here" },
      } }, call({ query = { n = "x", m = "1" }, body = {} }, cx))
      assert.same({ status = 422, slug = "invalid-body", errors = {
        { pointer = "/1/name", detail = "is required: expected text" },
        { pointer = "/1/nmae", detail = 'is not known here (did you mean "name"?)' },
      } }, call({ query = {}, body = { { name = "a" }, { nmae = "b" } } }, cx))
      assert.equal("seen", plain({ has_query = false }, cx))
      assert.equal(400, plain({ has_query = true, query = { x = "1" } }, cx).status)
    end)

    it("wrapped by the middleware that applies, in order, outermost first, before anything is checked", function()
      write { ["plugins/a/init.lua"] = [[
local S = require "wick.schema"
local function trace(name)
  return function(next_handler, route, own)
    return function(req, cx)
      req.trace = (req.trace or "") .. name .. own.plugin .. " "
      return next_handler(req, cx)
    end
  end
end
return { name = "a", middleware = {
  { name = "inner", wrap = trace "inner:", after = { "outer" } },
  { name = "never", wrap = trace "never:", applies = function(route) return route.level == "high" end },
  { name = "outer", wrap = trace "outer:", applies = function(route) return route.level end },
}, route_fields = { level = S.enum { "low", "high", optional = true } } }]], ["plugins/b/init.lua"] = [[
local S = require "wick.schema"
local function f(req) return req.trace end
return { name = "b", routes = {
  { "POST", "/a", name = "a", handler = f, level = "low", body = S.record {} },
  { "GET", "/b", name = "b", handler = f },
} }]] }
      add 'return { plugins = { "b", "a" } }'
      assert.equal("outer:a inner:a ", native.routes[1].handler({ body = {} }, cx))
      assert.equal("inner:a ", native.routes[2].handler({}, cx))
      local req = { body = { x = 1 } }
      assert.equal(422, native.routes[1].handler(req, cx).status)
      assert.equal("outer:a inner:a ", req.trace)
    end)

    it("with the headers of the middleware that applies, the outermost first to say", function()
      write { ["plugins/a/init.lua"] = [[
local function wrap(next_handler) return next_handler end
return { name = "a", middleware = {
  { name = "inner", wrap = wrap, after = { "outer" }, headers = { vary = "B", ["X-Inner"] = "1" } },
  { name = "outer", wrap = wrap, headers = { Vary = "A" } },
  { name = "never", wrap = wrap, headers = { ["X-Never"] = "1" }, applies = function() return false end },
}, routes = { { "GET", "/a", name = "a", handler = wrap } } }]] }
      add 'return { plugins = { "a" } }'
      assert.equal("Vary: A\r\nX-Inner: 1\r\n", native.routes[1].headers)
    end)

    it("whose answers are kept only where no middleware decides who may see them", function()
      write { ["plugins/a/init.lua"] = [[
local function guard(next_handler)
  return function(req, cx)
    return req.headers["x-key"] and next_handler(req, cx) or cx.problem(401, "key-required")
  end
end
return { name = "a", middleware = {
  { name = "keys", wrap = guard }, { name = "seals", wrap = guard, after = { "keys" } },
  { name = "timing", wrap = guard, cacheable = true },
  { name = "never", wrap = guard, applies = function() return false end },
} }]], ["plugins/b/init.lua"] = [[
local function f() end
return { name = "b", routes = {
  { "GET", "/a", name = "a", handler = f, cache = { ttl = "1s" } }, { "GET", "/b", name = "b", handler = f },
} }]] }
      local count, texts = add 'return { plugins = { "a", "b" } }'
      assert.is_nil(count)
      assert.equal(2, #texts)
      assert.matches("plugins/b/init.lua: route a: cache, but the middleware keys of plugin a applies", texts[1])
      assert.matches("the middleware seals of plugin a applies", texts[2])
      assert.matches("cacheable = true", texts[2])
      write { ["plugins/a/init.lua"] = [[
local function wrap(next_handler) return next_handler end
return { name = "a", middleware = { { name = "timing", wrap = wrap, cacheable = true } },
  routes = { { "GET", "/a", name = "a", handler = wrap, cache = { ttl = "1s" } } } }]] }
      assert.equal(1, add())
    end)

    it("or the mistakes that only show when all are together", function()
      write { ["plugins/a/init.lua"] = [[
local S = require "wick.schema"
local function f() end
return { name = "a", route_fields = { auth = S.enum { "user", optional = true } }, routes = {
  { "GET", "/a", name = "same", handler = f }, { "GET", "/b", name = "same", handler = f },
  { "GET", "/c", name = "c", handler = f, auth = "user", cache = { ttl = "1s" } },
} }]] }
      local count, texts = add()
      assert.is_nil(count)
      assert.equal(2, #texts)
      assert.matches("route same has the name of a route of plugin a", texts[1])
      assert.matches("route c: cache and auth do not go together", texts[2])
      write { ["plugins/a/init.lua"] = [[
local function w(n) return n end
return { name = "a", middleware = { { name = "m", wrap = w }, { name = "m", wrap = w } } }]] }
      assert.same({ "middleware: two of these have the name m" }, { select(2, add())[1] })
    end)
  end)

  it("may not declare the same field of routes, nor one that is there", function()
    local function declaring(name, field)
      return ([[local S = require "wick.schema"
return { name = %q, route_fields = {
  %s = S.boolean { optional = true } } }]]):format(name, field)
    end
    assert.same({
      "plugins/b/init.lua:3: route_fields.auth: plugin a declares this field of routes too: give one of them another name",
    }, mistakes({ ["plugins/a/init.lua"] = declaring("a", "auth"), ["plugins/b/init.lua"] = declaring("b", "auth") },
      'return { plugins = { "a", "b" } }'))
    assert.same({
      "plugins/a/init.lua:3: route_fields.cache: every route has a field of this name: give it another",
    }, mistakes { ["plugins/a/init.lua"] = declaring("a", "cache") })
  end)

  it("that come with wick are right", function()
    local list = loaded 'return { plugins = { "registry", "accounts" } }'
    assert.equal("accounts registry", names(list))
    assert.is_true(S.is(list[1].plugin.options))
  end)
end)
