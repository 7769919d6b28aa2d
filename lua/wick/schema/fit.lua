--- Whether a value that came as JSON is right as it stands, with nothing to put in, to turn or to complain about.
--
-- Most bodies are. A schema is turned into closures once, each of which knows its limits; no path is kept and nothing is copied.
-- What has no closure here (times, durations, choices, tables with a check of the plugin's) and what does not fit goes through the
-- check that explains: the two agree, since everything that fits passes there unchanged (spec/lua/wick/schema_spec.lua holds them
-- against each other).

local core = require "wick.schema.core"

local Type, json, null, is_text = core.Type, core.json, core.null, core.is_text
local find, match, ulen, math_type, huge = string.find, string.match, utf8.len, math.type, math.huge

local compile

local function in_range(shape, is_kind)
  local min, max = shape.min, shape.max
  if not (min or max) then
    return is_kind
  end
  return function(value)
    return is_kind(value) and (not min or value >= min) and (not max or value <= max)
  end
end

local function is_int64(value)
  return math_type(value) == "integer"
end

local function is_number(value)
  return type(value) == "number" and value == value and value ~= huge and value ~= -huge
end

local function is_boolean(value)
  return type(value) == "boolean"
end

local function is_decimal(value)
  return type(value) == "string" and match(value, "^-?%d+%.?%d*$") ~= nil
end


local function is_lower_uuid(value)
  return type(value) == "string" and match(value, core.UUID) ~= nil and not find(value, "%u")
end

local function has_length(shape)
  local min, max = shape.min_length or 0, shape.max_length or huge
  return function(value)
    -- a text has at most as many characters as bytes: only long ones are counted
    local bytes = #value
    if bytes <= max and min == 0 then
      return true
    end
    local length = ulen(value)
    return length ~= nil and length >= min and length <= max
  end
end

-- Texts out of JSON are UTF-8 already: its reader refuses others.
local function text(shape)
  local known, format, pattern = shape.one_of and shape.known, shape.format and core.FORMATS[shape.format][1], shape.pattern
  local length = (shape.min_length or shape.max_length) and has_length(shape)
  if not (length or format or pattern) then
    return known and function(value) return known[value] == true and is_text(value) end or is_text
  end
  return function(value)
    return is_text(value) and (not length or length(value)) and (not format or match(value, format) ~= nil)
      and (not pattern or match(value, pattern) ~= nil) and (not known or known[value] == true)
  end
end

local function secret(shape)
  local length = has_length(shape)
  return function(value)
    return type(value) == "string" and length(value)
  end
end

local function list(shape)
  local of, min, max = compile(shape.of), shape.min_items or 0, shape.max_items or huge
  return of and function(value)
    if type(value) ~= "table" or not json.is_array(value) then
      return false
    end
    local count = #value
    if count < min or count > max then
      return false
    end
    for i = 1, count do
      if not of(value[i]) then
        return false
      end
    end
    return true
  end
end

-- An empty one does not fit: it has to be marked, lest it is written as a list.
local function map(shape)
  local of, pattern, max = compile(shape.of), shape.key_pattern, shape.max_items or huge
  return of and function(value)
    if type(value) ~= "table" or next(value) == nil then
      return false
    end
    local count = 0
    for key, entry in next, value do
      if not is_text(key) or (pattern and not match(key, pattern)) or not of(entry) then
        return false
      end
      count = count + 1
    end
    return count <= max
  end
end

-- Without a field that is required there is at least one key, so a list never passes: its keys are no names.
local function record(shape)
  local fits, must, rest = {}, {}, shape.rest
  for name, field in pairs(shape.fields) do
    fits[name] = compile(field)
    if not fits[name] then
      return nil
    end
    if field.default ~= nil or not field.optional then
      must[#must + 1] = name
    end
  end
  if #must == 0 then
    return nil
  end
  return function(value)
    if type(value) ~= "table" then
      return false
    end
    for i = 1, #must do
      if value[must[i]] == nil then
        return false
      end
    end
    for name, entry in next, value do
      local of = fits[name]
      if of then
        if not of(entry) then
          return false
        end
      elseif not rest or not is_text(name) or core.has_zero(entry) then
        return false
      end
    end
    return true
  end
end

local KINDS = {
  int64 = function(shape) return in_range(shape, is_int64) end,
  number = function(shape) return in_range(shape, is_number) end,
  boolean = function() return is_boolean end,
  decimal = function() return is_decimal end,
  uuid = function() return is_lower_uuid end,
  string = text, enum = text, secret = secret, list = list, map = map, record = record,
  any = function() return function(value) return value ~= nil and not core.has_zero(value) end end,
  literal = function(shape) return function(value) return value ~= null and value == shape.wanted end end,
}

-- Marks a shape whose closure is being made, so that one that contains itself has none.
local BUSY = {}

-- A check may edit what it is given: one that does would see it edited when the check that explains asks again.
local EDITABLE = { record = true, list = true, map = true, any = true }

local function make(shape)
  local kind = not (shape.check and EDITABLE[shape.kind]) and KINDS[shape.kind]
  local fits = kind and kind(shape)
  if not fits then
    return false
  end
  local check, inner = shape.check, fits
  if check then
    fits = function(value) return inner(value) and check(value) and true or false end
  end
  if shape.nullable or shape.kind == "any" then -- null is not asked further
    local plain = fits
    fits = function(value) return value == null or plain(value) end
  end
  return fits
end

-- The closure of a shape, or nil when it can have none.
function compile(shape)
  if shape.fits == BUSY then
    return nil
  elseif shape.fits == nil then
    shape.fits = BUSY
    shape.fits = make(shape)
  end
  return shape.fits or nil
end

--- True when `value`, as it came from JSON, is right as it stands. False says nothing: S.check knows more.
return function(shape, value)
  assert(getmetatable(shape) == Type, "not a schema")
  local fits = compile(shape)
  return fits ~= nil and value ~= nil and fits(value)
end
