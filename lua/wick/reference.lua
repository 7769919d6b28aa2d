--- Writes settings as text: the manual (config.lua with every default and its meaning) and the values in force.

local S = require "wick.schema"
local settings = require "wick.settings"

local reference = {}

-- The record among the choices of an any_of, since `false` is all the others have to say.
local function record_of(shape)
  if shape.kind == "record" then
    return shape
  end
  for _, one in ipairs(shape.choices or {}) do
    if one.kind == "record" then
      return one
    end
  end
  return nil
end

local function lua_text(value)
  if type(value) == "string" then
    return ("%q"):format(value)
  elseif type(value) == "table" then
    local items = {}
    for i, item in ipairs(value) do
      items[i] = lua_text(item)
    end
    return #items > 0 and "{ " .. table.concat(items, ", ") .. " }" or "{}"
  end
  return tostring(value)
end

local function bounds_of(shape)
  local words = {}
  if shape.kind == "enum" then
    words[1] = "one of " .. table.concat(shape.one_of, ", ")
  end
  if shape.min and shape.max then
    words[#words + 1] = ("%s to %s"):format(shape.min, shape.max)
  elseif shape.min then
    words[#words + 1] = ("at least %s"):format(shape.min)
  elseif shape.max then
    words[#words + 1] = ("at most %s"):format(shape.max)
  end
  return #words > 0 and " (" .. table.concat(words, "; ") .. ")" or ""
end

--- Every setting below `shape`, depth first: list of { path =, doc =, default = (Lua text), type =, bounds = }.
function reference.list(shape, path, out)
  shape, path, out = shape or settings.schema, path or {}, out or {}
  for _, name in ipairs(shape.names) do
    local field = shape.fields[name]
    path[#path + 1] = name
    local inner = record_of(field)
    out[#out + 1] = {
      path = table.concat(path, "."), doc = field.doc or (inner and inner.doc) or "", type = field:expects():gsub("^expected ", ""),
      default = field.default ~= nil and not (inner and type(field.default) == "table") and lua_text(field.default) or nil,
      bounds = bounds_of(field), is_group = inner ~= nil,
    }
    if inner then
      reference.list(inner, path, out)
    end
    path[#path] = nil
  end
  return out
end

local function is_secret_shape(shape)
  return shape and shape.is_secret
end

-- Values in the order of the schema, units as text, secrets as "***".
local function shown(shape, value, raw_shape)
  local inner = raw_shape or record_of(shape)
  if type(value) == "table" and inner then
    local out = {}
    for _, name in ipairs(inner.names) do
      if value[name] ~= nil then
        out[name] = shown(inner.fields[name], value[name])
      end
    end
    return out
  elseif type(value) == "table" and shape.kind == "list" then
    local out = {}
    for i, item in ipairs(value) do
      out[i] = shown(shape.of, item)
    end
    return out
  elseif is_secret_shape(shape) and value then
    return "***"
  elseif shape.show and math.type(value) == "integer" then
    return shape.show(value)
  end
  return value
end

--- Settings as a table for people: durations and sizes with units, secrets as "***".
function reference.shown(checked)
  local out = shown(settings.schema, checked, settings.schema)
  out.plugins = checked.plugins
  return out
end

local function print_table(value, indent, lines, name)
  local pad = ("  "):rep(indent)
  local keys, is_list = {}, #value > 0
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  if is_list or next(value) == nil then
    lines[#lines + 1] = ("%s%s%s"):format(pad, name and name .. " = " or "", lua_text(value)) .. (name and "," or "")
    return
  end
  table.sort(keys)
  lines[#lines + 1] = pad .. (name and name .. " = {" or "return {")
  for _, key in ipairs(keys) do
    if type(value[key]) == "table" then
      print_table(value[key], indent + 1, lines, key)
    else
      lines[#lines + 1] = ("%s  %s = %s,"):format(pad, key, lua_text(value[key]))
    end
  end
  lines[#lines + 1] = pad .. "}" .. (name and "," or "")
end

--- Settings as the Lua text of a configuration.
function reference.lua(checked)
  local lines = {}
  print_table(reference.shown(checked), 0, lines)
  return table.concat(lines, "\n")
end

-- One group of the manual; commented out where leaving it out means the same.
local function manual_group(shape, indent, lines)
  local pad = ("  "):rep(indent)
  for _, name in ipairs(shape.names) do
    local field = shape.fields[name]
    local inner = record_of(field)
    local doc = field.doc or (inner and inner.doc)
    if inner then
      lines[#lines + 1] = ("%s-- %s"):format(pad, doc)
      if field.default == false then
        lines[#lines + 1] = ("%s-- %s = {  (default: false)"):format(pad, name)
      else
        lines[#lines + 1] = ("%s-- %s = {"):format(pad, name)
      end
      local sub = {}
      manual_group(inner, indent, sub)
      for _, line in ipairs(sub) do
        local text = line:sub(#pad + 1):gsub("^%-%- ?", "")
        lines[#lines + 1] = pad .. "--   " .. text
      end
      lines[#lines + 1] = pad .. "-- },"
    elseif doc then
      local default = field.default ~= nil and lua_text(field.default) or "..."
      lines[#lines + 1] = ("%s-- %s = %s,%s%s%s"):format(pad, name, default, (" "):rep(math.max(1, 34 - #name - #default)),
        "-- " .. doc, bounds_of(field))
    end
  end
end

--- The manual of every setting, as comments for config.lua.
function reference.manual()
  local lines = {}
  manual_group(settings.schema, 1, lines)
  return table.concat(lines, "\n")
end

--- JSON Schema-like list for programs: the same as reference.list().
reference.is_secret = is_secret_shape
reference.S = S

return reference
