--- Shapes made of shapes: records, lists, maps, choices.

local core = require "wick.schema.core"
local suggest = require "wick.suggest"

local make, check, push, pop = core.make, core.check, core.push, core.pop
local fail, describe, plain, Type, json = core.fail, core.describe, core.plain, core.Type, core.json

local S = {}

-- Requests are checked with it, so names are compared by Lua itself; only other keys are turned to text first.
local function sorted_keys(t)
  local keys, all_names = {}, true
  for key in pairs(t) do
    keys[#keys + 1] = key
    all_names = all_names and type(key) == "string"
  end
  table.sort(keys, not all_names and function(a, b) return tostring(a) < tostring(b) end or nil)
  return keys
end

-- The entries of `value` that are no fields of the record, or nil.
local function others(shape, value)
  local fields, out = shape.fields, nil
  for name, entry in pairs(value) do
    if not fields[name] then
      out = out or {}
      out[name] = entry
    end
  end
  return out
end

-- Configuration and plugins, which come as Lua, go to no database: what they hold may be anything, also in circles.
local function passes(value, cx)
  if cx.source ~= "lua" and core.has_zero(value) then
    fail(cx, core.ZERO)
    return false
  end
  return true
end

local SUGGESTIONS_MAX = 5 -- each compares a name with all there are

local function near(name, shape, cx)
  cx.suggestions = (cx.suggestions or 0) + 1
  return cx.suggestions <= SUGGESTIONS_MAX and suggest.phrase(name, shape.names) or ""
end

local function read_others(shape, found, out, cx)
  for _, name in ipairs(sorted_keys(found)) do
    if cx.is_full then
      return
    end
    push(cx, name)
    if not shape.rest then
      fail(cx, ("is not known here%s"):format(near(name, shape, cx)))
    elseif passes(name, cx) and passes(found[name], cx) then
      out[name] = found[name]
    end
    pop(cx)
  end
end

local function read_record(shape, value, cx)
  if type(value) ~= "table" or (cx.source == "json" and json.is_array(value)) then
    fail(cx, ("expected %s, got %s"):format(cx.source == "lua" and "a table" or "an object", describe(value, shape, cx)))
    return nil
  end
  local out, fields, names = {}, shape.fields, shape.names
  for i = 1, #names do
    local name = names[i]
    push(cx, name)
    out[name] = check(fields[name], value[name], cx)
    pop(cx)
  end
  local found = others(shape, value)
  if found then
    read_others(shape, found, out, cx)
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

-- What stands where a schema belongs would let everything pass, or break when the first value comes. Raises at the line of the
-- plugin, which is two levels above.
local function need_schema(shape, what, example)
  if getmetatable(shape) ~= Type then
    error(("%s must be a schema, as in %s; got %s"):format(what, example, plain(shape)), 3)
  end
end

--- A table of named fields. Options go in a second table: S.record({ ... }, { optional = true, rest = true }).
-- rest: unknown fields pass, as S.any takes them. order: the names of fields that come first, in this order, where the record is described.
function S.record(fields, options)
  if type(fields) ~= "table" or getmetatable(fields) == Type then
    error(("the fields of a record are a table of schemas, as in S.record { name = S.string {} }; got %s"):format(
      type(fields) == "table" and "a schema" or plain(fields)), 2)
  end
  for name, shape in pairs(fields) do
    if type(name) ~= "string" then
      error(("the fields of a record have names, as in S.record { name = S.string {} }; got %s"):format(plain(name)), 2)
    end
    need_schema(shape, ("field %s of a record"):format(plain(name)), "S.record { name = S.string {} }")
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

-- Named keys, and numbers beyond a gap: a list written in Lua may have them, and nobody would read them.
local function refuse_others(value, count, cx)
  local found = {}
  for key in pairs(value) do
    found[key] = (math.type(key) ~= "integer" or key < 1 or key > count) or nil
  end
  for _, key in ipairs(sorted_keys(found)) do
    push(cx, key)
    fail(cx, "is not known here: a list has numbers from 1 on, without gaps, and no names")
    pop(cx)
  end
end

local function read_list(shape, value, cx)
  if cx.source == "text" and type(value) == "string" then
    value = { value }
  end
  if type(value) ~= "table" or (next(value) ~= nil and #value == 0) then
    fail(cx, ("expected a list%s, got %s"):format(cx.source == "json" and " (JSON array)" or "", describe(value, shape, cx)))
    return nil
  end
  local count = #value
  if (shape.max_items and count > shape.max_items) or (shape.min_items and count < shape.min_items) then
    fail(cx, ("%s, got %d"):format(shape:expects(), count))
    return nil
  end
  if cx.source == "lua" then
    refuse_others(value, count, cx)
  end
  local out = json.array {}
  for i = 1, count do
    if cx.is_full then
      return nil
    end
    push(cx, i)
    out[i] = check(shape.of, value[i], cx)
    pop(cx)
  end
  return out
end

--- A list: S.list(S.string {}, { min_items = 1, max_items = 1000 }).
function S.list(of, options)
  need_schema(of, "the items of a list", "S.list(S.string {})")
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
    if cx.is_full then
      return nil
    end
    push(cx, key)
    if core.has_zero(key) then
      fail(cx, core.ZERO)
    elseif type(key) ~= "string" or (shape.key_pattern and not key:match(shape.key_pattern)) then
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
  need_schema(of, "the values of a map", "S.map(S.string {})")
  return make("map", options, { of = of, read = read_map, words = function() return "names and values" end })
end

local TAKES_NO_TEXT = { int64 = true, number = true, boolean = true, record = true, list = true, map = true }

-- The only choice that a text could be meant for, or nil: what it says of the text is better than the list of all choices.
local function choice_of_text(shape, cx)
  local found, count = nil, 0
  for _, one in ipairs(shape.choices) do
    local takes_text = cx.source == "text" or not TAKES_NO_TEXT[one.kind]
    if takes_text and not (one.kind == "literal" and type(one.wanted) ~= "string") then
      found, count = one, count + 1
    end
  end
  return count == 1 and found.kind ~= "literal" and found or nil
end

local function read_any_of(shape, value, cx)
  local nearest, fewest
  local of_text = type(value) == "string" and choice_of_text(shape, cx) or nil
  for _, one in ipairs(shape.choices) do
    local trial = { errors = {}, path = cx.path, depth = cx.depth, source = cx.source, secrets = cx.secrets }
    local out = check(one, value, trial)
    if #trial.errors == 0 then
      return out
    end
    local is_kin = one == of_text or (type(value) == "table" and (one.kind == "record" or one.kind == "list"))
    if is_kin and (not fewest or #trial.errors < fewest) then
      nearest, fewest = trial.errors, #trial.errors
    end
  end
  for _, err in ipairs(nearest or {}) do
    core.add(cx, err)
  end
  if not nearest then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
  end
  return nil
end

--- The first of several schemas that fits: S.any_of({ S.literal(false), S.string {} }).
function S.any_of(choices, options)
  if type(choices) ~= "table" or #choices == 0 then
    error(("the choices are a list of schemas, as in S.any_of({ S.int64 {}, S.string {} }); got %s"):format(
      getmetatable(choices) == Type and "a schema" or plain(choices)), 2)
  end
  for i = 1, #choices do -- ipairs would end at one that is nil
    need_schema(choices[i], ("choice %d"):format(i), "S.any_of({ S.int64 {}, S.string {} })")
  end
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

local function read_any(_, value, cx)
  if passes(value, cx) then
    return value
  end
  return nil
end

--- Whatever it is; no text in it may have U+0000, unless it comes as Lua.
function S.any(options)
  return make("any", options, { read = read_any, words = function() return "anything" end })
end

function S.is(value)
  return getmetatable(value) == Type
end

return S
