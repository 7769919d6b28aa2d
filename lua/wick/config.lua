--- Reads config.lua: one table, evaluated once, in an environment of its own with `env`, `file` and `include`.
--
--   env "X"            the environment variable X; an error when it is not set
--   env("X", default)  likewise, or the default
--   file "path"        the contents of a file without the line end at its end (for secrets)
--   include "path"     the table that another such file returns
-- Paths are relative to the file that names them.
--
-- All mistakes are reported at once, each with file and line and, where one is near, the name that was probably meant. No
-- message shows what came from `env` or `file`. Where one of the three finds nothing, the file goes on with a gap in the place of
-- the value, so that the next of them is found as well; what follows from a gap is no mistake of its own and is not told.

local S = require "wick.schema"
local settings = require "wick.settings"
local locate = require "wick.locate"

local config = {}

-- Stands for what was not found, within any text; no environment variable has the character U+0000, and upper() changes nothing.
local GAP = "\0(?)\0"

local function folder_of(path)
  return path:match("^(.*/)[^/]*$") or "./"
end

-- One file, one name: "./a.lua" is "a.lua".
local function identity(path)
  return (path:gsub("^%./+", ""))
end

local function relative(path, base)
  return path:sub(1, 1) == "/" and path or base .. identity(path)
end

-- A mistake with the file it is in, where Lua named no line: it does not for a tail call, or when memory ran out.
local function within(path, message)
  return message:find("^[^\n]-:%d+: ") and message or ("%s: %s"):format(path, message)
end

--- A message in which what came from `env` or `file` is replaced by where it came from. secrets: see load.
function config.without_secrets(message, secrets)
  for secret, name in pairs(secrets) do
    if #secret >= 4 then
      local from, to = message:find(secret, 1, true)
      while from do
        message = message:sub(1, from - 1) .. "(" .. name .. ")" .. message:sub(to + 1)
        from, to = message:find(secret, from + #name + 2, true)
      end
    end
  end
  return message
end

-- What Lua says of a mistake, without the text it shows: that may be a password.
local function without_texts(message, secrets)
  message = message:gsub(" near '[\"'%[].*$", " near a text"):gsub("%(constant '.*'%)", "(a constant)")
  return config.without_secrets(message, secrets)
end

local function want_path(name, word)
  if type(name) ~= "string" or name == "" then
    error(("%s wants a path: %s \"conf/name\""):format(word, word), 3)
  end
end

-- Notes a mistake of a file once; level: of the line it is in, as error() counts.
local function note(reader, path, text, level)
  local _, placed = pcall(error, text, level + 2) -- pcall and this function stand between
  placed = config.without_secrets(placed == text and ("%s: %s"):format(path, text) or placed, reader.secrets)
  if not reader.noted[placed] then
    reader.gaps[#reader.gaps + 1] = placed
    reader.noted[placed] = true
  end
end

-- One file, evaluated. reader: { world = see config.load, secrets =, gaps = texts of what was not found, noted = set of those,
-- open = set of the paths of files that are being evaluated }.
local function evaluate(path, reader, depth)
  local world, secrets = reader.world, reader.secrets
  local source, why = world.read_file(path, 1048576)
  if not source then
    return nil, ("%s: %s"):format(path, why)
  end
  local chunk, syntax = load(source, "@" .. path, "t", setmetatable({
    env = function(...)
      local name, default = ...
      if type(name) ~= "string" then
        error('env wants the name of a variable: env "DATABASE_URL"', 2)
      end
      local value = world.env(name)
      if value ~= nil then
        secrets[value] = "the environment variable " .. name
        return value
      end
      if select("#", ...) < 2 then
        note(reader, path, ("the environment variable %s is not set; set it, or write env(%q, default)"):format(name, name), 2)
        return GAP
      end
      return default
    end,
    file = function(name)
      want_path(name, "file")
      local text, problem = world.read_file(relative(name, folder_of(path)), 65536)
      if not text then
        note(reader, path, ("file %q: %s"):format(name, problem), 2)
        return GAP
      end
      text = text:gsub("\r?\n$", "")
      secrets[text] = ("the file %q"):format(name)
      return text
    end,
    include = function(name)
      want_path(name, "include")
      if depth >= 8 then
        error("include goes deeper than 8 files", 2)
      end
      local other = relative(name, folder_of(path))
      local value, problem
      if reader.open[identity(other)] then
        problem = ("include %q: this file is being read: it would include itself for ever"):format(name)
      else
        value, problem = evaluate(other, reader, depth + 1)
      end
      if value == nil then
        note(reader, path, problem or ("include %q: the file returns nothing"):format(name), 2)
        return GAP
      end
      return value
    end,
    tonumber = tonumber, tostring = tostring, pairs = pairs, ipairs = ipairs, type = type, select = select,
    string = { format = string.format, rep = string.rep, sub = string.sub, upper = string.upper, lower = string.lower },
    table = { concat = table.concat, unpack = table.unpack },
    math = { max = math.max, min = math.min, floor = math.floor },
  }, {
    __index = function(_, name)
      error(("%q is not known in a configuration; it has env, file and include"):format(name), 2)
    end,
    __newindex = function(_, name)
      error(("%q: write local %s, and return the settings as one table"):format(name, name), 2)
    end,
  }))
  if not chunk then
    return nil, without_texts(syntax, secrets)
  end
  reader.open[identity(path)] = true
  local fine, value = pcall(chunk)
  reader.open[identity(path)] = nil
  if not fine then
    return nil, without_texts(within(path, tostring(value)), secrets)
  end
  return value, nil, source
end

local function line_of(lines, path)
  for count = #path, 1, -1 do
    local line = lines[S.path_text({ table.unpack(path, 1, count) })]
    if line then
      return line
    end
  end
  return nil
end

local function holds_gap(value)
  return type(value) == "string" and value:find(GAP, 1, true) ~= nil
end

-- Whether the value at a path, or a key on the way there, is, or holds, something that was not found.
local function has_gap(value, path)
  for _, key in ipairs(path) do
    if holds_gap(key) then
      return true
    end
    value = type(value) == "table" and value[key] or nil
  end
  return holds_gap(value)
end

--- Reads and checks a configuration. Returns the settings, nil and where they come from ({ source =, raw =, secrets = }), or nil,
--- a list of texts, each one mistake, and where they come from with the part of the settings that names the plugins (`part`) or
--- nil when there is none. world: { env = function(name), read_file = function(path, bytes_max) }.
function config.load(path, world)
  local secrets = {}
  local reader = { world = world, secrets = secrets, gaps = {}, noted = {}, open = {} }
  local value, problem, source = evaluate(path, reader, 0)
  if (problem or type(value) ~= "table") and reader.gaps[1] then
    return nil, reader.gaps
  elseif problem then
    return nil, { problem }
  end
  if type(value) ~= "table" then
    return nil, { ("%s: must return a table of settings, as in: return { listen = \"127.0.0.1:8080\" }"):format(path) }
  end
  local checked, errors, part = settings.check(value, secrets)
  local origin = { source = source, raw = value, secrets = secrets, part = checked or part }
  local known = checked or part
  known.config_path, known.config_folder = path, folder_of(path)
  if checked and not reader.gaps[1] then
    return checked, nil, origin
  end
  local texts = config.error_texts(path, source, errors or {}, value)
  return nil, table.move(texts, 1, #texts, #reader.gaps + 1, reader.gaps), origin
end

--- Errors of a schema as "config.lua:12: listen: expected ...", in the order of the lines. raw: what was checked.
function config.error_texts(path, source, errors, raw)
  local lines, texts = locate(source or ""), {}
  for _, err in ipairs(errors) do
    local line = line_of(lines, err.path)
    if not has_gap(raw, err.path) then
      local text = ("%s:%s %s: %s"):format(path, line and line .. ":" or "", S.path_text(err.path), err.text)
      texts[#texts + 1] = { line = line or 0, text = text }
    end
  end
  table.sort(texts, function(a, b)
    if a.line ~= b.line then
      return a.line < b.line
    end
    return a.text < b.text
  end)
  for i, entry in ipairs(texts) do
    texts[i] = entry.text
  end
  return texts
end

return config
