--- Writes settings as text: the manual (every setting with its default and its meaning) and the values in force.
--
-- Both need the options of the plugins, too, which only the plugins know: where `plugins` is a parameter below, it is the list
-- that plugin.load_all gives, or any list of { plugin = { name =, options = (a record) }, options = (checked) }.

local settings = require "wick.settings"

local reference = {}

local WIDTH = 80 -- lines of the manual
local MEANING_WIDTH = 30 -- of the column of meanings, at least; where there is less room they stand above

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

local function key_text(key)
  return key:match("^[%a_][%w_]*$") and load("local " .. key) and key or ("[%q]"):format(key)
end

local function lua_text(value)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif type(value) == "table" and #value > 0 then
    local items = {}
    for i, item in ipairs(value) do
      items[i] = lua_text(item)
    end
    return "{ " .. table.concat(items, ", ") .. " }"
  elseif type(value) == "table" then
    return "{}"
  end
  return tostring(value)
end

-- What a value may be, in words: "1 to 256". Empty when anything goes.
local function bounds_of(shape)
  if shape.choices then
    local words = {}
    for _, one in ipairs(shape.choices) do
      words[#words + 1] = one.kind ~= "record" and bounds_of(one) ~= "" and bounds_of(one) or nil
    end
    return table.concat(words, ", or ")
  elseif shape.kind == "enum" then
    return table.concat(shape.one_of, ", ")
  elseif shape.min and shape.max then
    return ("%s to %s"):format(shape.min, shape.max)
  elseif shape.min then
    return ("at least %s"):format(shape.min)
  elseif shape.max then
    return ("at most %s"):format(shape.max)
  elseif shape.max_items then
    return ("at most %d"):format(shape.max_items)
  end
  return ""
end

-- What stands in the manual for a setting: its default, else an example that would do.
local function value_text(shape)
  if shape.default ~= nil then
    return lua_text(shape.default)
  end
  return lua_text(shape.example == nil and "..." or shape.example)
end

local function is_required(shape)
  return shape.default == nil and not shape.optional
end

--- Every setting below `shape` (all settings when it is nil), depth first, for programs: list of
--- { path =, doc =, type =, default = (Lua text) or nil, bounds =, is_required =, is_group =, is_secret = }.
function reference.list(shape, path, out)
  shape, path, out = shape or settings.schema, path or {}, out or {}
  for _, name in ipairs(shape.names) do
    local field = shape.fields[name]
    local inner = record_of(field)
    path[#path + 1] = name
    out[#out + 1] = {
      path = table.concat(path, "."), doc = field.doc or (inner and inner.doc) or "", type = field:expects():gsub("^expected ", ""),
      default = field.default ~= nil and not (inner and type(field.default) == "table") and lua_text(field.default) or nil,
      bounds = bounds_of(field), is_required = is_required(field), is_group = inner ~= nil,
      is_secret = not inner and field.is_secret or false,
    }
    if inner then
      reference.list(inner, path, out)
    end
    path[#path] = nil
  end
  return out
end

-- --- values in force ------------------------------------------------------------------------------------------------

-- Values as people write them: units as text, secrets as "***".
local function shown(shape, value)
  local inner = record_of(shape)
  if type(value) == "table" and inner then
    local out = {}
    for _, name in ipairs(inner.names) do
      if value[name] ~= nil then
        out[name] = shown(inner.fields[name], value[name])
      end
    end
    return out
  elseif type(value) == "table" and shape.of then
    local out = {}
    for key, item in pairs(value) do
      out[key] = shown(shape.of, item)
    end
    return out
  elseif shape.is_secret and value then
    return "***"
  elseif shape.show and math.type(value) == "integer" then
    return shape.show(value)
  end
  return value
end

--- Settings as a table for people: durations and sizes with units, secrets as "***". The options of the plugins, every default
--- in, are in its `plugin_options`, by name.
function reference.shown(checked, plugins)
  local out = shown(settings.schema, checked)
  out.plugins, out.plugin_options = { table.unpack(checked.plugins) }, {}
  for _, one in ipairs(plugins or {}) do
    if one.plugin.options and next(one.options) ~= nil then
      out.plugin_options[one.plugin.name] = shown(one.plugin.options, one.options)
    end
  end
  return out
end

-- The keys of a table that are names: as the schema has them, then as the alphabet has them.
local function names_of(value, shape)
  local inner, names, seen = shape and record_of(shape), {}, {}
  for _, name in ipairs(inner and inner.names or {}) do
    if value[name] ~= nil then
      names[#names + 1], seen[name] = name, true
    end
  end
  local others = {}
  for name in pairs(value) do
    if type(name) == "string" and not seen[name] then
      others[#others + 1] = name
    end
  end
  table.sort(others)
  return table.move(others, 1, #others, #names + 1, names)
end

local function add_table(value, shape, pad, lines)
  if #value > 0 then
    lines[#lines + 1] = pad .. lua_text(value):sub(3, -3) .. ","
  end
  local inner = shape and record_of(shape)
  for _, name in ipairs(names_of(value, shape)) do
    local item = value[name]
    if type(item) == "table" and (next(item) ~= nil and #names_of(item) > 0) then
      lines[#lines + 1] = ("%s%s = {"):format(pad, key_text(name))
      add_table(item, inner and inner.fields[name], pad .. "  ", lines)
      lines[#lines + 1] = pad .. "},"
    else
      lines[#lines + 1] = ("%s%s = %s,"):format(pad, key_text(name), lua_text(item))
    end
  end
end

--- The same as the Lua text of a configuration; options are where config.lua has them.
function reference.lua(checked, plugins)
  local out, lines = reference.shown(checked, plugins), { "return {" }
  for name, options in pairs(out.plugin_options) do
    out.plugins[name] = options
  end
  out.plugin_options = nil
  add_table(out, settings.schema, "  ", lines)
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n")
end

-- --- the manual -----------------------------------------------------------------------------------------------------

-- Words of a text in lines of at most `width` bytes.
local function wrapped(text, width)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and #line + 1 + #word > width then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return lines
end

local function add_prose(text, pad, lines)
  for _, line in ipairs(wrapped(text, WIDTH - #pad - 5)) do
    lines[#lines + 1] = pad .. "-- " .. line
  end
end

-- What a setting means, with its bounds.
local function meaning_of(shape)
  local notes = { bounds_of(shape), is_required(shape) and "required" or "" }
  local note = table.concat(notes, notes[1] ~= "" and notes[2] ~= "" and "; " or "")
  return (shape.doc or "") .. (note ~= "" and " (" .. note .. ")" or "")
end

local function add_beside(code, meaning, code_width, lines)
  for n, line in ipairs(wrapped(meaning, WIDTH - code_width - 7)) do
    local left = n == 1 and code or ""
    lines[#lines + 1] = line == "" and left or left .. (" "):rep(code_width + 2 - #left) .. "-- " .. line
  end
end

-- Settings that are no groups, one a line: names, values and meanings in columns.
local function add_plain(fields, pad, lines)
  local name_width, code_width, codes = 0, 0, {}
  for _, entry in ipairs(fields) do
    name_width = math.max(name_width, #key_text(entry.name))
  end
  for i, entry in ipairs(fields) do
    codes[i] = ("%s%-" .. name_width .. "s = %s,"):format(pad, key_text(entry.name), value_text(entry.shape))
    code_width = math.max(code_width, #codes[i])
  end
  for i, entry in ipairs(fields) do
    local meaning = meaning_of(entry.shape)
    if WIDTH - code_width - 7 >= MEANING_WIDTH then
      add_beside(codes[i], meaning, code_width, lines)
    else
      add_prose(meaning, pad, lines)
      lines[#lines + 1] = codes[i]
    end
  end
end

local function group_doc(field, inner)
  local doc = field.doc or inner.doc or ""
  if field.default == false then
    return doc .. " Default: false."
  elseif field.kind == "record" and field.optional then
    return doc .. " Default: not there."
  end
  return doc
end

local add_fields -- and add_group call each other

local function add_group(name, field, pad, lines)
  local inner = record_of(field)
  add_prose(group_doc(field, inner), pad, lines)
  lines[#lines + 1] = ("%s%s = {"):format(pad, key_text(name))
  add_fields(inner, pad .. "  ", lines)
  lines[#lines + 1] = pad .. "},"
end

local function add_plugins(field, pad, lines, plugins)
  add_prose("Plugins: " .. field.doc .. ".", pad, lines)
  lines[#lines + 1] = pad .. "plugins = {"
  lines[#lines + 1] = ("%s  %s,"):format(pad, lua_text(field.default):sub(3, -3))
  for _, one in ipairs(plugins) do
    if one.plugin.options then
      lines[#lines + 1] = ("%s  %s = {"):format(pad, key_text(one.plugin.name))
      add_fields(one.plugin.options, pad .. "    ", lines)
      lines[#lines + 1] = pad .. "  },"
    end
  end
  lines[#lines + 1] = pad .. "},"
end

function add_fields(shape, pad, lines, plugins)
  local plain, groups = {}, {}
  for _, name in ipairs(shape.names) do
    local field = shape.fields[name]
    local is_group = record_of(field) or (plugins and name == "plugins")
    local list = is_group and groups or plain
    list[#list + 1] = { name = name, shape = field }
  end
  add_plain(plain, pad, lines)
  for _, entry in ipairs(groups) do
    if plugins then -- the outermost: some air
      lines[#lines + 1] = ""
    end
    if plugins and entry.name == "plugins" then
      add_plugins(entry.shape, pad, lines, plugins)
    else
      add_group(entry.name, entry.shape, pad, lines)
    end
  end
end

--- The manual of every setting and of the options of the plugins, as Lua that is commented out: lines of code begin with `--`
--- and no blank, or two and more; lines that begin with `-- ` and a word are prose. Without the marks it is a configuration
--- that says what is so without it (and switches on what is off).
function reference.manual(plugins)
  local inner, lines = {}, { "--return {" }
  add_fields(settings.schema, "  ", inner, plugins or {})
  for _, line in ipairs(inner) do
    lines[#lines + 1] = line:match("^  %-%- ") and line:sub(3) or line == "" and "" or "--" .. line
  end
  lines[#lines + 1] = "--}"
  return table.concat(lines, "\n")
end

--- What the manual says, as Lua: the marks of what is commented out are removed, prose stays.
function reference.uncommented(manual)
  return (("\n" .. manual):gsub("\n%-%-(%s*)(%S*)", function(blank, word)
    return blank == " " and word ~= "" and "\n-- " .. word or "\n" .. blank .. word
  end):sub(2))
end

return reference
