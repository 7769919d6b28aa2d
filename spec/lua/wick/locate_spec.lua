-- Each key of the table that a file returns is found on its line, and code around it does not confuse that.

local locate = require "wick.locate"

describe("locate", function()
  it("finds names, nested names and list entries", function()
    assert.same({
      listen = 2, log = 3, ["log.level"] = 4, ["log.format"] = 5, plugins = 7, ["plugins[1]"] = 7, ["plugins[2]"] = 8,
      ["plugins.registry"] = 9, ["plugins.registry.list_ttl"] = 9, admin = 11,
    }, locate [[
return {
  listen = "a:1",
  log = {
    level = "info",
    format = "json"
  },
  plugins = { "accounts",
    "registry",
    registry = { list_ttl = "1s" },
  },
  ["admin"] = false,
}]])
  end)

  it("reads past comments, long texts and escapes", function()
    local lines = locate [==[
-- return { wrong = 1 }
--[[ return {
  wrong = 2 } ]]
local text = [=[ return { wrong = 3 ]] }
]=]
return { -- a comment = 5
  a = "quote \" } ,",
  b = 'x',
  --[[ c = 1, ]] d = [[ } ]],
  e = 1,
}]==]
    assert.same({ a = 7, b = 8, d = 9, e = 10 }, lines)
  end)

  it("is not led astray by calls, conditions and functions", function()
    local lines = locate [[
local function pick(a, b) return { wrong = a } end
return {
  a = env("A", { x = 1, y = 2 }),
  b = env "B" and {
    c = 1,
  },
  d = function(req, cx)
    local p, q = 1, 2
    if p then return { wrong = q } end
    for k, v in pairs {} do q = v end
    repeat p = 1 until true
    return p, q
  end,
  e = x == y,
  ("f"):upper(),
  function() return 1 end,
  { g = 1 },
}]]
    assert.same({ a = 3, b = 4, ["b.c"] = 5, d = 7, e = 14, ["[1]"] = 15, ["[2]"] = 16, ["[3]"] = 17, ["[3].g"] = 17 }, lines)
  end)

  it("follows routes of a plugin", function()
    local lines = locate [[
return {
  routes = {
    { "GET", "/a", name = "a",
      handler = function(req, cx) local a, b = 1, 2 return a end,
      cache = { ttl = "1s" } },
    { "GET", "/b" },
  },
}]]
    assert.equal(3, lines["routes[1]"])
    assert.equal(3, lines["routes[1].name"])
    assert.equal(5, lines["routes[1].cache.ttl"])
    assert.equal(6, lines["routes[2]"])
    assert.equal(6, lines["routes[2][2]"])
  end)

  it("knows numbered keys", function()
    assert.same({ ["[3]"] = 1, ["[3].a"] = 1 }, locate "return { [3] = { a = 1 } }")
    assert.same({ ["[1.5]"] = 1, ["[2]"] = 1, ["[1e+300]"] = 1 }, locate "return { [1.5] = 1, [2.0] = 1, [1e300] = 1 }")
  end)

  it("finds nothing where there is no table", function()
    for _, source in ipairs { "", "return 1", "x = {", "return", "return {", "}{ return )", "return { a = " } do
      assert.is_table(locate(source))
    end
    assert.same({}, locate "local t = { a = 1 }")
  end)
end)
