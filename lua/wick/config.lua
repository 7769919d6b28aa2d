--- Reads config.lua: one table, evaluated once, in an environment of its own with `env`, `file` and `include`.
--
--   env "X"            the environment variable X; an error when it is not set
--   env("X", default)  likewise, or the default
--   file "path"        the contents of a file without the line end at its end (for secrets)
--   include "path"     the table that another such file returns
-- Paths are relative to the file that names them.
--
-- All mistakes are reported at once, each with file and line and, where one is near, the name that was probably meant. No
-- message shows what came from `env` or `file`.

local S = require "wick.schema"
local settings = require "wick.settings"
local locate = require "wick.locate"

local config = {}

local function folder_of(path)
  return path:match("^(.*/)[^/]*$") or "./"
end

local function relative(path, base)
  return path:sub(1, 1) == "/" and path or base .. path
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

-- One file, evaluated. world: { env = function(name), read_file = function(path, max) }.
local function evaluate(path, world, secrets, depth)
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
        error(("the environment variable %s is not set; set it, or write env(%q, default)"):format(name, name), 2)
      end
      return default
    end,
    file = function(name)
      want_path(name, "file")
      local text, problem = world.read_file(relative(name, folder_of(path)), 65536)
      if not text then
        error(("file %q: %s"):format(name, problem), 2)
      end
      text = text:gsub("\r?\n$", "")
      secrets[text] = ("the file %q"):format(name)
      return text
    end,
    include = function(name)
      want_path(name, "include")
      if depth >= 8 then
        error("include goes deeper than 8 files; does a file include itself?", 2)
      end
      local value, problem = evaluate(relative(name, folder_of(path)), world, secrets, depth + 1)
      if value == nil then
        error(problem or ("include %q: the file returns nothing"):format(name), 2)
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
  local fine, value = pcall(chunk)
  if not fine then
    return nil, without_texts(tostring(value), secrets)
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

--- Reads and checks a configuration. Returns the settings, nil and where they come from ({ source =, raw =, secrets = }), or nil,
--- a list of texts, each one mistake, and where they come from with the part of the settings that names the plugins (`part`) or
--- nil when there is none. world: { env = function(name), read_file = function(path, bytes_max) }.
function config.load(path, world)
  local secrets = {}
  local value, problem, source = evaluate(path, world, secrets, 0)
  if problem then
    return nil, { problem }
  end
  if type(value) ~= "table" then
    return nil, { ("%s: must return a table of settings, as in: return { listen = \"127.0.0.1:8080\" }"):format(path) }
  end
  local checked, errors, part = settings.check(value, secrets)
  local origin = { source = source, raw = value, secrets = secrets, part = part }
  local known = checked or part
  known.config_path, known.config_folder = path, folder_of(path)
  if checked then
    return checked, nil, origin
  end
  return nil, config.error_texts(path, source, errors), origin
end

--- Errors of a schema as "config.lua:12: listen: expected ...", in the order of the lines.
function config.error_texts(path, source, errors)
  local lines, texts = locate(source or ""), {}
  for i, err in ipairs(errors) do
    local line = line_of(lines, err.path)
    texts[i] = { line = line or 0, text = ("%s:%s %s: %s"):format(path, line and line .. ":" or "", S.path_text(err.path), err.text) }
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
