-- A plugin sees the harmless part of Lua, its own files, and no globals.

require "spec.lua.support.native" -- before the first require of wick.native
local sandbox = require "wick.sandbox"

describe("sandbox", function()
  local files = {}

  local function run(source)
    local env = sandbox.new("hello", function(name)
      return files[name], files[name] == nil and name == "hello.broken" and "broken.lua:1: oops" or nil
    end)
    local chunk = assert(load(source, "@init.lua", "t", env))
    return chunk()
  end

  local function refusal(source)
    local fine, why = pcall(run, source)
    assert.is_false(fine, source)
    return why
  end

  it("has the standard library that computes", function()
    assert.equal("6 A 2.0 é 2", run [[
      local co = coroutine.wrap(function() coroutine.yield(6) end)
      return table.concat({ co(), ("a"):upper(), tostring(math.sqrt(4)), utf8.char(233), select("#", 1, 2) }, " ")
    ]])
    assert.is_true(run "return os.time() > 0 and type(os.date()) == 'string' and os.clock() >= 0")
    assert.is_true(run "return rawequal(_G, _G) and getmetatable(setmetatable({}, { a = 1 })).a == 1")
  end)

  it("refuses to read or write a global that nobody declared, and says where", function()
    assert.equal('init.lua:2: undeclared global "conter": write local conter', refusal "local a = 1\nreturn conter")
    assert.equal("init.lua:1: a plugin has no globals of its own: write local counter", refusal "counter = 1")
    assert.equal('init.lua:1: undeclared global "tostrin": did you mean "tostring"?', refusal "return tostrin(1)")
    assert.equal("init.lua:1: a plugin has no globals of its own: write local f", refusal "function f() end")
  end)

  it("has the modules of wick as they are, and changes them for nobody", function()
    assert.is_true(run [[local S = require "wick.schema" return rawequal(S, require "wick.schema")]])
    for _, name in ipairs { "schema", "listing", "units", "suggest" } do
      assert.matches("^init.lua:1: wick." .. name .. ".new cannot be set", refusal(('require("wick.%s").new = 1'):format(name)))
      run(('rawset(require "wick.%s", "int64", false)'):format(name))
    end
    assert.equal("int64", run 'return require("wick.schema").int64({}).kind')
    assert.is_false(run 'return getmetatable(require "wick.schema")')
  end)

  it("has nothing that reaches out", function()
    for _, name in ipairs { "io", "debug", "load", "loadstring", "loadfile", "dofile", "package", "print", "collectgarbage" } do
      assert.matches(('^init.lua:1: undeclared global "%s": '):format(name), refusal("return " .. name))
    end
    for _, name in ipairs { "execute", "exit", "remove", "rename", "tmpname", "getenv", "setlocale" } do
      assert.is_nil(run("return os." .. name))
    end
    assert.is_nil(run "return string.dump")
    assert.matches("cx.log:info", refusal "print 'hello'")
  end)

  it("cannot be left through its own metatable, nor change what others see", function()
    assert.equal("a plugin's environment", run "return getmetatable(_G)")
    assert.has_error(function() run "setmetatable(_G, {})" end)
    assert.is_nil(run "return getmetatable('')")
    run "string.format = nil; table.insert = nil; math.pi = 3"
    assert.equal("1", ("%d"):format(1))
    assert.equal(3.14, math.floor(math.pi * 100) / 100)
    assert.is_function(run "return string.format")
  end)

  it("requires its own files and the schemas", function()
    files["hello.rules"] = { answer = 42 }
    assert.equal(42, run 'return require("hello.rules").answer')
    assert.equal("int64", run 'return require("wick.schema").int64({}).kind')
    assert.equal(1000, run 'return require("wick.units").duration "1s"')
    assert.equal("[1]", run 'return require("cjson").encode { 1 }')
  end)

  it("requires nothing else", function()
    assert.matches('^init.lua:1: plugins may require wick.schema', refusal 'require "wick.native"')
    assert.matches('^init.lua:1: no module "socket": plugin hello may require its own files %(hello.x%)', refusal 'require "socket"')
    assert.matches('^init.lua:1: no module "hello.nowhere"', refusal 'require "hello.nowhere"')
    assert.matches("broken.lua:1: oops", refusal 'require "hello.broken"')
    assert.matches("require wants the name of a module", refusal "require(1)")
  end)

  it("takes no bytecode", function()
    assert.is_nil((load(string.dump(function() return 1 end), "x", "t", {})))
  end)
end)
