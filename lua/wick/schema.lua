--- Schemas: what a value must look like, told once; from it come validation, defaults, JSON Schema and documentation.
--
--   local Service = S.record { id = S.uuid {}, name = S.string { max_length = 100 }, port = S.int64 { min = 1, max = 65535 } }
--   local value, errors = S.check(Service, input, "json")
--
-- A field is required unless it has `default` or `optional = true`. All errors are reported at once, each as
-- { path = { "labels", "team" }, text = "..." }. Sources: "lua" (configuration: durations and sizes are text with units),
-- "json" (request bodies), "text" (query and path parameters: numbers and booleans arrive as text).
-- A checked value is a new table; the input is never changed.
--
-- Options of every type: doc, default, optional, nullable (JSON null allowed), check = function(value) return true | nil, why.

local units = require "wick.units"
local suggest = require "wick.suggest"

local S = {}

-- JSON null is a light userdata with no address, the same one lua-cjson uses. Only wick marks its arrays and objects, so that
-- [] and {} stay what they are; elsewhere a table is what its keys say.
local json = (function()
  local found, native = pcall(require, "wick.native")
  if found and native.json then
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
S.null = null

local Type = {}
Type.__index = Type

-- A value as an error shows it.
local function plain(value)
  if value == nil then
    return "nothing"
  elseif value == null then
    return "null"
  elseif type(value) == "string" then
    return #value <= 40 and ("%q"):format(value):gsub("\\\n", "\\n") or ("a text of %d characters"):format(#value)
  elseif type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  elseif type(value) == "table" then
    return json.is_array(value) and "a list" or "a table"
  end
  return "a " .. type(value)
end

-- True when values of this schema may hold a secret, so that no error may show them.
local function holds_secret(shape)
  if shape.is_secret == nil then
    shape.is_secret = false -- for schemas that contain themselves
    local found = shape.of and holds_secret(shape.of) or false
    for _, one in ipairs(shape.choices or {}) do
      found = holds_secret(one) or found
    end
    for _, one in pairs(shape.fields or {}) do
      found = holds_secret(one) or found
    end
    shape.is_secret = found
  end
  return shape.is_secret
end

-- Where a text came from, when it holds the value of an environment variable or of a file: those are never shown.
local function source_of(text, secrets)
  for secret, name in pairs(secrets or {}) do
    if text == secret or (#secret >= 4 and text:find(secret, 1, true)) then
      return name
    end
  end
  return nil
end

local function describe(value, shape, cx)
  if type(value) == "string" then
    local name = source_of(value, cx.secrets)
    if name then
      return ("the value of %s, which is not shown"):format(name)
    elseif holds_secret(shape) then
      return "a text, which is not shown"
    end
  elseif type(value) == "number" and holds_secret(shape) then
    return "a number"
  end
  return plain(value)
end

local function fail(cx, text)
  local path = {}
  for i = 1, cx.depth do
    path[i] = cx.path[i]
  end
  cx.errors[#cx.errors + 1] = { path = path, text = text }
end

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

-- Checks one value; nil means "not there, and nothing to put in its place" or that an error was noted.
local function check(shape, value, cx)
  if value == nil then
    if shape.default ~= nil then
      if COMPOSITE[shape.kind] then
        return shape.read(shape, shape.default, cx) -- so that the defaults of its fields come in too
      end
      return shape.read_default and shape.read_default(shape.default) or copy(shape.default)
    end
    if not shape.optional then
      fail(cx, "is required: " .. shape:expects())
    end
    return nil
  end
  if value == null then
    if shape.nullable or shape.kind == "any" then
      return null
    end
    fail(cx, "must not be null: " .. shape:expects())
    return nil
  end
  local errors_before = #cx.errors
  local out = shape.read(shape, value, cx)
  if out ~= nil and shape.check and #cx.errors == errors_before then
    local fine, why = shape.check(out)
    if not fine then
      fail(cx, why or "is not acceptable")
      return nil
    end
  end
  return out
end

local function push(cx, key)
  cx.depth = cx.depth + 1
  cx.path[cx.depth] = key
end

local function pop(cx)
  cx.depth = cx.depth - 1
end

--- Checks `value` against `shape`. Returns the checked value and nil, or nil and the list of errors.
-- secrets: texts that no error may show, each with the words for where it came from (optional).
function S.check(shape, value, source, secrets)
  local cx = { errors = {}, path = {}, depth = 0, source = source or "json", secrets = secrets }
  local out = check(shape, value, cx)
  if #cx.errors > 0 then
    return nil, cx.errors
  end
  return out
end

local function make(kind, options, fields)
  options = options or {}
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

-- --- numbers and booleans -------------------------------------------------------------------------------------------

local function range_words(shape, noun)
  if shape.min and shape.max then
    return ("%s from %s to %s"):format(noun, shape.min, shape.max)
  elseif shape.min then
    return ("%s of at least %s"):format(noun, shape.min)
  elseif shape.max then
    return ("%s of at most %s"):format(noun, shape.max)
  end
  return noun
end

local function in_range(shape, value, cx)
  if (shape.min and value < shape.min) or (shape.max and value > shape.max) then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  return value
end

local function read_int64(shape, value, cx)
  if cx.source == "text" and type(value) == "string" and value:match("^-?%d+$") then
    value = math.tointeger(tonumber(value)) or value
  end
  if math.type(value) ~= "integer" then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  return in_range(shape, value, cx)
end

--- Whole number of 64 bits: min, max.
function S.int64(options)
  return make("int64", options, { read = read_int64, words = function(shape) return range_words(shape, "a whole number") end })
end

local function read_number(shape, value, cx)
  if cx.source == "text" and type(value) == "string" and value:match("^-?%d+%.?%d*[eE]?[+-]?%d*$") then
    value = tonumber(value) or value
  end
  if type(value) ~= "number" or value ~= value or value == math.huge or value == -math.huge then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  return in_range(shape, value, cx)
end

--- Finite number: min, max.
function S.number(options)
  return make("number", options, { read = read_number, words = function(shape) return range_words(shape, "a number") end })
end

local function read_decimal(shape, value, cx)
  local text = math.type(value) and tostring(value) or value
  if type(text) ~= "string" or not text:match("^-?%d+%.?%d*$") then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  return text
end

--- Exact decimal, kept as text: "12.50".
function S.decimal(options)
  return make("decimal", options, { read = read_decimal, words = function() return 'an exact decimal such as "12.50"' end })
end

local TRUTH = { ["true"] = true, ["1"] = true, ["false"] = false, ["0"] = false }

local function read_boolean(shape, value, cx)
  if cx.source == "text" and TRUTH[value] ~= nil then
    value = TRUTH[value]
  end
  if type(value) ~= "boolean" then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  return value
end

function S.boolean(options)
  return make("boolean", options, { read = read_boolean, words = function() return "true or false" end })
end

-- --- text -----------------------------------------------------------------------------------------------------------

local FORMATS = {
  email = { "^[^%s@]+@[^%s@]+%.[^%s@]+$", "an e-mail address" },
  url = { "^https?://[^%s/]+", "a URL that starts with http:// or https://" },
  slug = { "^[a-z0-9][a-z0-9_-]*$", "lower-case letters, digits, - and _" },
}

local function string_words(shape)
  local words = shape.format and FORMATS[shape.format][2] or "text"
  if shape.min_length and shape.max_length then
    words = ("%s of %d to %d characters"):format(words, shape.min_length, shape.max_length)
  elseif shape.max_length then
    words = ("%s of at most %d characters"):format(words, shape.max_length)
  elseif shape.min_length then
    words = ("%s of at least %d characters"):format(words, shape.min_length)
  end
  return words
end

local function read_string(shape, value, cx)
  if type(value) ~= "string" then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  local length = utf8.len(value)
  if not length then
    fail(cx, "must be valid UTF-8")
  elseif (shape.min_length and length < shape.min_length) or (shape.max_length and length > shape.max_length) then
    fail(cx, ("%s, got %d"):format(shape:expects(), length))
  elseif value:find("\0", 1, true) then
    fail(cx, "must not contain the character U+0000, which the database cannot hold")
  elseif shape.format and not value:match(FORMATS[shape.format][1]) then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
  elseif shape.pattern and not value:match(shape.pattern) then
    fail(cx, ("must match the pattern %s, got %s"):format(shape.pattern, describe(value, shape, cx)))
  elseif shape.one_of and not shape.known[value] then
    fail(cx, ("must be one of %s, got %s%s"):format(table.concat(shape.one_of, ", "), describe(value, shape, cx),
      suggest.phrase(value, shape.one_of)))
  else
    return value
  end
  return nil
end

local function set_of(list)
  local set = {}
  for _, value in ipairs(list or {}) do
    set[value] = true
  end
  return set
end

--- Text: min_length, max_length (characters), pattern (Lua), format ("email", "url", "slug"), one_of.
function S.string(options)
  assert(not (options and options.format) or FORMATS[options.format], "unknown format")
  return make("string", options, { read = read_string, words = string_words, known = set_of(options and options.one_of) })
end

--- One of some texts: S.enum { "running", "stopped", default = "stopped" }.
function S.enum(options)
  local shape = { one_of = {} }
  for k, v in pairs(options) do
    if math.type(k) == "integer" then
      shape.one_of[k] = v
    else
      shape[k] = v
    end
  end
  local made = S.string(shape)
  made.kind = "enum"
  made.words = function() return "one of " .. table.concat(shape.one_of, ", ") end
  return made
end

--- Text that is never shown: passwords, keys.
function S.secret(options)
  local shape = S.string(options)
  shape.kind, shape.is_secret = "secret", true
  shape.read = function(self, value, cx)
    if type(value) ~= "string" then
      fail(cx, ("%s, got a %s"):format(self:expects(), type(value)))
      return nil
    end
    local length = utf8.len(value)
    if not length or (self.min_length and length < self.min_length) or (self.max_length and length > self.max_length) then
      fail(cx, self:expects())
      return nil
    end
    return value
  end
  return shape
end

local HEX = "%x%x%x%x"
local UUID = "^" .. HEX .. HEX .. "%-" .. HEX .. "%-" .. HEX .. "%-" .. HEX .. "%-" .. HEX .. HEX .. HEX .. "$"

local function read_uuid(shape, value, cx)
  if type(value) ~= "string" or not value:match(UUID) then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
    return nil
  end
  return value:lower()
end

function S.uuid(options)
  return make("uuid", options, { read = read_uuid, words = function() return "a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057" end })
end

local function days_in(year, month)
  if month == 2 then
    return (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
  end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

-- RFC 3339, normalised to UTC as PostgreSQL writes it: "2026-11-23 14:02:22.12+00", without zeros at the end of the fraction.
-- As text it is then at most any text of the same moment that has more zeros, and at least any text of an earlier moment.
local function read_timestamp(shape, value, cx)
  local function refuse()
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
  end
  if type(value) ~= "string" then
    return refuse()
  end
  local y, mo, d, h, mi, s, fraction, zone =
    value:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)([%d.]*)([Zz+-].*)$")
  if not y or not (fraction == "" or fraction:match("^%.%d%d?%d?%d?%d?%d?%d?%d?%d?$")) then
    return refuse()
  end
  fraction = fraction:sub(1, 7):gsub("%.?0*$", "")
  y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  if y < 1 or mo < 1 or mo > 12 or d < 1 or d > days_in(y, mo) or h > 23 or mi > 59 or s > 59 then
    return refuse()
  end
  local offset = 0
  if zone ~= "Z" and zone ~= "z" then
    local sign, zh, zm = zone:match("^([+-])(%d%d):?(%d%d)$")
    if not sign then
      sign, zh, zm = zone:match("^([+-])(%d%d)$")
    end
    zh, zm = tonumber(zh), tonumber(zm) or 0
    if not sign or zh > 14 or zm > 59 then
      return refuse()
    end
    offset = (zh * 3600 + zm * 60) * (sign == "-" and -1 or 1)
  end
  -- days since 1970 (Howard Hinnant's days_from_civil), so that neither os.time nor a time zone is involved
  local yy = mo <= 2 and y - 1 or y
  local era = yy // 400
  local yoe = yy - era * 400
  local doy = (153 * (mo + (mo > 2 and -3 or 9)) + 2) // 5 + d - 1
  local days = era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
  local at = days * 86400 + h * 3600 + mi * 60 + s - offset
  if offset == 0 then
    return ("%04d-%02d-%02d %02d:%02d:%02d%s+00"):format(y, mo, d, h, mi, s, fraction)
  end
  local z = at // 86400 + 719468
  era = z // 146097
  local doe = z - era * 146097
  yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
  doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
  local mp = (5 * doy + 2) // 153
  d, mo = doy - (153 * mp + 2) // 5 + 1, mp < 10 and mp + 3 or mp - 9
  y = yoe + era * 400 + (mo <= 2 and 1 or 0)
  if y < 1 or y > 9999 then
    return refuse()
  end
  local second = at % 86400
  return ("%04d-%02d-%02d %02d:%02d:%02d%s+00"):format(y, mo, d, second // 3600, second // 60 % 60, second % 60, fraction)
end

--- RFC 3339 point in time; checked to UTC text that both engines order and compare.
function S.timestamp(options)
  return make("timestamp", options, { read = read_timestamp, words = function() return "a time such as 2026-11-23T14:02:22Z" end })
end

-- --- units ----------------------------------------------------------------------------------------------------------

local function with_unit(kind, reader, writer, noun)
  local function bound(text)
    return text and assert(reader(text))
  end
  return function(options)
    options = options or {}
    local min, max = bound(options.min), bound(options.max)
    return make(kind, options, {
      read_default = function(default) return assert(reader(default)) end,
      words = function()
        local words = noun
        if min and max then
          words = ("%s from %s to %s"):format(words, options.min, options.max)
        elseif max then
          words = ("%s of at most %s"):format(words, options.max)
        elseif min then
          words = ("%s of at least %s"):format(words, options.min)
        end
        return words
      end,
      read = function(shape, value, cx)
        local number, why = reader(value)
        if not number then
          local is_hidden = holds_secret(shape) or (type(value) == "string" and source_of(value, cx.secrets))
          fail(cx, is_hidden and ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)) or why)
          return nil
        end
        if (min and number < min) or (max and number > max) then
          fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
          return nil
        end
        return number
      end,
      show = writer,
    })
  end
end

--- Duration as text with a unit ("30s"); checked to milliseconds. min, max are texts too.
S.duration = with_unit("duration", units.duration, units.duration_text, 'a duration such as "30s"')
--- Size as text with a unit ("64MiB"); checked to bytes.
S.bytes = with_unit("bytes", units.bytes, units.bytes_text, 'a size such as "64MiB"')

-- --- composites -----------------------------------------------------------------------------------------------------

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function read_record(shape, value, cx)
  if type(value) ~= "table" or (cx.source == "json" and json.is_array(value)) then
    fail(cx, ("expected %s, got %s"):format(cx.source == "lua" and "a table" or "an object", describe(value, shape, cx)))
    return nil
  end
  local out = {}
  for _, name in ipairs(shape.names) do
    push(cx, name)
    out[name] = check(shape.fields[name], value[name], cx)
    pop(cx)
  end
  for _, name in ipairs(sorted_keys(value)) do
    if not shape.fields[name] then
      if shape.rest then
        out[name] = value[name]
      else
        push(cx, name)
        fail(cx, ("is not known here%s"):format(suggest.phrase(name, shape.names)))
        pop(cx)
      end
    end
  end
  return out
end

-- The names of the fields: those of `order` first, then the others as the alphabet has them.
local function ordered_names(fields, order)
  local names, seen = {}, {}
  for _, list in ipairs { order or {}, sorted_keys(fields) } do
    for _, name in ipairs(list) do
      if fields[name] and not seen[name] then
        names[#names + 1], seen[name] = name, true
      end
    end
  end
  return names
end

--- A table of named fields. Options go in a second table: S.record({ ... }, { optional = true, rest = true }).
-- rest: unknown fields pass. order: the names of fields that come first, in this order, where the record is described.
function S.record(fields, options)
  for name, shape in pairs(fields) do
    if type(name) ~= "string" or getmetatable(shape) ~= Type then
      error(("field %s of a record must be a schema"):format(plain(name)), 2)
    end
  end
  return make("record", options, {
    fields = fields, names = ordered_names(fields, options and options.order), read = read_record,
    words = function(shape) return "a table with " .. table.concat(shape.names, ", ") end,
  })
end

-- A record of some fields of another, with its options but for `check`, which speaks of the whole.
local function derived(shape, fields)
  return S.record(fields, {
    order = shape.names, doc = shape.doc, optional = shape.optional, nullable = shape.nullable, default = shape.default,
    rest = shape.rest,
  })
end

local function need_field(shape, name)
  if not shape.fields[name] then
    error(("no field %q%s"):format(name, suggest.phrase(name, shape.names)), 3)
  end
end

--- A record with only these fields.
function Type:pick(...)
  local fields = {}
  for _, name in ipairs { ... } do
    need_field(self, name)
    fields[name] = self.fields[name]
  end
  return derived(self, fields)
end

--- A record without these fields.
function Type:omit(...)
  local fields = {}
  for name, shape in pairs(self.fields) do
    fields[name] = shape
  end
  for _, name in ipairs { ... } do
    need_field(self, name)
    fields[name] = nil
  end
  return derived(self, fields)
end

--- A record whose fields are all optional and have no defaults (for PATCH).
function Type:partial()
  local fields = {}
  for name, shape in pairs(self.fields) do
    local loose = setmetatable({}, Type)
    for k, v in pairs(shape) do
      loose[k] = v
    end
    loose.optional, loose.default = true, nil
    fields[name] = loose
  end
  return derived(self, fields)
end

local function read_list(shape, value, cx)
  if cx.source == "text" and type(value) == "string" then
    value = { value }
  end
  if type(value) ~= "table" or (next(value) ~= nil and #value == 0) then
    fail(cx, ("expected a list, got %s"):format(describe(value, shape, cx)))
    return nil
  end
  local count = #value
  if (shape.max_items and count > shape.max_items) or (shape.min_items and count < shape.min_items) then
    fail(cx, ("%s, got %d"):format(shape:expects(), count))
    return nil
  end
  local out = json.array {}
  for i = 1, count do
    push(cx, i)
    out[i] = check(shape.of, value[i], cx)
    pop(cx)
  end
  return out
end

--- A list: S.list(S.string {}, { min_items = 1, max_items = 1000 }).
function S.list(of, options)
  return make("list", options, {
    of = of, read = read_list,
    words = function(shape)
      if shape.min_items and shape.max_items then
        return ("a list of %d to %d items"):format(shape.min_items, shape.max_items)
      elseif shape.max_items then
        return ("a list of at most %d items"):format(shape.max_items)
      end
      return "a list"
    end,
  })
end

local function read_map(shape, value, cx)
  if type(value) ~= "table" or json.is_array(value) then
    fail(cx, ("expected %s, got %s"):format(cx.source == "lua" and "a table" or "an object", describe(value, shape, cx)))
    return nil
  end
  local out, count = json.object {}, 0
  for _, key in ipairs(sorted_keys(value)) do
    push(cx, key)
    if type(key) ~= "string" or (shape.key_pattern and not key:match(shape.key_pattern)) then
      fail(cx, "is not a name that is allowed here")
    end
    out[key] = check(shape.of, value[key], cx)
    count = count + 1
    pop(cx)
  end
  if shape.max_items and count > shape.max_items then
    fail(cx, ("expected at most %d entries, got %d"):format(shape.max_items, count))
    return nil
  end
  return out
end

--- Names to values: S.map(S.string {}, { max_items = 64, key_pattern = "^[a-z]+$" }).
function S.map(of, options)
  return make("map", options, { of = of, read = read_map, words = function() return "names and values" end })
end

local function read_any_of(shape, value, cx)
  local nearest, fewest
  for _, one in ipairs(shape.choices) do
    local trial = { errors = {}, path = cx.path, depth = cx.depth, source = cx.source, secrets = cx.secrets }
    local out = check(one, value, trial)
    if #trial.errors == 0 then
      return out
    end
    local is_kin = type(value) == "table" and (one.kind == "record" or one.kind == "list")
    if is_kin and (not fewest or #trial.errors < fewest) then
      nearest, fewest = trial.errors, #trial.errors
    end
  end
  for _, err in ipairs(nearest or {}) do
    cx.errors[#cx.errors + 1] = err
  end
  if not nearest then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
  end
  return nil
end

--- The first of several schemas that fits: S.any_of({ S.literal(false), S.string {} }).
function S.any_of(choices, options)
  return make("any_of", options, {
    choices = choices, read = read_any_of,
    words = function()
      local words = {}
      for i, one in ipairs(choices) do
        words[i] = one:expects():gsub("^expected ", "")
      end
      return table.concat(words, ", or ")
    end,
  })
end

--- Exactly this value.
function S.literal(wanted, options)
  return make("literal", options, {
    wanted = wanted,
    words = function() return tostring(wanted) end,
    read = function(shape, value, cx)
      if value ~= wanted then
        fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
        return nil
      end
      return value
    end,
  })
end

--- Whatever it is.
function S.any(options)
  return make("any", options, { read = function(_, value) return value end, words = function() return "anything" end })
end

function S.is(value)
  return getmetatable(value) == Type
end

-- --- errors as people and programs read them ------------------------------------------------------------------------

--- { "labels", 2, "team" } -> "labels[2].team".
function S.path_text(path)
  local out = {}
  for i, key in ipairs(path) do
    out[i] = math.type(key) and ("[%d]"):format(key) or (i > 1 and "." or "") .. tostring(key)
  end
  return #out > 0 and table.concat(out) or "(the whole)"
end

--- The same as a JSON pointer (RFC 6901), lists counted from 0: "/labels/1/team".
function S.pointer(path)
  local out = {}
  for i, key in ipairs(path) do
    out[i] = "/" .. (math.type(key) and tostring(key - 1) or tostring(key):gsub("~", "~0"):gsub("/", "~1"))
  end
  return table.concat(out)
end

return S
