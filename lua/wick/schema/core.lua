--- The inside of a check: shapes, errors with their paths, and what every kind of shape is made with.

local suggest = require "wick.suggest"

local core = {}

local has_native, native = pcall(require, "wick.native")

--- Whether it is a string without U+0000.
core.is_text = has_native and native.is_text or function(value)
  return type(value) == "string" and not value:find("\0", 1, true)
end

-- JSON null is a light userdata with no address, the same one lua-cjson uses. Only wick marks its arrays and objects, so that
-- [] and {} stay what they are; elsewhere a table is what its keys say.
local json = (function()
  if has_native and native.json then
    return native.json
  end
  local function same(value)
    return value
  end
  local has_cjson, cjson = pcall(require, "cjson")
  return {
    null = has_cjson and cjson.null or setmetatable({}, { __tostring = function() return "null" end }),
    array = same, object = same, is_array = function(value) return #value > 0 end,
  }
end)()
local null = json.null
core.null = null

local Type = {}
core.Type, core.json = Type, json
Type.__index = Type

-- A value as an error shows it.
function core.plain(value)
  if value == nil then
    return "nothing"
  elseif value == null then
    return "null"
  elseif type(value) == "string" then
    if #value <= 40 then
      return (("%q"):format(value):gsub("\\\n", "\\n"))
    end
    local characters = utf8.len(value)
    return ("a text of %d %s"):format(characters or #value, characters and "characters" or "bytes")
  elseif type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  elseif type(value) == "table" then
    return json.is_array(value) and "a list" or "a table"
  end
  return "a " .. type(value)
end

-- True when values of this schema may hold a secret, so that no error may show them.
function core.holds_secret(shape)
  if shape.is_secret == nil then
    shape.is_secret = false -- for schemas that contain themselves
    local found = shape.of and core.holds_secret(shape.of) or false
    for _, one in ipairs(shape.choices or {}) do
      found = core.holds_secret(one) or found
    end
    for _, one in pairs(shape.fields or {}) do
      found = core.holds_secret(one) or found
    end
    shape.is_secret = found
  end
  return shape.is_secret
end

-- Where a text came from, when it holds the value of an environment variable or of a file: those are never shown.
function core.source_of(text, secrets)
  for secret, name in pairs(secrets or {}) do
    if text == secret or (#secret >= 4 and text:find(secret, 1, true)) then
      return name
    end
  end
  return nil
end

function core.describe(value, shape, cx)
  if type(value) == "string" then
    local name = core.source_of(value, cx.secrets)
    if name then
      return ("the value of %s, which is not shown"):format(name)
    elseif core.holds_secret(shape) then
      return "a text, which is not shown"
    end
  elseif type(value) == "number" and core.holds_secret(shape) then
    return "a number"
  end
  if type(value) == "table" and cx.source == "json" and value ~= null and not json.is_array(value) then
    return "an object"
  end
  return core.plain(value)
end

local ERRORS_MAX = 50

--- Notes one error; beyond ERRORS_MAX only that there are more, for whoever sends thousands may not keep a loop busy with them.
-- Those who go through many values stop when cx.is_full.
function core.add(cx, err)
  if cx.is_full then
    return
  elseif #cx.errors == ERRORS_MAX then
    cx.is_full = true
    err = { path = {}, text = ("there are more mistakes than these %d"):format(ERRORS_MAX) }
  end
  cx.errors[#cx.errors + 1] = err
end

function core.fail(cx, text)
  local path = {}
  for i = 1, cx.depth do
    path[i] = cx.path[i]
  end
  core.add(cx, { path = path, text = text })
end

core.ZERO = "must not contain the character U+0000, which the database cannot hold"

-- True when a text in `value` has U+0000, names included: JSON can say it, but PostgreSQL holds it neither in text nor in jsonb
-- (www.postgresql.org/docs/15/datatype-json.html), and what SQLite takes could never move there.
local function has_zero(value)
  if type(value) == "string" then
    return not core.is_text(value)
  elseif type(value) ~= "table" then
    return false
  end
  for key, entry in next, value do
    if has_zero(key) or has_zero(entry) then
      return true
    end
  end
  return false
end
core.has_zero = has_zero

local function copy(value)
  if type(value) ~= "table" or value == null then
    return value
  end
  local out = {}
  for k, v in pairs(value) do
    out[k] = copy(v)
  end
  return out
end

local COMPOSITE = { record = true, list = true, map = true, any_of = true }

local function read(shape, value, cx)
  local errors_before = #cx.errors
  local out = shape.read(shape, value, cx)
  if out ~= nil and shape.check and #cx.errors == errors_before then
    local fine, why = shape.check(out)
    if not fine then
      core.fail(cx, why or "is not acceptable")
      return nil
    end
  end
  return out
end

-- Checks one value; nil means "not there, and nothing to put in its place" or that an error was noted.
function core.check(shape, value, cx)
  if value == nil then
    if shape.default ~= nil then
      if COMPOSITE[shape.kind] then
        return read(shape, shape.default, cx) -- so that the defaults of its fields come in too
      end
      return shape.read_default and shape.read_default(shape.default) or copy(shape.default)
    end
    if not shape.optional then
      core.fail(cx, "is required: " .. shape:expects())
    end
    return nil
  end
  if value == null then
    if shape.nullable or shape.kind == "any" then
      return null
    end
    core.fail(cx, "must not be null: " .. shape:expects())
    return nil
  end
  return read(shape, value, cx)
end

function core.push(cx, key)
  cx.depth = cx.depth + 1
  cx.path[cx.depth] = key
end

function core.pop(cx)
  cx.depth = cx.depth - 1
end

--- Checks `value` against `shape`. Returns the checked value and nil, or nil and the list of errors.
-- secrets: texts that no error may show, each with the words for where it came from (optional).
function core.run(shape, value, source, secrets)
  local cx = { errors = {}, path = {}, depth = 0, source = source or "json", secrets = secrets }
  local out = core.check(shape, value, cx)
  if #cx.errors > 0 then
    return nil, cx.errors
  end
  return out
end

-- What each kind can be told, beside what all can.
local COMMON = { "doc", "default", "optional", "nullable", "check", "example", "show", "is_secret" }
local OPTIONS = {
  int64 = { "min", "max" }, number = { "min", "max" }, duration = { "min", "max" }, bytes = { "min", "max" },
  string = { "min_length", "max_length", "pattern", "format", "one_of" }, record = { "rest", "order" },
  list = { "min_items", "max_items" }, map = { "max_items", "key_pattern" },
}

-- The options that are numbers.
local NUMBERS = {
  int64 = { "min", "max" }, number = { "min", "max" }, string = { "min_length", "max_length" },
  list = { "min_items", "max_items" }, map = { "max_items" },
}

local function list_of(kind)
  local out = { table.unpack(COMMON) }
  table.move(OPTIONS[kind] or {}, 1, #(OPTIONS[kind] or {}), #out + 1, out)
  return out
end

-- A limit that is misspelt would be no limit.
local function mistake_of(kind, options)
  if type(options) ~= "table" then
    return ("the options of a schema are a table, not %s"):format(core.plain(options))
  end
  local known = list_of(kind)
  for name in pairs(options) do
    local is_known = false
    for _, one in ipairs(known) do
      is_known = is_known or one == name
    end
    if not is_known then
      return ("a schema of kind %s has no option %s%s"):format(kind, core.plain(name), suggest.phrase(name, known))
    end
  end
  for _, name in ipairs(NUMBERS[kind] or {}) do
    local limit = options[name]
    if limit ~= nil and (not math.type(limit) or limit ~= limit) then
      return ("%s must be a number, not %s"):format(name, core.plain(limit))
    end
  end
  for _, pair in ipairs { { "min", "max" }, { "min_length", "max_length" }, { "min_items", "max_items" } } do
    local least, most = options[pair[1]], options[pair[2]]
    if math.type(least) and math.type(most) and least > most then
      return ("%s (%s) is larger than %s (%s): nothing would fit"):format(pair[1], least, pair[2], most)
    end
  end
end

--- level: of the line that makes the shape, as error() counts; a function that returns what make gives has no level of its own.
function core.make(kind, options, fields, level)
  options = options or {}
  local why = mistake_of(kind, options)
  if why then
    error(why, level or 2)
  end
  local shape = setmetatable({ kind = kind }, Type)
  for k, v in pairs(options) do
    shape[k] = v
  end
  for k, v in pairs(fields) do
    shape[k] = v
  end
  return shape
end

--- In words, what is expected here: "text of at most 100 characters".
function Type:expects()
  return "expected " .. (self.words and self.words(self) or self.kind)
end

return core
