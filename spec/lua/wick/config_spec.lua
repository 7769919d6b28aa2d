-- A configuration is read as Lua, checked as a whole, and every mistake is told with its line; what came from the environment or
-- from a file is told in no message.

require "spec.lua.support.native"
local config = require "wick.config"

describe("config", function()
  local files, environment

  before_each(function()
    files, environment = {}, {}
  end)

  local world = {
    env = function(name) return environment[name] end,
    read_file = function(path, bytes_max)
      if not files[path] then
        return nil, "No such file or directory"
      end
      return #files[path] <= bytes_max and files[path] or nil, "the file is larger than it may be"
    end,
  }

  local function load(text)
    files["/etc/wick/config.lua"] = text
    return config.load("/etc/wick/config.lua", world)
  end

  local function mistakes(text)
    local settings, texts = load(text)
    assert.is_nil(settings)
    for i, one in ipairs(texts) do
      texts[i] = one:gsub("/etc/wick/", "")
    end
    return texts
  end

  describe("that is right", function()
    it("gives settings with every default", function()
      local settings, problem, origin = load 'return { listen = "[::1]:80", database = { sqlite = { path = "a.db" } } }'
      assert.is_nil(problem)
      assert.equal("[::1]:80", settings.listen)
      assert.equal("127.0.0.1:9180", settings.admin)
      assert.same({
        path = "a.db", readers = 2, busy_timeout = 5000, leak_threshold = 30000, leak_reclaim = false, queue_max = 1000, create = true,
      }, settings.database.sqlite)
      assert.equal("/etc/wick/", settings.config_folder)
      assert.same({ "accounts", "registry" }, settings.plugins)
      assert.matches("^return", origin.source)
    end)

    it("may ask the environment", function()
      environment.PORT, environment.EMPTY = "8081", ""
      assert.equal("127.0.0.1:8081", load('return { listen = "127.0.0.1:" .. env "PORT" }').listen)
      assert.equal("127.0.0.1:1", load('return { listen = "127.0.0.1:" .. env("NONE", "1") }').listen)
      assert.is_false(load('return { admin = env("NONE", false) }').admin)
      assert.equal("", load('return { cache = { redis = { url = "redis://x", prefix = env "EMPTY" } } }').cache.redis.prefix)
    end)

    it("may read files and other tables beside it", function()
      files["/etc/wick/conf/url"] = "redis://:pw@host\n"
      files["/etc/wick/conf/cache.lua"] = 'return { memory = "2MiB", redis = { url = file "url" } }'
      local cache = load('return { cache = include "conf/cache.lua" }').cache
      assert.equal("redis://:pw@host", cache.redis.url)
      assert.equal(2097152, cache.memory)
    end)

    it("has the harmless functions of Lua", function()
      environment.CORES = "3"
      assert.equal(6, load('local n = tonumber(env "CORES") return { workers = math.min(n * 2, 8) }').workers)
    end)

    it("takes options of plugins under their names", function()
      local settings = load 'return { plugins = { "a", "b", a = { x = 1 } } }'
      assert.same({ "a", "b" }, settings.plugins)
      assert.same({ a = { x = 1 } }, settings.plugin_options)
    end)
  end)

  describe("that is wrong", function()
    it("tells each mistake with its line, in the order of the lines", function()
      assert.same({
        "config.lua:2: lisen: is not known here (did you mean \"listen\"?)",
        "config.lua:3: workers: expected auto, or a whole number from 1 to 256, got 0",
        "config.lua:5: database.sqlite.path: expected text of at least 1 characters, got 0",
        "config.lua:6: database.sqlite.raeders: is not known here (did you mean \"readers\"?)",
        "config.lua:10: log.level: must be one of debug, info, warn, error, got \"inof\" (did you mean \"info\"?)",
        "config.lua:11: log.requests: expected true or false, got \"yes\"",
        "config.lua:13: http.idle_timeout: unknown unit \"x\" in \"30x\"; write it like \"30s\"",
        "config.lua:14: plugins[1]: expected the name of a plugin, or the path of its folder",
        "config.lua:15: plugins.registry: expected a table of options: registry = { ... }",
      }, mistakes [[return {
  lisen = "127.0.0.1:80",
  workers = 0,
  database = {
    sqlite = { path = "",
               raeders = 3,
    },
  },
  log = {
    level = "inof",
    requests = "yes",
  },
  http = { idle_timeout = "30x" },
  plugins = { 42,
    registry = true,
  },
}]])
    end)

    it("says so for bounds and cross checks", function()
      assert.same({
        "config.lua:2: http: line_max must not be larger than head_max: the line is part of the head",
        "config.lua:3: database.postgres.pool: min_size (9) must not be larger than max_size (3)",
        "config.lua:4: lua.memory: expected a size such as \"64MiB\" from 4MiB to 16GiB, got \"1MiB\"",
      }, mistakes [[return {
  http = { line_max = "9KiB", head_max = "8KiB" },
  database = { postgres = { primary = "postgres://x", pool = { min_size = 9, max_size = 3 } } },
  lua = { memory = "1MiB" },
}]])
    end)

    it("lets no leak be rolled back before a deadlock could be found", function()
      local text = 'return { database = { postgres = { primary = "postgres://x", pool = { leak_reclaim = %s, leak_threshold = "%s" } } } }'
      assert.matches("leak_reclaim needs a leak_threshold of 2s or more", mistakes(text:format(true, "1s"))[1])
      for _, fine in ipairs { { true, "2s" }, { true, "0s" }, { false, "1s" } } do
        assert.is_truthy((load(text:format(table.unpack(fine)))))
      end
    end)

    it("names Lua's own errors with their line", function()
      assert.same({ "config.lua:2: '}' expected (to close '{' at line 1) near 'b'" }, mistakes "return {\n a b = 1 }")
      assert.matches("^config.lua:2: attempt to call a nil value", mistakes("local t = {}\nt.x() return {}")[1])
      assert.matches("^config.lua:3: attempt to perform arithmetic", mistakes("local t = {}\n\nlocal a = t + 1 return {}")[1])
    end)

    it("has no globals but its own", function()
      assert.same({ 'config.lua:1: "os" is not known in a configuration; it has env, file and include' },
        mistakes "return { listen = os.date() }")
      for _, name in ipairs { "io", "require", "load", "debug", "print", "_G", "setmetatable", "pcall" } do
        assert.matches("is not known in a configuration", mistakes(("return { x = %s.y }"):format(name))[1])
      end
      assert.same({ 'config.lua:1: "listen": write local listen, and return the settings as one table' }, mistakes 'listen = "x" return {}')
    end)

    it("must be a table in a text file that is there", function()
      for _, text in ipairs { "", "return 1", "return nil", "local x = 1" } do
        assert.same({ 'config.lua: must return a table of settings, as in: return { listen = "127.0.0.1:8080" }' }, mistakes(text))
      end
      assert.matches("binary chunk", mistakes(string.dump(load and function() return {} end))[1])
      assert.same({ "/nowhere.lua: No such file or directory" }, select(2, config.load("/nowhere.lua", world)))
    end)

    it("names what env, file and include did not find, where they were asked", function()
      assert.same({ 'config.lua:2: the environment variable X is not set; set it, or write env("X", default)' },
        mistakes 'return {\n listen = env "X" }')
      assert.same({ 'config.lua:1: file "pw": No such file or directory' }, mistakes 'return { listen = file "pw" }')
      assert.same({ "config.lua:1: x.lua: No such file or directory" }, mistakes 'return { log = include "x.lua" }')
      assert.same({ 'config.lua:1: env wants the name of a variable: env "DATABASE_URL"' }, mistakes "return { listen = env(1) }")
      assert.same({ 'config.lua:1: file wants a path: file "conf/name"' }, mistakes "return { listen = file() }")
      assert.same({ 'config.lua:1: include wants a path: include "conf/name"' }, mistakes "return { listen = include {} }")
    end)

    it("names all that was not found at once, and other mistakes with it, but none that follow from it", function()
      assert.same({
        'config.lua:2: the environment variable A is not set; set it, or write env("A", default)',
        'config.lua:3: the environment variable PW is not set; set it, or write env("PW", default)',
        'config.lua:4: file "pw": No such file or directory',
        "config.lua:5: log.lua: No such file or directory",
        'config.lua:6: file "pw": No such file or directory',
        'config.lua:6: http.idle_timeout: expected a number with a unit such as "30s", got "x"',
      }, mistakes [[return {
 listen = env "A",
 database = { postgres = "postgres://wick:" .. env "PW" .. "@h/d" },
 cache = { redis = { url = "redis://:" .. file "pw" .. "@h" } },
 log = include "log.lua",
 http = { idle_timeout = "x", header_timeout = file "pw" },
}]])
      assert.same({ 'config.lua:1: the environment variable N is not set; set it, or write env("N", default)' },
        mistakes 'return { workers = tonumber(env "N") * 2 }')
      assert.same({ 'config.lua:1: the environment variable N is not set; set it, or write env("N", default)' },
        mistakes 'return { workers = tonumber(env "N") }')
    end)

    it("tells nothing that follows from what was not found, in a key or in capitals, and names the file where Lua names no line", function()
      local missing = 'the environment variable N is not set; set it, or write env("N", default)'
      assert.same({ "config.lua:1: " .. missing }, mistakes 'return { [env "N"] = 1, log = { [env "N"] = { a = 1 } } }')
      assert.same({ "config.lua:1: " .. missing }, mistakes 'return { listen = env("N"):upper() }')
      assert.same({ "config.lua: " .. missing }, mistakes 'return env "N"')
    end)

    it("says which plugins there are where all else is right, so that theirs are told, too", function()
      local _, texts, origin = load 'return { plugins = { "a", a = { secret = env "N" } } }'
      assert.equal(1, #texts)
      assert.same({ "a" }, origin.part.plugins)
    end)

    it("finds the mistake in an included file", function()
      files["/etc/wick/a.lua"], files["/etc/wick/b.lua"] = "return {\n x = }", "local y = 1"
      files["/etc/wick/c.lua"] = 'return { log = include "c.lua" }'
      assert.same({ "config.lua:1: a.lua:2: unexpected symbol near '}'" }, mistakes 'return { log = include "a.lua" }')
      assert.same({ 'config.lua:1: include "b.lua": the file returns nothing' }, mistakes 'return { log = include "b.lua" }')
      assert.same({ 'c.lua:1: include "c.lua": this file is being read: it would include itself for ever' },
        mistakes 'return { log = include "c.lua" }')
      for _, name in ipairs { "config.lua", "./config.lua", ".//config.lua" } do
        assert.same({ ('config.lua:1: include "%s": this file is being read: it would include itself for ever'):format(name) },
          mistakes(('return { log = include "%s" }'):format(name)))
      end
      for depth = 1, 9 do
        files[("/etc/wick/%d.lua"):format(depth)] = ('return { log = include "%d.lua" }'):format(depth + 1)
      end
      assert.matches("8.lua:1: include goes deeper than 8 files$", mistakes('return { log = include "1.lua" }')[1])
    end)

    it("needs a database", function()
      assert.same({ "config.lua:1: database: give it sqlite or postgres: there must be a database" },
        mistakes "return { database = { sqlite = false } }")
    end)

    it("takes no list with a gap for the plugins", function()
      assert.same({ "config.lua:1: plugins: the list has a gap: one of its entries is nil" },
        mistakes 'return { plugins = { "a", nil, "b" } }')
      assert.same({ 'config.lua:1: plugins: expected a list such as { "accounts", "registry" }' }, mistakes 'return { plugins = "a" }')
    end)
  end)

  describe("with secrets", function()
    local secret = "pw-hunter2-pw"

    -- No mistake that the text leads to shows the secret.
    local function hides(text)
      environment.SECRET = secret
      files["/etc/wick/secret"] = secret .. "\n"
      local settings, texts = load((text:gsub("SECRET_TEXT", secret)))
      assert.is_nil(settings, text)
      for _, one in ipairs(texts) do
        assert.is_nil(one:find("hunter2", 1, true), one)
      end
      return texts
    end

    it("written into the file shows none of them", function()
      hides 'return { database = { postgres = "postgres://u:SECRET_TEXT@h/d" } }'
      hides 'return { database = { postgres = { primary = "mysql://u:SECRET_TEXT@h/d" } } }'
      hides 'return { database = { postgres = { primary = { "postgres://u:SECRET_TEXT@h/d" } } } }'
      hides 'return { database = "postgres://u:SECRET_TEXT@h/d" }'
      hides 'return { cache = { redis = "redis://:SECRET_TEXT@h" } }'
      hides 'return { cache = { redis = { url = "http://:SECRET_TEXT@h" } } }'
      hides 'return { cache = "redis://:SECRET_TEXT@h" }'
      hides 'return { database = { postgres = { primary = "SECRET_TEXT'
      hides "return { database = { postgres = { primary = 'SECRET_TEXT' 'b' } } }"
      hides 'return { x = "SECRET_TEXT" + 1 }'
    end)

    it("from the environment or a file shows none of them, wherever they are used", function()
      for _, source in ipairs { 'env "SECRET"', 'file "secret"', '("x" .. env "SECRET")', '("x" .. file "secret" .. "y")' } do
        for _, place in ipairs {
          "listen", "admin", "workers", "log", "http", "cache", "plugins", "log = { level = %s }, x", "http = { line_max = %s }, x",
          "http = { idle_timeout = %s }, x", "cache = { memory = %s }, x", "log = { requests = %s }, x", "database",
          "lua = { cpu = %s }, x",
        } do
          hides(("return { %s = %s }"):format(place:gsub("%%s", function() return source end), source))
        end
        hides(("return { listen = %s .. nil }"):format(source))
        hides(("return { listen = %s + 1 }"):format(source))
        hides(("return { listen = include(%s) }"):format(source))
      end
    end)

    it("says where the value came from instead", function()
      assert.same({ "/etc/wick/config.lua:1: workers: expected auto, or a whole number from 1 to 256, got the value of "
        .. "the environment variable SECRET, which is not shown" }, hides 'return { workers = env "SECRET" }')
    end)
  end)
end)
