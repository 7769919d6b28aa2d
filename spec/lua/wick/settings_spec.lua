-- Every setting has a default or may be left out, keeps its bounds, and stands in config.lua as it is.

local native = require "spec.lua.support.native"
local S = require "wick.schema"
local settings = require "wick.settings"
local reference = require "wick.reference"
local plugin = require "wick.plugin"
local config = require "wick.config"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- The plugins that come with wick, loaded.
local function bundled()
  local checked = assert(settings.check {})
  checked.config_folder = "./"
  return assert(plugin.load_all(checked, function() return {} end))
end

-- The settings of a configuration's text, options of plugins checked, too.
local function in_force(text, environment)
  local world = { env = function(name) return (environment or {})[name] end, read_file = function() return text end }
  local checked, texts = config.load("config.lua", world)
  assert(checked, texts and table.concat(texts, "\n"))
  local plugins, wrong = plugin.load_all(checked, function(_, errors) return { errors[1].text } end)
  assert(plugins, wrong and table.concat(wrong, "\n"))
  return checked, plugins
end

-- What Lua says that a setting is without a word about it.
local function default_of(path)
  local shape = settings.schema
  for name in path:gmatch "[^.]+" do
    for _, one in ipairs(shape.choices or {}) do
      shape = one.kind == "record" and one or shape
    end
    shape = shape.fields[name] or error(path)
  end
  return shape.default
end

describe("settings", function()
  it("need nothing at all", function()
    local checked = assert(settings.check {})
    assert.equal("registry.db", checked.database.sqlite.path)
    assert.is_false(checked.database.postgres)
    assert.is_false(checked.cache.redis)
    assert.equal("auto", checked.workers)
  end)

  it("take no SQLite file for granted when PostgreSQL is given", function()
    assert.is_false(assert(settings.check { database = { postgres = { primary = "postgres://h/d" } } }).database.sqlite)
    assert.equal("a.db", assert(settings.check { database = { postgres = { primary = "postgresql://h/d" }, sqlite = { path = "a.db" } } })
      .database.sqlite.path)
  end)

  it("take addresses of every form and no others", function()
    for _, address in ipairs { "127.0.0.1:80", "[::1]:65535", "localhost:0", "/run/wick.sock" } do
      assert.equal(address, assert(settings.check { listen = address }).listen)
    end
    local wrong = { "", "80", ":80", "127.0.0.1", "127.0.0.1:65536", "::1:80", "[::1]", "host:port", "a b:80", "run/wick.sock" }
    for _, address in ipairs(wrong) do
      local _, errors = settings.check { listen = address }
      assert.matches('expected "address:port"', errors[1].text, 1, address)
    end
    assert.is_false(assert(settings.check { admin = false }).admin)
    assert.is_nil((settings.check { listen = false }))
  end)

  it("say of an address what is wrong with it, whatever stands there", function()
    local function why(values)
      local _, errors = settings.check(values)
      return errors[1].text
    end
    local form = 'expected false, or "address:port" such as "127.0.0.1:8080" or "[::1]:8080", or the path of a unix socket, got '
    assert.equal(form .. "true", why { admin = true })
    assert.equal(form .. "1", why { admin = 1 })
    assert.equal(form .. "a table", why { admin = { listen = 1 } })
    assert.equal(form:gsub("false, or ", ""):gsub(", got $", ""), why { admin = "x" })
    assert.equal(form:gsub("false, or ", "") .. "false", why { listen = false })
    assert.equal("the path of a unix socket may have 107 bytes at most, this one has 108: put it into a folder with a shorter name",
      why { admin = "/" .. ("x"):rep(107) })
    assert(settings.check { listen = "/" .. ("x"):rep(106) })
  end)

  it("take no address for both listeners", function()
    for _, pair in ipairs { { "127.0.0.1:8080" }, { "/run/wick" }, { "0.0.0.0:80", "127.0.0.1:80" }, { "[::1]:80", "[::]:80" },
      { "[::]:80", "10.0.0.1:80" }, { "127.0.0.1:9180", nil } } do
      local _, errors = settings.check { listen = pair[1], admin = pair[2] or pair[1] }
      local text = ('is the address of listen (%s), too: give it another port, such as "127.0.0.1:9180", or false for none'):format(pair[1])
      assert.same({ { "admin" }, text }, { errors[1].path, errors[1].text })
    end
    for _, pair in ipairs { { "127.0.0.1:0", "127.0.0.1:0" }, { "127.0.0.1:80", "127.0.0.1:81" }, { "127.0.0.1:80", "127.0.0.2:80" },
      { "0.0.0.0:80", "[::1]:80" }, { "/run/a", "/run/b" }, { "/run/a", "127.0.0.1:80" } } do
      assert(settings.check { listen = pair[1], admin = pair[2] }, pair[1])
    end
  end)

  it("keep both ends of their bounds, each of them", function()
    local count = 0
    local function try(shape, path)
      for _, name in ipairs(shape.names) do
        local field = shape.fields[name]
        for _, one in ipairs(field.choices or { field }) do
          local here = { table.unpack(path) }
          here[#here + 1] = name
          if one.kind == "record" then
            try(one, here)
          else
            for _, bound in ipairs { "min", "max" } do
              if one[bound] then
                count = count + 1
                assert(S.check(one, one[bound], "lua"), table.concat(here, ".") .. " refuses its " .. bound)
                local beyond = math.type(one[bound]) and one[bound] + (bound == "min" and -1 or 1)
                  or ("%d%s"):format(one[bound]:match "%d+" + (bound == "min" and -1 or 1), one[bound]:match "%a+")
                assert(not S.check(one, beyond, "lua"), table.concat(here, ".") .. " takes " .. beyond)
              end
            end
          end
        end
      end
    end
    try(settings.schema, {})
    assert.is_true(count > 50, count)
  end)
end)

describe("the manual in config.lua", function()
  local text = read "config.lua"

  it("is what wick config manual prints", function()
    assert.equal(reference.manual(bundled()) .. "\n", text:sub((text:find("--return {", 1, true))))
  end)

  it("names every setting with its true default, its bounds and its meaning", function()
    local manual = text:sub((text:find("--return {", 1, true)))
    local words = manual:gsub("\n%-%-%s+%-%- ", " "):gsub("\n%-%- ", " "):gsub("%s+", " ")
    for _, one in ipairs(reference.list()) do
      local name = one.path:match "[^.]+$"
      assert(words:find(name .. " = ", 1, true) or words:find(name .. "%s+= "), one.path)
      assert.not_equal("", one.doc, one.path)
      assert(words:find(one.doc:gsub("%s+", " "), 1, true), one.path .. ": " .. one.doc)
      assert(words:find(one.bounds, 1, true), one.path .. ": " .. one.bounds)
    end
  end)

  it("is a configuration when the comment marks are removed, and changes nothing but what is off", function()
    local manual = text:sub((text:find("--return {", 1, true)))
    local checked, plugins = in_force(reference.uncommented(manual))
    for _, one in ipairs(reference.list()) do
      local value = load("return " .. (one.default or "nil"))()
      if value ~= nil then
        assert.same(value, default_of(one.path), one.path)
      end
    end
    local plain = assert(settings.check {})
    for _, name in ipairs { "listen", "admin", "workers", "http", "log", "lua" } do
      assert.same(plain[name], checked[name], name)
    end
    assert.same(plain.database.sqlite, checked.database.sqlite)
    assert.same(plain.cache.memory, checked.cache.memory)
    assert.same(plain.plugins, checked.plugins)
    local pool = assert(settings.check { database = { postgres = { primary = "postgres://h" } } }).database.postgres.pool
    assert.same(pool, checked.database.postgres.pool)
    local redis = assert(settings.check { cache = { redis = { url = "redis://h" } } }).cache.redis
    checked.cache.redis.url, redis.url = nil, nil
    assert.same(redis, checked.cache.redis)
    local _, plain_plugins = in_force "return {}"
    for i, one in ipairs(plugins) do
      one.options.first_admin = nil
      assert.same(plain_plugins[i].options, one.options)
    end
  end)

  it("leaves prose alone when the marks are removed", function()
    assert.equal("return {\n  a = 1,  -- one\n\n-- Two words.\n  b = {\n    -- Inner.\n    c = 2,\n  },\n}", reference.uncommented(
      "--return {\n--  a = 1,  -- one\n\n-- Two words.\n--  b = {\n--    -- Inner.\n--    c = 2,\n--  },\n--}"))
  end)
end)

describe("config.lua itself", function()
  local text = read "config.lua"

  it("serves the SQLite file without any environment", function()
    local checked = in_force(text)
    assert.equal("127.0.0.1:8080", checked.listen)
    assert.equal("registry.db", checked.database.sqlite.path)
    assert.is_false(checked.database.postgres)
    assert.is_false(checked.cache.redis)
    assert.same({ "accounts", "registry" }, checked.plugins)
  end)

  it("takes PostgreSQL and Redis from the environment", function()
    local checked = in_force(text, { DATABASE_URL = "postgres://h/d", REDIS_URL = "redis://h", WICK_SQLITE = "/tmp/x.db" })
    assert.equal("postgres://h/d", checked.database.postgres.primary)
    assert.equal("redis://h", checked.cache.redis.url)
    assert.equal("/tmp/x.db", checked.database.sqlite.path)
  end)
end)

describe("what wick config print prints", function()
  local checked, plugins

  before_each(function()
    checked, plugins = in_force([[return {
      database = { postgres = { primary = "postgres://u:hunter2@h/d" } },
      cache = { redis = { url = "redis://:hunter2@h", prefix = "100%d:" } },
      plugins = { "accounts", "registry", accounts = { first_admin = { email = "a@b.cd", password = "hunter2hunter2" } } },
    }]])
  end)

  it("has no secret in it", function()
    assert.is_nil(reference.lua(checked, plugins):find("hunter2", 1, true))
    assert.equal("***", reference.shown(checked).database.postgres.primary)
    assert.equal("***", reference.shown(checked, plugins).plugin_options.accounts.first_admin.password)
  end)

  it("is a configuration again, but for the secrets", function()
    local text = reference.lua(checked, plugins)
    assert.is_function(load(text))
    assert.matches('prefix = "100%%d:"', text)
    assert.matches('session_ttl = "12h"', text)
    local plain, its_plugins = in_force(reference.lua(in_force "return {}"))
    assert.same(assert(settings.check {}).http, plain.http)
    assert.equal(2, #its_plugins)
  end)

  it("has units where people write units", function()
    local shown = reference.shown(checked)
    assert.equal("64MiB", shown.cache.memory)
    assert.equal("30m", shown.database.postgres.pool.max_lifetime)
    assert.equal(20, shown.database.postgres.pool.max_size)
  end)

  it("can be listed for programs", function()
    local by_path = {}
    for _, one in ipairs(reference.list()) do
      by_path[one.path] = one
    end
    assert.equal('"30s"', by_path["http.request_timeout"].default)
    assert.is_true(by_path["database.postgres.primary"].is_required)
    assert.is_true(by_path["database.postgres.primary"].is_secret)
    assert.is_true(by_path["database.postgres"].is_group)
    assert.is_nil(by_path["database.postgres.primary"].default)
    assert.is_string(native.json.encode(reference.list()))
  end)
end)
