--- Shapes of single values: numbers, booleans, texts, UUIDs, durations and sizes.

local core = require "wick.schema.core"
local units = require "wick.units"
local suggest = require "wick.suggest"

local make, fail, describe, holds_secret, source_of = core.make, core.fail, core.describe, core.holds_secret, core.source_of

local S = {}

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

local FORMATS = {
  email = { "^[^%s@]+@[^%s@]+%.[^%s@]+$", "an e-mail address" },
  url = { "^https?://[^%s%c/]+[^%s%c]*$", "a URL that starts with http:// or https://" },
  slug = { "^[a-z0-9][a-z0-9_-]*$", "lower-case letters, digits, - and _" },
}
core.FORMATS = FORMATS

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
  elseif core.has_zero(value) then
    fail(cx, core.ZERO)
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

local function text_shape(options, level)
  local given = type(options) == "table" and options or {} -- make says what else it is
  if given.format and not FORMATS[given.format] then
    error(("format is email, url or slug, not %s"):format(core.plain(given.format)), level or 2)
  end
  return make("string", options, { read = read_string, words = string_words, known = set_of(given.one_of) }, level)
end

--- Text: min_length, max_length (characters), pattern (Lua), format ("email", "url", "slug"), one_of.
function S.string(options)
  return text_shape(options)
end
--- One of some texts: S.enum { "running", "stopped", default = "stopped" }; or S.enum(STATUSES, { default = "stopped" }), where the
-- list stands elsewhere.
function S.enum(texts, options)
  local shape = { one_of = {} }
  for _, part in ipairs { texts, options } do
    for k, v in pairs(part) do
      if math.type(k) == "integer" then
        shape.one_of[k] = v
      else
        shape[k] = v
      end
    end
  end
  if #shape.one_of == 0 then
    error("an enum needs at least one text: nothing would fit", 2)
  end
  local made = text_shape(shape, 3)
  made.kind = "enum"
  made.words = function() return "one of " .. table.concat(shape.one_of, ", ") end
  return made
end

--- Text that is never shown: passwords, keys.
function S.secret(options)
  local shape = text_shape(options, 3)
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
core.UUID = UUID

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

return S
