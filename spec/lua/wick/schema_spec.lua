-- A schema takes what it should, turns it into what handlers expect, and says everything that is wrong with the rest.

require "spec.lua.support.native"
local S = require "wick.schema"

-- All errors as "path: text", in order.
local function errors_of(shape, value, source, secrets)
  local checked, errors = S.check(shape, value, source, secrets)
  assert.is_nil(checked)
  local out = {}
  for i, err in ipairs(errors) do
    out[i] = (#err.path > 0 and S.path_text(err.path) .. ": " or "") .. err.text
  end
  return out
end

local function error_of(...)
  local errors = errors_of(...)
  assert.equal(1, #errors)
  return errors[1]
end

local function takes(shape, value, source)
  local checked, errors = S.check(shape, value, source)
  assert.is_nil(errors)
  return checked
end

describe("S.int64", function()
  local port = S.int64 { min = 1, max = 65535 }

  it("takes whole numbers within its bounds", function()
    assert.equal(1, takes(port, 1))
    assert.equal(65535, takes(port, 65535))
    assert.equal(math.mininteger, takes(S.int64 {}, math.mininteger))
  end)

  it("refuses what is out of bounds or not whole", function()
    assert.equal("expected a whole number from 1 to 65535, got 70000", error_of(port, 70000))
    assert.equal("expected a whole number from 1 to 65535, got 0", error_of(port, 0))
    assert.equal("expected a whole number from 1 to 65535, got 80.5", error_of(port, 80.5))
    assert.equal('expected a whole number from 1 to 65535, got "80"', error_of(port, "80"))
    assert.equal("expected a whole number from 1 to 65535, got true", error_of(port, true))
    assert.equal("expected a whole number of at least 2, got 1", error_of(S.int64 { min = 2 }, 1))
    assert.equal("expected a whole number of at most 2, got 3", error_of(S.int64 { max = 2 }, 3))
  end)

  it("reads digits in parameters, and only digits that fit", function()
    assert.equal(80, takes(port, "80", "text"))
    assert.equal(math.mininteger, takes(S.int64 {}, "-9223372036854775808", "text"))
    assert.equal(math.maxinteger, takes(S.int64 {}, "9223372036854775807", "text"))
    for _, text in ipairs { "9223372036854775808", "1e3", "0x10", " 1", "1.0", "", "--1" } do
      assert.equal(("expected a whole number, got %q"):format(text), error_of(S.int64 {}, text, "text"))
    end
  end)
end)

describe("S.number", function()
  it("takes finite numbers within its bounds", function()
    assert.equal(1.5, takes(S.number { min = 0, max = 2 }, 1.5))
    assert.equal(2, takes(S.number {}, 2))
    assert.equal(-150.0, takes(S.number {}, "-1.5e2", "text"))
  end)

  it("refuses the others", function()
    assert.equal("expected a number from 0 to 2, got 2.5", error_of(S.number { min = 0, max = 2 }, 2.5))
    for _, value in ipairs { 0 / 0, math.huge, -math.huge, "1", {} } do
      errors_of(S.number {}, value)
    end
    for _, text in ipairs { "nan", "inf", "1e999", "0x1p4", "1e", "" } do
      errors_of(S.number {}, text, "text")
    end
  end)
end)

describe("S.decimal", function()
  it("keeps digits exactly as text", function()
    assert.equal("12.50", takes(S.decimal {}, "12.50"))
    assert.equal("-7", takes(S.decimal {}, -7))
    assert.equal('expected an exact decimal such as "12.50", got "1e5"', error_of(S.decimal {}, "1e5"))
  end)
end)

describe("S.boolean", function()
  it("takes true and false, and words for them in parameters", function()
    assert.is_true(takes(S.boolean {}, true))
    assert.is_false(takes(S.boolean {}, false))
    for text, value in pairs { ["true"] = true, ["1"] = true, ["false"] = false, ["0"] = false } do
      assert.equal(value, takes(S.boolean {}, text, "text"))
    end
    assert.equal('expected true or false, got "yes"', error_of(S.boolean {}, "yes", "text"))
    assert.equal('expected true or false, got "true"', error_of(S.boolean {}, "true"))
  end)

  it("has false as a default like any other", function()
    assert.same({ on = false }, takes(S.record { on = S.boolean { default = false } }, {}))
  end)
end)

describe("S.string", function()
  it("counts characters, not bytes", function()
    local shape = S.string { min_length = 2, max_length = 3 }
    assert.equal("äöü", takes(shape, "äöü"))
    assert.equal("expected text of 2 to 3 characters, got 4", error_of(shape, "äöüß"))
    assert.equal("expected text of 2 to 3 characters, got 1", error_of(shape, "ä"))
  end)

  it("refuses what the database cannot hold", function()
    assert.equal("must be valid UTF-8", error_of(S.string {}, "\xff"))
    assert.equal("must be valid UTF-8", error_of(S.string {}, "\xed\xa0\x80"))
    assert.matches("U%+0000", error_of(S.string {}, "a\0b"))
  end)

  it("knows formats and patterns", function()
    assert.equal("a@b.c", takes(S.string { format = "email" }, "a@b.c"))
    assert.equal('expected an e-mail address, got "a@b"', error_of(S.string { format = "email" }, "a@b"))
    assert.equal('expected a URL that starts with http:// or https://, got "ftp://x"', error_of(S.string { format = "url" }, "ftp://x"))
    assert.matches("expected a URL", error_of(S.string { format = "url" }, "http://x\r\ny"))
    assert.equal("http://x:8080/a?b=c", takes(S.string { format = "url" }, "http://x:8080/a?b=c"))
    assert.equal('must match the pattern ^%d+$, got "x"', error_of(S.string { pattern = "^%d+$" }, "x"))
    assert.has_error(function() S.string { format = "phone" } end)
  end)

  it("shows long and odd texts in one short line", function()
    assert.equal('expected an e-mail address, got "a\\nb"', error_of(S.string { format = "email" }, "a\nb"))
    assert.equal("expected an e-mail address, got a text of 500 characters", error_of(S.string { format = "email" }, ("x"):rep(500)))
  end)
end)

describe("S.enum", function()
  local status = S.enum { "running", "stopped", "failed", default = "stopped" }

  it("takes one of its words, and suggests the nearest", function()
    assert.equal("running", takes(status, "running"))
    assert.equal('must be one of running, stopped, failed, got "runing" (did you mean "running"?)', error_of(status, "runing"))
    assert.equal("expected one of running, stopped, failed, got 1", error_of(status, 1))
    assert.equal("stopped", takes(S.record { s = status }, {}).s)
  end)
end)

describe("S.uuid", function()
  it("takes the 36 characters in any case and gives them in small letters", function()
    assert.equal("01890a5d-ac96-774b-bcce-b302099a8057", takes(S.uuid {}, "01890A5D-AC96-774B-BCCE-B302099A8057"))
    for _, text in ipairs {
      "", "01890a5d-ac96-774b-bcce-b302099a805", "01890a5d-ac96-774b-bcce-b302099a80577", "g1890a5d-ac96-774b-bcce-b302099a8057",
      "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}", "01890a5d-ac96-774b-bcce-b302099a8057\n",
    } do
      assert.matches("^expected a UUID", error_of(S.uuid {}, text))
    end
  end)
end)

it("S.list leaves nothing out that was written in Lua", function()
  local names = S.list(S.string {}, { optional = true })
  assert.same({ "a", "b" }, takes(names, { "a", "b" }, "lua"))
  assert.same({ "[3]: is not known here: a list has numbers from 1 on, without gaps, and no names",
    "extra: is not known here: a list has numbers from 1 on, without gaps, and no names" },
    errors_of(names, { "a", extra = false, [3] = "c" }, "lua"))
end)

it("a default of many parts is checked as a whole, too", function()
  local range = S.record({ from = S.int64 { default = 5 }, to = S.int64 { default = 4 } }, { default = {}, check = function(value)
    return value.from <= value.to, "from must not be above to"
  end })
  assert.equal("from must not be above to", error_of(range, nil))
end)

it("a long text is counted in characters", function()
  assert.matches("got a text of 30 characters$", error_of(S.int64 {}, ("ä"):rep(30), "lua"))
  assert.matches("got a text of 50 bytes$", error_of(S.int64 {}, ("\xff"):rep(50), "lua"))
end)

it("S.enum takes a list that stands elsewhere, and leaves it as it is", function()
  local levels = { "low", "high" }
  local level = S.enum(levels, { default = "low" })
  assert.equal("low", takes(level, nil))
  assert.equal("high", takes(level, "high"))
  assert.equal('must be one of low, high, got "other"', error_of(level, "other"))
  assert.same({ "low", "high" }, levels)
end)

describe("S.timestamp", function()
  local known = { -- the right side is what PostgreSQL 15 prints for the left one with timezone = 'UTC'
    ["2026-11-23T14:02:22Z"] = "2026-11-23 14:02:22+00",
    ["2026-11-23t14:02:22z"] = "2026-11-23 14:02:22+00",
    ["2026-11-23 14:02:22+00"] = "2026-11-23 14:02:22+00",
    ["2026-11-23T14:02:22.5Z"] = "2026-11-23 14:02:22.5+00",
    ["2026-11-23T14:02:22.120Z"] = "2026-11-23 14:02:22.12+00",
    ["2026-11-23T14:02:22.000Z"] = "2026-11-23 14:02:22+00",
    ["2026-11-23T14:02:22.123456Z"] = "2026-11-23 14:02:22.123456+00",
    ["2026-11-23T14:02:22.123456+00:00"] = "2026-11-23 14:02:22.123456+00",
    ["2026-11-23T14:02:22+01:00"] = "2026-11-23 13:02:22+00",
    ["2026-11-23T14:02:22+0130"] = "2026-11-23 12:32:22+00",
    ["2026-11-23T14:02:22-08"] = "2026-11-23 22:02:22+00",
    ["2026-11-23T00:00:00+14:00"] = "2026-11-22 10:00:00+00",
    ["2026-01-01T00:30:00+01:00"] = "2025-12-31 23:30:00+00",
    ["2025-12-31T23:30:00-01:00"] = "2026-01-01 00:30:00+00",
    ["2024-03-01T00:00:00+05:45"] = "2024-02-29 18:15:00+00",
    ["2023-03-01T00:00:00+05:45"] = "2023-02-28 18:15:00+00",
    ["2000-02-29T23:59:59-00:01"] = "2000-03-01 00:00:59+00",
    ["1900-02-28T23:59:59-00:01"] = "1900-03-01 00:00:59+00",
    ["1970-01-01T00:00:00-12:00"] = "1970-01-01 12:00:00+00",
    ["1969-12-31T23:59:59+00:00"] = "1969-12-31 23:59:59+00",
    ["1969-12-31T23:59:59-00:30"] = "1970-01-01 00:29:59+00",
    ["0001-01-02T00:00:00+01:00"] = "0001-01-01 23:00:00+00",
    ["9999-12-31T23:00:00-00:30"] = "9999-12-31 23:30:00+00",
    ["2026-06-30T12:00:00.999999+05:30"] = "2026-06-30 06:30:00.999999+00",
  }

  it("gives UTC as PostgreSQL writes it", function()
    for text, utc in pairs(known) do
      assert.equal(utc, takes(S.timestamp {}, text), text)
    end
  end)

  it("agrees with the clock of the system over four centuries", function()
    for days = -135000, 10000, 97 do
      local at = days * 86400 + 3723
      local local_text = os.date("!%Y-%m-%dT%H:%M:%S+01:00", at)
      assert.equal(os.date("!%Y-%m-%d %H:%M:%S+00", at - 3600), takes(S.timestamp {}, local_text))
    end
  end)

  it("refuses what is no point in time", function()
    for _, text in ipairs {
      "", "2026-11-23", "2026-11-23T14:02:22", "2026-11-23T14:02Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
      "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
      "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:001Z", "2026-01-01T00:00:00.1.2Z",
      "2026-01-01T00:00:00.1234567890Z",
      "2026-01-01T00:00:00+15:00", "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+1", "2026-01-01T00:00:00+01:3",
      "2026-01-01T00:00:00+01:",
      "2026-01-01T00:00:00UTC", "2026-01-01T00:00:00Z ", "26-01-01T00:00:00Z", "0000-12-31T00:00:00Z", "0001-01-01T00:00:00+01:00",
      "9999-12-31T23:59:59-00:30", "now",
    } do
      assert.matches("^expected a time such as 2026%-11%-23T14:02:22Z, got ", error_of(S.timestamp {}, text), 1, text)
    end
    assert.matches("got 1700000000$", error_of(S.timestamp {}, 1700000000))
  end)
end)

describe("S.duration and S.bytes", function()
  it("give milliseconds and bytes, defaults too", function()
    local shape = S.record { ttl = S.duration { default = "30s" }, size = S.bytes { default = "1MiB" } }
    assert.same({ ttl = 30000, size = 1048576 }, takes(shape, {}))
    assert.same({ ttl = 5, size = 1 }, takes(shape, { ttl = "5ms", size = "1B" }))
  end)

  it("keep their bounds, ends included", function()
    local shape = S.duration { min = "1s", max = "1m" }
    assert.equal(1000, takes(shape, "1s"))
    assert.equal(60000, takes(shape, "60s"))
    assert.equal('expected a duration such as "30s" from 1s to 1m, got "61s"', error_of(shape, "61s"))
    assert.equal('expected a duration such as "30s" from 1s to 1m, got "999ms"', error_of(shape, "999ms"))
    assert.equal('expected a size such as "64MiB" of at most 1KiB, got "2KiB"', error_of(S.bytes { max = "1KiB" }, "2KiB"))
    assert.equal('expected text with a unit such as "30s", got number', error_of(shape, 5))
  end)

  it("refuse a default or a bound that is none, when the schema is made", function()
    assert.has_error(function() S.duration { min = "soon" } end)
    assert.has_error(function() S.check(S.record { t = S.duration { default = "soon" } }, {}) end)
  end)
end)

describe("S.record", function()
  local shape = S.record {
    name = S.string { min_length = 1 }, port = S.int64 { min = 1, optional = true }, labels = S.map(S.string {}, { optional = true }),
    health = S.record({ every = S.duration { default = "10s" }, path = S.string { default = "/" } }, { default = {} }),
  }

  it("fills in defaults, those of records in it included, and changes no input", function()
    local input = { name = "a" }
    assert.same({ name = "a", health = { every = 10000, path = "/" } }, takes(shape, input))
    assert.same({ name = "a" }, input)
    assert.same({ every = 1000, path = "/" }, takes(shape, { name = "a", health = { every = "1s" } }).health)
  end)

  it("gives each value a default of its own", function()
    local list = S.record { tags = S.list(S.string {}, { default = {} }), any = S.any { default = { 1 } } }
    local one, other = takes(list, {}), takes(list, {})
    one.tags[1], one.any[1] = "x", 2
    assert.same({ tags = {}, any = { 1 } }, other)
  end)

  it("says everything that is wrong at once, in a settled order", function()
    assert.same({
      "health.every: expected text with a unit such as \"30s\", got boolean",
      "health.pth: is not known here (did you mean \"path\"?)",
      "labels.team: expected text, got 1",
      "name: is required: expected text of at least 1 characters",
      "port: expected a whole number of at least 1, got 0",
      "nmae: is not known here (did you mean \"name\"?)",
      "zebra: is not known here",
    }, errors_of(shape, { port = 0, labels = { team = 1 }, nmae = "x", zebra = 1, health = { every = true, pth = "/" } }))
  end)

  it("names the first fifty mistakes, suggests for the first few, and takes no time for the others", function()
    local value, many = { naem = "x" }, {}
    for i = 1, 20000 do
      value[("nome%06d%s"):format(i, ("x"):rep(40))] = i
      many[i] = "no number"
    end
    local begun = os.clock()
    local _, errors = S.check(S.record { name = S.string {}, number = S.int64 {} }, value, "json")
    assert.is_true(os.clock() - begun < 0.2 * (tonumber(os.getenv "WICK_SLOW") or 3))
    assert.equal(51, #errors)
    assert.equal("there are more mistakes than these 50", errors[51].text)
    assert.matches('did you mean "name"', errors[3].text)
    _, errors = S.check(S.map(S.boolean {}), value, "json")
    assert.equal(51, #errors)
    for _, one in ipairs { S.list(S.int64 {}), S.list(S.any_of { S.int64 {}, S.boolean {} }) } do
      _, errors = S.check(one, many, "lua")
      assert.equal(51, #errors)
    end
  end)

  it("takes an object and nothing else", function()
    assert.equal("expected an object, got a list", error_of(shape, { 1, 2 }))
    assert.equal("expected an object, got a list", error_of(S.record {}, require("wick.native").json.array {}))
    assert.equal('expected an object, got "x"', error_of(shape, "x"))
    assert.equal("must not be null: expected a table with health, labels, name, port", error_of(shape, S.null))
    assert.equal("expected a table, got true", error_of(shape, true, "lua"))
  end)

  it("lets unknown fields pass where it says so", function()
    assert.same({ a = 1, b = { 2 } }, takes(S.record({ a = S.int64 {} }, { rest = true }), { a = 1, b = { 2 } }))
  end)

  it("runs a check of the whole when its parts are right", function()
    local range = S.record({ low = S.int64 {}, high = S.int64 {} }, {
      check = function(value) return value.low <= value.high or nil, "low must not be above high" end,
    })
    assert.same({ low = 1, high = 2 }, takes(range, { low = 1, high = 2 }))
    assert.equal("low must not be above high", error_of(range, { low = 3, high = 2 }))
    assert.same({ "high: is required: expected a whole number" }, errors_of(range, { low = 3 }))
    assert.same({ low = 3 }, takes(range:pick "low", { low = 3 }))
    assert.same({ low = 3 }, takes(range:partial(), { low = 3 }))
  end)

  it("says where a field is that is no schema", function()
    assert.has_error(function() S.record { a = "text" } end,
      'field "a" of a record must be a schema, as in S.record { name = S.string {} }; got "text"')
    assert.has_error(function() S.record { S.int64 {} } end,
      "the fields of a record have names, as in S.record { name = S.string {} }; got 1")
  end)

  it("names its fields in the order that is asked for, then by the alphabet", function()
    local fields = { a = S.any {}, b = S.any {}, c = S.any {}, z = S.any {} }
    assert.same({ "z", "b", "a", "c" }, S.record(fields, { order = { "z", "b" } }).names)
  end)
end)

describe("pick, omit and partial", function()
  local shape = S.record({
    id = S.uuid {}, name = S.string { min_length = 1 }, port = S.int64 { default = 80, min = 1, nullable = true },
  }, { order = { "id", "name", "port" } })

  it("make records of some fields", function()
    assert.same({ "name", "port" }, shape:pick("port", "name").names)
    assert.same({ "id", "name" }, shape:omit("port").names)
    assert.same({ name = "a", port = 80 }, takes(shape:pick("name", "port"), { name = "a" }))
    assert.equal("id: is not known here", error_of(shape:pick "name", { name = "a", id = "x" }))
  end)

  it("partial asks for nothing and fills in nothing, but checks what is there", function()
    local partial = shape:partial()
    assert.same({}, takes(partial, {}))
    assert.same({ port = 8080 }, takes(partial, { port = 8080 }))
    assert.equal(S.null, takes(partial, { port = S.null }).port)
    assert.equal("port: expected a whole number of at least 1, got 0", error_of(partial, { port = 0 }))
    assert.equal("name: expected text of at least 1 characters, got 0", error_of(partial, { name = "" }))
    assert.matches("^name: must not be null", error_of(partial, { name = S.null }))
    assert.same({ id = "01890a5d-ac96-774b-bcce-b302099a8057", name = "a", port = 80 }, -- the original is as it was
      takes(shape, { id = "01890a5d-ac96-774b-bcce-b302099a8057", name = "a" }))
  end)

  it("know their fields", function()
    assert.has_error(function() shape:pick "nme" end, 'no field "nme" (did you mean "name"?)')
    assert.has_error(function() shape:omit "port2" end, 'no field "port2" (did you mean "port"?)')
  end)
end)

describe("S.list and S.map", function()
  it("check each item and count them", function()
    local list = S.list(S.int64 { min = 0 }, { min_items = 1, max_items = 3 })
    assert.same({ 1, 2, 3 }, takes(list, { 1, 2, 3 }))
    assert.equal("expected a list of 1 to 3 items, got 4", error_of(list, { 1, 2, 3, 4 }))
    assert.equal("expected a list of 1 to 3 items, got 0", error_of(list, {}))
    assert.same({ "[1]: expected a whole number of at least 0, got -1", "[3]: expected a whole number of at least 0, got true" },
      errors_of(list, { -1, 0, true }))
    assert.equal('expected a list (JSON array), got "x"', error_of(list, "x"))
    assert.equal("expected a list (JSON array), got an object", error_of(list, { a = 1 }))
    assert.equal("expected text, got an object", error_of(S.string {}, { a = 1 }))
    assert.equal("expected a list, got a table", error_of(list, { a = 1 }, "lua"))
  end)

  it("take one parameter for a list of one", function()
    assert.same({ "a" }, takes(S.list(S.string {}), "a", "text"))
    assert.same({ "a", "b" }, takes(S.list(S.string {}), { "a", "b" }, "text"))
  end)

  it("leave lists lists and objects objects when they are empty", function()
    local json = require("wick.native").json
    assert.is_true(json.is_array(takes(S.list(S.string {}), json.array {})))
    assert.is_false(json.is_array(takes(S.map(S.string {}), {})))
  end)

  it("check names and values of maps", function()
    local map = S.map(S.string { max_length = 3 }, { max_items = 2, key_pattern = "^%l+$" })
    assert.same({ a = "x", b = "y" }, takes(map, { a = "x", b = "y" }))
    assert.equal("expected at most 2 entries, got 3", error_of(map, { a = "x", b = "y", c = "z" }))
    assert.equal("A: is not a name that is allowed here", error_of(map, { A = "x" }))
    assert.equal("a: expected text of at most 3 characters, got 4", error_of(map, { a = "long" }))
    assert.equal("expected an object, got a list", error_of(map, { "x" }))
  end)

  it("refuse names that the database cannot hold", function()
    local text = "must not contain the character U+0000, which the database cannot hold"
    for _, map in ipairs { S.map(S.int64 {}), S.map(S.any {}), S.map(S.int64 {}, { key_pattern = "^%l+$" }) } do
      assert.equal("a\0b: " .. text, error_of(map, { ["a\0b"] = 1 }))
    end
    assert.is_false(S.fits(S.map(S.int64 {}), { ["\0"] = 1 }))
  end)

  it("take null in maps of anything, and only there", function()
    assert.same({ a = S.null }, takes(S.map(S.any {}), { a = S.null }))
    assert.matches("^a: must not be null", error_of(S.map(S.string {}), { a = S.null }))
  end)
end)

describe("S.any", function()
  local text = "must not contain the character U+0000, which the database cannot hold"

  it("refuses what the database cannot hold, wherever it is", function()
    local bad = { "\0", "a\0b", { "x", "\0" }, { a = { b = { "\0" } } }, { ["\0"] = 1 }, { a = { { ["b\0"] = true } } } }
    for _, value in ipairs(bad) do
      for _, source in ipairs { "json", "text" } do
        assert.equal(text, error_of(S.any {}, value, source))
      end
      assert.is_false(S.fits(S.any {}, value))
      assert.equal("a: " .. text, error_of(S.map(S.any {}), { a = value }))
      assert.equal("a: " .. text, error_of(S.record({ b = S.int64 {} }, { rest = true }), { a = value, b = 1 }))
      assert.is_false(S.fits(S.record({ b = S.int64 {} }, { rest = true }), { a = value, b = 1 }))
    end
    assert.equal("a\0: " .. text, error_of(S.record({}, { rest = true }), { ["a\0"] = 1 }))
    assert.is_false(S.fits(S.record({ b = S.int64 {} }, { rest = true }), { ["a\0"] = 1, b = 1 }))
  end)

  it("takes everything else, and in Lua whatever there is", function()
    for _, value in ipairs { "", "a", 1, true, S.null, { "x", { a = S.null } }, { ["ä"] = "\1" } } do
      assert.equal(value, takes(S.any {}, value))
      assert.is_true(S.fits(S.any {}, value))
    end
    local circle = { pattern = "[^\0]", call = print }
    circle.circle = circle
    assert.equal(circle, takes(S.any {}, circle, "lua"))
  end)
end)

describe("a schema that is written wrongly", function()
  local function why(fn) return (select(2, pcall(fn))) end

  it("is a mistake where it is written, also where something else stands in the place of a schema", function()
    local here = debug.getinfo(1, "l").currentline
    for i, made in ipairs {
      function() local list = S.list {} return list end,
      function() local list = S.list({ max_items = 3 }) return list end,
      function() local map = S.map "text" return map end,
      function() local either = S.any_of({ S.int64 {}, { "text" } }) return either end,
      function() local either = S.any_of {} return either end,
      function() local either = S.any_of(S.int64 {}) return either end,
      function() local record = S.record { a = {} } return record end,
      function() local record = S.record(S.int64 {}) return record end,
      function() local record = S.record() return record end,
    } do
      assert.matches(("schema_spec.lua:%d: .*as in S%%.%%l+.*; got "):format(here + 1 + i), why(made))
    end
    assert.matches("the items of a list must be a schema, as in S.list(S.string {}); got a table", why(function() S.list {} end), 1, true)
    assert.matches('choice 2 must be a schema, as in S.any_of({ S.int64 {}, S.string {} }); got "x"',
      why(function() S.any_of { S.int64 {}, "x" } end), 1, true)
    assert.matches("choice 2 must be a schema, as in S.any_of({ S.int64 {}, S.string {} }); got nothing",
      why(function() S.any_of { S.int64 {}, S.text, S.string {} } end), 1, true)
  end)

  it("is a mistake where it is written: a limit that is no number", function()
    for option, made in pairs {
      min = function() return { S.int64 { min = "1" } } end,
      max = function() return { S.number { max = 0/0 } } end,
      min_length = function() return { S.string { min_length = "5" } } end,
      max_length = function() return { S.enum { "a", max_length = {} } } end,
      min_items = function() return { S.list(S.string {}, { min_items = true }) } end,
      max_items = function() return { S.map(S.string {}, { max_items = "64" }) } end,
    } do
      assert.matches(("schema_spec.lua:%%d+: %s must be a number, not "):format(option), why(made))
    end
  end)

  it("is a mistake where it is written: a limit that is misspelt would be none", function()
    assert.matches('schema_spec.lua:%d+: a schema of kind string has no option "max_lenght" %(did you mean "max_length"%?%)',
      why(function() local shape = S.string { max_lenght = 3 } return shape end))
    local words = 'schema_spec.lua:%d+: a schema of kind string has no option '
    assert.matches(words .. '"min"', why(function() return { S.enum { "a", min = 1 } } end))
    assert.matches(words .. '"len"', why(function() return { S.secret { len = 1 } } end))
    assert.matches("the options of a schema are a table, not 5", why(function() return { S.int64(5) } end))
    assert.matches("format is email, url or slug, not \"mail\"", why(function() return { S.string { format = "mail" } } end))
    for _, options in ipairs { { min = 2 }, { pattern = "x" } } do
      assert.has_error(function() return S.list(S.string {}, options) end)
      assert.has_error(function() return S.map(S.string {}, options) end)
      assert.has_error(function() return S.record({}, options) end)
      assert.has_error(function() return S.uuid(options) end)
    end
  end)

  it("is one when nothing would fit", function()
    assert.matches("min %(5%) is larger than max %(1%)", why(function() return { S.int64 { min = 5, max = 1 } } end))
    assert.matches("min_items %(2%) is larger", why(function() return { S.list(S.any {}, { min_items = 2, max_items = 1 }) } end))
    assert.matches("an enum needs at least one text", why(function() return { S.enum {} } end))
  end)
end)

describe("S.any_of", function()
  it("takes the first that fits", function()
    local shape = S.any_of { S.literal(false), S.literal("auto"), S.int64 { min = 1, max = 256 } }
    assert.is_false(takes(shape, false))
    assert.equal("auto", takes(shape, "auto"))
    assert.equal(4, takes(shape, 4))
    assert.equal('expected false, or auto, or a whole number from 1 to 256, got "many"', error_of(shape, "many"))
  end)

  it("speaks of the choice that was meant: a table means the record", function()
    local shape = S.record { db = S.any_of { S.literal(false), S.record { url = S.string {}, size = S.int64 { default = 5 } } } }
    assert.same({ db = { url = "x", size = 5 } }, takes(shape, { db = { url = "x" } }))
    assert.same({ "db.url: is required: expected text", "db.ulr: is not known here (did you mean \"url\"?)" },
      errors_of(shape, { db = { ulr = "x" } }))
  end)

  it("reads its default as one of its choices", function()
    assert.same({ ttl = 1000 }, takes(S.record { ttl = S.any_of({ S.literal(false), S.duration {} }, { default = "1s" }) }, {}))
  end)
end)

describe("errors", function()
  it("have JSON pointers that count from 0 and escape", function()
    assert.equal("/labels/1/team", S.pointer { "labels", 2, "team" })
    assert.equal("/a~1b/m~0n", S.pointer { "a/b", "m~n" })
    assert.equal("", S.pointer {})
    assert.equal("labels[2].team", S.path_text { "labels", 2, "team" })
    assert.equal("(the whole)", S.path_text {})
  end)

  it("run the check of a field last, with the checked value", function()
    local seen
    local shape = S.timestamp { check = function(value)
      seen = value
      return nil, "is in the past"
    end }
    assert.equal("is in the past", error_of(shape, "2020-01-01T01:00:00+01:00"))
    assert.equal("2020-01-01 00:00:00+00", seen)
  end)
end)

describe("secrets", function()
  local secret = "hunter2-hunter2"

  local function hides(shape, value, source, secrets)
    for _, text in ipairs(errors_of(shape, value, source, secrets)) do
      assert.is_nil(text:find("hunter2", 1, true), text)
    end
  end

  it("are in no error about themselves", function()
    hides(S.secret { min_length = 100 }, secret)
    hides(S.secret { max_length = 2 }, secret)
    hides(S.secret {}, { secret })
    hides(S.string { is_secret = true, max_length = 3 }, secret)
    hides(S.string { is_secret = true, pattern = "^%d+$" }, secret)
    assert.equal("expected text, got a number", error_of(S.string { is_secret = true }, 1234567))
    assert.equal("expected text, got a number", error_of(S.secret {}, 1234567))
  end)

  it("are in no error about what should hold them", function()
    local record = S.record { password = S.secret {}, name = S.string { optional = true } }
    hides(record, secret)
    hides(S.list(S.secret {}), secret)
    hides(S.map(S.secret {}), secret)
    hides(S.any_of { S.literal(false), record }, secret)
    hides(S.any_of { S.literal(false), S.record { inner = S.list(record) } }, secret)
    assert.equal("expected false, or a table with name, password, got a text, which is not shown",
      error_of(S.any_of { S.literal(false), record }, secret))
  end)

  it("are in no error about anything, when the caller knows them", function()
    local known = { [secret] = "the environment variable PW" }
    hides(S.int64 {}, secret, "lua", known)
    hides(S.enum { "a" }, secret, "lua", known)
    hides(S.duration {}, secret, "lua", known)
    hides(S.duration { max = "1s" }, secret .. "s", "lua", known)
    hides(S.uuid {}, "prefix-" .. secret, "lua", known)
    hides(S.any_of { S.literal("x"), S.int64 {} }, secret, "lua", known)
    assert.equal("expected a whole number, got the value of the environment variable PW, which is not shown",
      error_of(S.int64 {}, secret, "lua", known))
  end)
end)

describe("S.fits", function()
  it("asks no check that could edit its value: the one that explains will, once", function()
    local asked = 0
    local function edit(value)
      asked = asked + 1
      value.n = (value.n or 0) + 1
      return value.n == 1, "was edited before"
    end
    for _, shape in ipairs {
      S.record({ n = S.int64 { optional = true } }, { check = edit }), S.map(S.int64 {}, { check = edit }), S.any { check = edit },
    } do
      local value = { n = 0 }
      asked = 0
      assert.is_false(S.fits(shape, value))
      assert.same({ 0, 0 }, { value.n, asked })
      assert.is_truthy(S.check(shape, value))
      assert.equal(1, asked)
    end
  end)

  it("takes no text with U+0000, though it may be one of the choices", function()
    local shape = S.string { one_of = { "a", "a\0b" } }
    assert.is_nil((S.check(shape, "a\0b")))
    assert.is_false(S.fits(shape, "a\0b"))
    assert.is_true(S.fits(shape, "a"))
  end)

  local native = require "spec.lua.support.native"
  local null, array, object = native.json.null, native.json.array, native.json.object
  local UUID = "01890a5d-ac96-774b-bcce-b302099a8057"

  local Service = S.record {
    id = S.uuid {}, name = S.string { min_length = 1, max_length = 10 }, status = S.enum { "running", "stopped" },
    port = S.int64 { min = 1, max = 65535, optional = true }, labels = S.map(S.string {}, { max_items = 2, key_pattern = "^[a-z]+$" }),
    hosts = S.list(S.record { host = S.string {} }, { max_items = 2 }), note = S.string { nullable = true, optional = true },
  }
  local function service(changes)
    local value = { id = UUID, name = "web", status = "running", port = 80, labels = { a = "b" }, hosts = array { { host = "x" } } }
    for key, entry in pairs(changes or {}) do value[key] = entry end
    return value
  end

  it("takes what is right as it stands", function()
    for _, changes in ipairs { {}, { note = null }, { note = "n" }, { hosts = array {} }, { name = ("ä"):rep(10) } } do
      assert.is_true(S.fits(Service, service(changes)))
    end
    assert.is_true(S.fits(S.secret { min_length = 3 }, "abc"))
    assert.is_true(S.fits(S.literal(7), 7))
    assert.is_true(S.fits(S.record({ a = S.boolean {} }, { rest = true }), { a = false, b = array { 1 } }))
  end)

  it("leaves to the check what is wrong, lacks a default, or has to be turned", function()
    local others = {
      { id = UUID:upper() }, { id = "x" }, { name = "" }, { name = ("ä"):rep(11) }, { name = "a\0b" }, { status = "gone" }, { port = 0 },
      { port = 80.0 }, { port = "80" }, { port = null }, { labels = {} }, { labels = { A = "b" } }, { labels = { a = 1 } },
      { labels = { a = "1", b = "2", c = "3" } }, { labels = array { "a" } }, { hosts = {} }, { hosts = array { { host = 1 } } },
      { labels = { ["a\0"] = "b" } },
      { hosts = array { { host = "x", port = 1 } } }, { hosts = array { {}, {}, {} } }, { unknown = 1 }, { note = 1 }, { [1] = "x" },
    }
    for _, changes in ipairs(others) do
      assert.is_false(S.fits(Service, service(changes)))
    end
    assert.is_false(S.fits(Service, array {}))
    assert.is_false(S.fits(Service, object {}))
    assert.is_false(S.fits(Service, nil))
    assert.is_false(S.fits(S.record { a = S.int64 { default = 1 } }, {}))
    assert.is_false(S.fits(S.record { a = S.duration {} }, { a = "1s" }))
    assert.is_false(S.fits(S.literal(null), null))
    assert.is_false(S.fits(S.int64 { check = function(value) return value % 2 == 0, "must be even" end }, 3))
    local loop = S.record { name = S.string {} }
    loop.fields.inner = S.list(loop, { optional = true })
    assert.is_false(S.fits(loop, { name = "x" }))
  end)

  it("never takes what the check refuses or changes", function()
    math.randomseed(4508252)
    local atoms = {
      null, true, false, 0, 1, -1, 80, 65536, 2^53, 0.5, 1/0, "", "a", "running", "a\0", ("é"):rep(9), UUID, UUID:upper(), "1s",
      "12.50", "x@example.org", "http://h/",
    }
    local shapes = {
      Service, S.int64 { min = 0, max = 80 }, S.number { max = 1 }, S.boolean {}, S.decimal {}, S.uuid { nullable = true }, S.string {},
      S.string { format = "email" }, S.string { format = "url", max_length = 9 }, S.string { pattern = "^a" }, S.enum { "a", "running" },
      S.secret { max_length = 8 }, S.any {}, S.literal(false), S.duration {}, S.timestamp {}, S.any_of { S.int64 {}, S.string {} },
      S.list(S.int64 {}, { min_items = 1 }), S.list(S.string { nullable = true }), S.map(S.any {}, { max_items = 1 }),
      S.record { a = S.int64 {}, b = S.string { optional = true } }, S.record({ a = S.any { default = 1 } }, { rest = true }),
    }
    local function value_of(depth)
      local kind = math.random(depth > 2 and 1 or 3)
      if kind <= 1 then return atoms[math.random(#atoms)] end
      local out = kind == 2 and array {} or {}
      for i = 1, math.random(0, 3) do
        out[kind == 2 and i or ({ "a", "b", "name", "a\0" })[math.random(4)]] = value_of(depth + 1)
      end
      return kind == 3 and next(out) == nil and object(out) or out
    end
    local fitting = 0
    for _ = 1, 20000 do
      local value, shape = value_of(0), shapes[math.random(#shapes)]
      if S.fits(shape, value) then
        fitting = fitting + 1
        local checked, errors = S.check(shape, value, "json")
        assert.is_nil(errors)
        assert.same(value, checked)
        assert.equal(math.type(value), math.type(checked))
      end
    end
    assert.is_true(fitting > 1000)
  end)
end)
