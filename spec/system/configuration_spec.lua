-- What the command line says of a configuration, right or wrong, and what it never says: secrets.

local cjson = require "cjson"
local wick = require "spec.support.wick"
local process = require "spec.support.process"

local wrong = [[
return {
  lsten = "127.0.0.1:8080",
  workers = "many",
  http = { header_timeout = "10", boddy_max = "1MiB" },
  database = {
    sqlite = { path = "x.db", readers = 0 },
    postgres = { primary = "mysql://x/y", pool = { min_size = 30, max_size = 20 } },
  },
  cache = { memory = "64 MB or so" },
  log = { format = "xml" },
  plugins = {
    "accounts",
    "regsitry",
    registry = { list_ttl = "10s" },
  },
}
]]

-- Every mistake of it: line, setting, words.
local mistakes = {
  { 2, "lsten", 'did you mean "listen"?' },
  { 3, "workers", "auto" },
  { 4, "http.header_timeout", '"30s"' },
  { 4, "http.boddy_max", 'did you mean "body_max"?' },
  { 6, "database.sqlite.readers", "1" },
  { 7, "database.postgres.primary", "postgres://" },
  { 7, "database.postgres.pool", "min_size (30) must not be larger than max_size (20)" },
  { 9, "cache.memory", '"64MiB"' },
  { 10, "log.format", "logfmt" },
  { 13, "plugins[2]", 'did you mean "registry"?' },
  { 14, "plugins.registry", "not listed" },
}

describe("the configuration", function()
  local function run(words, config, env)
    return wick.command(words, { config = config, env = env })
  end

  local function has_mistakes(text)
    for _, mistake in ipairs(mistakes) do
      local start = ("config.lua:%d: %s: "):format(mistake[1], mistake[2])
      local at = text:find(start, 1, true)
      assert.is_truthy(at, start .. " in\n" .. text)
      local line = text:sub(at):match "^[^\n]+"
      assert.is_truthy(line:find(mistake[3], 1, true), mistake[3] .. " in " .. line)
    end
  end

  it("is refused with every mistake at once, each with its line and what was probably meant", function()
    for _, command in ipairs { "check", "serve", "routes" } do
      local result = run({ command }, wrong)
      assert.equal(78, result.code)
      assert.equal("", result.out)
      has_mistakes(result.err)
      assert.is_truthy(result.err:find("wick: 11 mistakes in the configuration", 1, true), result.err)
    end
  end)

  it("is refused in JSON for programs", function()
    local result = run({ "check", "--json" }, wrong)
    assert.equal(78, result.code)
    assert.equal("", result.err)
    local answer = cjson.decode(result.out)
    assert.is_false(answer.ok)
    assert.equal(#mistakes, #answer.errors)
    has_mistakes(table.concat(answer.errors, "\n"))
    assert.is_true(cjson.decode(run({ "check", "--json" }, "return {}").out).ok)
  end)

  it("is refused with URLs that nothing could connect to, and shows no password", function()
    local function why(setting, url)
      local text = setting == "redis" and ("return {\n  cache = { redis = {\n    url = %q } } }"):format(url)
        or ("return {\n  database = { postgres = {\n    primary = %q } } }"):format(url)
      local result = run({ "check" }, text)
      assert.equal(78, result.code, url)
      assert.is_nil(result.err:find("hunter2", 1, true))
      return result.err:match "/config.lua:3: [%w.]+: ([^\n]*)\n" or result.err
    end
    assert.equal("the port must be a number up to 65535", why("redis", "redis://host:notaport"))
    assert.matches("^the host is missing", why("redis", "redis://"))
    assert.matches("too long: 107 bytes", why("redis", "unix:///" .. ("x"):rep(107)))
    assert.matches("^expected a URL that starts with redis://", why("redis", "http://h"))
    assert.matches("^the port must be a number from 1 to 65535", why("postgres", "postgres://u:hunter2@h:99999/d"))
    assert.matches("^the port must be a number from 1 to 65535", why("postgres", "postgres://u:hunter2@a,b:0,1/d"))
    assert.matches("^the port must be a number from 1 to 65535", why("postgres", "postgres://h:hunter2/d"))
    assert.matches("is not one libpq reads: invalid URI query parameter$", why("postgres", "postgres://h/d?hunter2=1"))
    assert.matches("names a service", why("postgres", "postgres://u@/d?service=x"))
    for _, url in ipairs { "postgres://u:p@a:1,b:65535/d", "postgres://u@a:5432,b/d", "postgresql:///d?host=/run/postgresql" } do
      local result = run({ "check" }, ("return { database = { postgres = { primary = %q } } }"):format(url))
      assert.equal(0, result.code, url .. result.err)
    end
  end)

  it("is refused when it is no Lua, returns nothing, or is not there", function()
    for text, words in pairs {
      ["return {\n  listen = = 1\n}"] = "config.lua:2:",
      [""] = "must return a table",
      ["return 7"] = "must return a table",
      ["listn = 1\nreturn {}"] = "config.lua:1:",
      ["return { listen = os.getenv 'X' }"] = "config.lua:1:",
      ["return { listen = env 'WICK_SPEC_MISSING' }"] = "the environment variable WICK_SPEC_MISSING is not set",
      ["return { listen = file 'missing-file' }"] = "missing-file",
      ["return { listen = ('x'):rep(1e12) }"] = "config.lua: not enough memory",
    } do
      local result = run({ "check" }, text)
      assert.equal(78, result.code, text .. ": " .. result.err)
      assert.is_truthy(result.err:find(words, 1, true), text .. ": " .. result.err)
    end
    local result = run { "check", "--config", "/nowhere/config.lua" }
    assert.equal(78, result.code)
    assert.is_truthy(result.err:find("/nowhere/config.lua", 1, true), result.err)
  end)

  it("is refused where only an option or the name of a plugin was not found, beside what else is wrong with the plugins", function()
    local result = run({ "check" }, [[return { database = { sqlite = { path = "x.db" } }, plugins = { "accounts", env "WICK_SPEC_MISSING",
      accounts = { session_tll = "1h", first_admin = { email = "you@example.com", password = env "WICK_SPEC_PASSWORD" } } } }]])
    assert.equal(78, result.code, result.err)
    for _, words in ipairs { "config.lua:1: the environment variable WICK_SPEC_MISSING is not set",
      "config.lua:2: the environment variable WICK_SPEC_PASSWORD is not set", "session_tll: is not known here", "wick: 3 mistakes" } do
      assert.is_truthy(result.err:find(words, 1, true), result.err)
    end
  end)

  it("takes texts from regular files of a sane size only, and does not wait for others", function()
    local dir = process.temp_dir()
    process.run { "mkfifo", dir .. "/pipe" }
    process.write_file(dir .. "/long", ("x"):rep(65537))
    for path, why in pairs {
      ["/dev/zero"] = "this is no regular file", [dir .. "/pipe"] = "this is no regular file", [dir] = "this is a folder",
      [dir .. "/long"] = "the file is larger than it may be (65536 bytes)", [dir .. "/none"] = "No such file or directory",
    } do
      local result = run({ "check" }, ('return { listen = file %q }'):format(path))
      assert.equal(78, result.code)
      assert.matches(("file %q: %s"):format(path, why), result.err, 1, true)
    end
    local result = run({ "check" }, 'return include "/dev/zero"')
    assert.equal(78, result.code)
    assert.matches("/dev/zero: this is no regular file", result.err, 1, true)
    assert.equal(78, wick.command({ "check", "--config", "/dev/zero" }).code)
    process.run { "rm", "-rf", dir }
  end)

  it("may ask the environment, files and other configurations", function()
    local dir = process.temp_dir()
    process.write_file(dir .. "/secret", "from-a-file\n")
    process.write_file(dir .. "/more.lua", "return { level = 'warn' }")
    process.write_file(dir .. "/config.lua", [[return {
      log = include "more.lua", admin = env("WICK_SPEC_ADMIN", false), listen = env "WICK_SPEC_LISTEN",
      cache = { redis = { url = "redis://:" .. file "secret" .. "@127.0.0.1:6379" } },
    }]])
    local result = wick.command({ "config", "print", "--json", "--config", dir .. "/config.lua" },
      { env = { WICK_SPEC_LISTEN = "127.0.0.1:12345" } })
    assert.equal(0, result.code, result.err)
    local settings = cjson.decode(result.out)
    assert.equal("127.0.0.1:12345", settings.listen)
    assert.equal("warn", settings.log.level)
    assert.is_false(settings.admin)
    assert.is_nil(result.out:find("from-a-file", 1, true))
    process.run { "rm", "-rf", dir }
  end)

  it("never shows a password: not printed, not checked, not wrong, not in the log of a connect that fails", function()
    local secret, url = "hunter2-is-secret", "postgres://wick:hunter2-is-secret@127.0.0.1:1/wick"
    local env = { DATABASE_URL = url, REDIS_URL = "redis://:hunter2-is-secret@127.0.0.1:1" }
    local config = [[return { listen = "127.0.0.1:%s", admin = false,
      database = { sqlite = false, postgres = { primary = env "DATABASE_URL" } }, cache = { redis = { url = env "REDIS_URL" } },
      %s }]]
    local fine = config:format(1, "")
    local function is_silent(text) assert.is_nil(text:find(secret, 1, true), text) end
    for _, words in ipairs {
      { "config", "print" }, { "config", "print", "--json" }, { "check" }, { "check", "--json" }, { "routes" },
    } do
      local result = run(words, fine, env)
      assert.equal(0, result.code, result.err)
      is_silent(result.out .. result.err)
    end
    assert.is_truthy(run({ "config", "print" }, fine, env).out:find("***", 1, true))
    for _, more in ipairs {
      "workers = env 'DATABASE_URL'", "listen = env 'DATABASE_URL'", "[env 'DATABASE_URL'] = 1", "log = env 'DATABASE_URL' + 1",
      "log = (nil)[env 'DATABASE_URL']", "plugins = { env 'DATABASE_URL' }", "log = { level = env 'DATABASE_URL' }",
    } do
      local result = run({ "check" }, config:format(1, more), env)
      assert.equal(78, result.code, more)
      is_silent(result.out .. result.err)
    end
    local server = wick.start {
      env = env, wait = false, config = [[return { listen = "127.0.0.1:${port}", admin = "127.0.0.1:${admin}",
        database = { sqlite = false, postgres = { primary = env "DATABASE_URL" } }, cache = { redis = { url = env "REDIS_URL" } },
        log = { level = "debug" } }]],
    }
    server:wait_until_up()
    assert.equal(503, server:get("/api/v1/services").status)
    is_silent(server:get("/api/v1/services").body)
    is_silent(server:admin("/readyz").body .. server:admin("/metrics").body)
    local code, log = server:stop()
    assert.equal(0, code)
    is_silent(log)
    wick.stop_all()
  end)

  it("of the tree is fine, and its manual too", function()
    local result = wick.command { "check" }
    assert.equal(0, result.code, result.err)
    assert.is_truthy(result.out:find("is fine", 1, true))
    local manual = wick.command { "config", "manual" }
    assert.equal(0, manual.code)
    assert.is_truthy(manual.out:find("busy_timeout", 1, true))
  end)

  it("is refused where a plugin has no tables for the engine, by check and before serving", function()
    local dir = process.temp_dir()
    process.run { "mkdir", "-p", dir .. "/schema" }
    process.write_file(dir .. "/init.lua", 'return { name = "marks", version = "1.0.0", schema = "schema" }')
    process.write_file(dir .. "/schema/sqlite.sql", "create table if not exists marks (text text not null);")
    local config = "return { database = { %s }, plugins = { %q } }"
    for _, words in ipairs { "check", "serve" } do
      local result = wick.command({ words },
        { config = config:format('sqlite = false, postgres = { primary = "postgres://a@127.0.0.1:1/b" }', dir) })
      assert.equal(78, result.code)
      assert.matches(dir .. "/schema/postgres.sql: No such file or directory; it makes the tables of this plugin on PostgreSQL",
        result.err, 1, true)
    end
    local on_sqlite = { config = config:format('sqlite = { path = "a.db" }', dir) }
    assert.equal(0, wick.command({ "check" }, on_sqlite).code)
    process.write_file(dir .. "/schema/sqlite.sql", "create table if not exists marks (text text not null);\n\nselect 'it;\n")
    for _, words in ipairs { "check", "serve" } do
      local result = wick.command({ words }, on_sqlite)
      assert.equal(78, result.code)
      assert.matches(dir .. "/schema/sqlite.sql:3: a text in '...' begins here and never ends; the file makes the tables of plugin marks",
        result.err, 1, true)
    end
    process.run { "rm", "-rf", dir }
  end)

  it("fits into 80 columns where it explains itself", function()
    for _, words in ipairs { "--help", "serve --help", "check --help", "routes --help", "config --help", "pool --help", "config manual",
      "routes" } do
      local result = process.run { "sh", "-c", wick.binary() .. " " .. words }
      assert.equal(0, result.code)
      for line in result.out:gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
    end
  end)

  it("tells its routes", function()
    local plugin = [[return { name = "small", version = "1.0.0", routes = {
      { "GET", "/small/{id:uuid}", name = "small_get", cache = { ttl = "90s" }, handler = function() end },
      { "POST", "/small", name = "small_add", handler = function() end } } }]]
    local dir = process.temp_dir()
    process.run { "mkdir", "-p", dir .. "/plugins/small" }
    process.write_file(dir .. "/plugins/small/init.lua", plugin)
    process.write_file(dir .. "/config.lua", 'return { plugins = { "small" } }')
    local result = wick.command({ "routes", "--config", dir .. "/config.lua" })
    assert.equal(0, result.code, result.err)
    assert.is_truthy(result.out:find("GET +/small/{id:uuid} +small_get +90s"), result.out)
    assert.is_truthy(result.out:find("\nGET     /small/{id:uuid}  small_get", 1, true), result.out)
    local routes = cjson.decode(wick.command({ "routes", "--json", "--config", dir .. "/config.lua" }).out)
    assert.equal(2, #routes)
    process.write_file(dir .. "/plugins/small/init.lua", (plugin:gsub("/small/{id:uuid}", "/" .. ("x"):rep(70))))
    result = wick.command({ "routes", "--config", dir .. "/config.lua" })
    assert.is_truthy(result.out:find("\nGET    /" .. ("x"):rep(70) .. "\n" .. (" "):rep(60) .. "small_get 90s   -\n", 1, true), result.out)
    assert.equal("small", routes[1].plugin)
    process.run { "rm", "-rf", dir }
  end)
end)

describe("wick", function()
  it("tells its version and what it is made of", function()
    local result = wick.command { "version" }
    assert.equal(0, result.code)
    assert.is_truthy(result.out:match "^wick %d+%.%d+%.%d+ ")
    assert.equal(result.out, wick.command({ "--version" }).out)
    local answer = cjson.decode(wick.command({ "version", "--json" }).out)
    assert.is_truthy(answer.version:match "^%d+%.%d+%.%d+$")
    for _, name in ipairs { "lua", "openssl" } do
      assert.is_string(answer.libraries[name], name)
    end
  end)

  it("says how it is used when it is used wrongly", function()
    for _, words in ipairs { {}, { "no-such-command" }, { "serve", "--no-such-flag" }, { "config" }, { "config", "explode" } } do
      assert.equal(2, wick.command(words).code, table.concat(words, " "))
    end
    local meant = wick.command { "chek" }
    assert.is_truthy(meant.err:find("check", 1, true))
    assert.equal("", meant.out)
    for _, words in ipairs { { "--help" }, { "serve", "--help" } } do
      local help = wick.command(words)
      assert.equal(0, help.code)
      assert.is_truthy(help.out:find("Usage: wick", 1, true))
    end
  end)
end)
