-- The command line says what it did in words and exit codes, and with --json for programs.

local native = require "spec.lua.support.native"
local process = require "spec.support.process"
local cjson = require "cjson"
local command = require "wick.command"

describe("wick", function()
  local dir

  setup(function() dir = process.temp_dir() end)
  teardown(function() process.run { "rm", "-rf", dir } end)

  -- What a command printed as JSON; after its exit code.
  local function json_of(_, out)
    return cjson.decode(out)
  end

  -- Exit code, standard output, standard error.
  local function run(...)
    native.written, native.routes = { "", "" }, {}
    return command.main({ ... }), native.written[1], native.written[2]
  end

  local function with(text)
    process.write_file(dir .. "/config.lua", text)
    return dir .. "/config.lua"
  end

  it("check says what would be served", function()
    local code, out, err = run("check", "-c", with 'return { database = { sqlite = { path = "/nowhere/x.db" } } }')
    assert.same({ 0, "" }, { code, err })
    assert.matches("warning: the SQLite file /nowhere/x.db is not there yet; serving makes it\n", out, 1, true)
    assert.matches("config.lua is fine: 2 plugins, 26 routes, SQLite file /nowhere/x.db, 1 warning\n$", out)
    local answer = json_of(run("check", "--json", "-c", with "return {}"))
    assert.same({ true, 26, 2 }, { answer.ok, answer.routes, answer.plugins })
  end)

  it("check warns of a PostgreSQL server that nothing goes to", function()
    local _, out = run("check", "-c", with [[return { database = { sqlite = { path = "/nowhere/x.db" },
      postgres = { primary = "postgres://wick@127.0.0.1/wick" } } }]])
    assert.matches("warning: database has both sqlite and postgres: everything is served from the SQLite file", out, 1, true)
    assert.is_nil(select(2, run("check", "-c", with [[return { database = {
      postgres = { primary = "postgres://wick@127.0.0.1/wick" } } }]])):find("both", 1, true))
  end)

  it("check warns of an admin listener that others reach", function()
    local addresses = {
      ["0.0.0.0:1"] = true, ["[::]:1"] = true, ["127.0.0.1:1"] = false, ["localhost:1"] = false, ["/run/x"] = false,
    }
    for address, is_open in pairs(addresses) do
      local _, out = run("check", "-c", with(("return { admin = %q }"):format(address)))
      assert.equal(is_open, out:find("reachable from other machines", 1, true) ~= nil, address)
    end
  end)

  it("check tells mistakes of settings and of plugins' options at the same time", function()
    local path = with [[return {
  lisen = "x",
  plugins = { "registry", "nowhere",
    registry = { list_tl = "1s" },
  },
}]]
    local code, out, err = run("check", "-c", path)
    assert.same({ 78, "" }, { code, out })
    for _, text in ipairs {
      'config.lua:2: lisen: is not known here (did you mean "listen"?)', 'no plugin "nowhere": there is no init.lua in ',
      'config.lua:4: plugins.registry.list_tl: is not known here (did you mean "list_ttl"?)',
      'requires the plugin "accounts", which is not in plugins', "wick: 4 mistakes in the configuration",
    } do
      assert.matches(text, err, 1, true)
    end
    code, out, err = run("check", "--json", "-c", path)
    assert.same({ 78, "" }, { code, err })
    assert.equal(4, #json_of(code, out).errors)
  end)

  it("every command ends with 78 when the configuration is wrong", function()
    for _, name in ipairs { "check", "routes", "serve" } do
      assert.equal(78, (run(name, "-c", with "return 1")), name)
      assert.equal(78, (run(name, "-c", "/nowhere/config.lua")), name)
    end
    assert.equal(78, (run("config", "print", "-c", with "return 1")))
  end)

  it("serve gives the settings to the core and ends with its code", function()
    local served
    native.serve = function(settings)
      served = settings
      return 7
    end
    assert.equal(7, (run("serve", "-c", with 'return { listen = "127.0.0.1:1" }')))
    assert.equal("127.0.0.1:1", served.listen)
    assert.equal(dir .. "/", served.config_folder)
    assert.equal(26, #native.routes)
  end)

  it("routes lists them in columns and as JSON", function()
    local code, out = run("routes", "-c", with "return {}")
    assert.equal(0, code)
    assert.matches("^METHOD +PATH +NAME +CACHE +AUTH\n", out)
    assert.matches("\nGET    /api/v1/services +service_list +10s +%-\n", out)
    assert.matches("\nPOST   /api/v1/services +service_create +%- +user\n", out)
    assert.equal(26, #json_of(run("routes", "--json", "-c", with "return {}")))
  end)

  it("config print prints a configuration, and config manual the manual", function()
    local code, out = run("config", "print", "-c", with 'return { cache = { redis = { url = "redis://:hunter2@h", prefix = "100%:" } } }')
    assert.equal(0, code)
    assert.is_function(load(out))
    assert.equal("100%:", load(out)().cache.redis.prefix)
    assert.is_nil(out:find("hunter2", 1, true))
    assert.matches("^%-%-return {\n", select(2, run("config", "manual")))
    assert.is_true(#json_of(run("config", "manual", "--json")) > 40)
  end)

  it("version is there in two ways", function()
    assert.same({ 0, "wick 0.0.0 (Lua 5.4)\n", "" }, { run "version" })
    assert.same({ 0, "wick 0.0.0 (Lua 5.4)\n", "" }, { run "--version" })
    assert.equal("0.0.0", json_of(run("version", "--json")).version)
  end)

  it("wrong usage ends with 2 and a word about it", function()
    for _, words in ipairs { { "bogus" }, { "serve", "--port", "1" }, { "config" }, { "config", "show" }, { "check", "-c" } } do
      local code, out, err = run(table.unpack(words))
      assert.same({ 2, "" }, { code, out })
      assert.matches("^wick: .+\nwick %-%-help lists the commands\n$", err)
    end
    local code, out = run()
    assert.equal(2, code)
    assert.matches("Usage: wick", out)
  end)
end)
