--- What a plugin sees of the world: the harmless part of the standard library, a require of its own, and no other globals.
--
-- Writing or reading an undeclared global is an error with file and line. There is no io, no print, no debug, no os beyond the
-- clock, no loading of code. Bytecode is refused: plugins are text.

local native = require "wick.native"
local suggest = require "wick.suggest"

local sandbox = {}

local LIBRARY = { -- what `require "wick.x"` may be inside a plugin
  listing = true, schema = true, suggest = true, units = true,
}

local PLAIN = {
  "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset", "select",
  "tonumber", "tostring", "type", "_VERSION",
}

local JSON_DEPTH_MAX = 1000 -- cjson recurses in C: a deeper value would overflow its thread's stack

-- A plugin may change what it gets, and changes nobody else's.
local function own_copy(source, without)
  local out = {}
  for k, v in pairs(source) do
    if not (without and without[k]) then
      out[k] = v
    end
  end
  return out
end

-- All plugins of a VM have the same modules of wick, so none may change them. A view for each plugin: there is rawset.
local function read_only(name, module)
  return setmetatable({}, {
    __index = module, __metatable = false,
    __newindex = function(_, key)
      error(("%s.%s cannot be set: the module is everybody's"):format(name, tostring(key)), 2)
    end,
  })
end

-- Finalizers run where no limit of CPU time reaches them.
local function set_metatable(value, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    error("a plugin's tables have no __gc; clean up with local x <close>", 2)
  end
  return setmetatable(value, meta)
end

local function handled(handler, fine, ...)
  if fine then
    return true, ...
  end
  return false, select(2, pcall(handler, ...))
end

-- The handler runs after the error was caught, not within it, where no limit of CPU time reaches it; there is no debug library
-- that could tell the difference.
local function protected(f, handler, ...)
  return handled(handler, pcall(f, ...))
end

-- What lua-cjson may be set to within a plugin: its buffers stay its own, and an array is at most ten times as long as it has values.
local function guarded_depth(cjson, name)
  local set = cjson[name]
  return function(depth)
    if depth ~= nil and depth > JSON_DEPTH_MAX then
      error(("cjson.%s: at most %d"):format(name, JSON_DEPTH_MAX), 2)
    end
    return set(depth)
  end
end

local function guarded_sparse(cjson)
  local set = cjson.encode_sparse_array
  return function(convert, ratio, safe)
    if ratio ~= nil and not (ratio >= 1 and ratio <= 10) or safe ~= nil and not (safe >= 0 and safe <= 10) then
      error("cjson.encode_sparse_array: a ratio from 1 to 10, and safe up to 10", 2)
    end
    return set(convert, ratio, safe)
  end
end

-- cjson with settings of its own, and sizes and depths that are safe (core/script/guarded_cjson.c).
local function own_cjson()
  local cjson = require("cjson").new()
  cjson.encode_keep_buffer(false)
  for _, name in ipairs { "encode_max_depth", "decode_max_depth" } do
    cjson[name] = guarded_depth(cjson, name)
  end
  cjson.encode_sparse_array = guarded_sparse(cjson)
  cjson.encode = native.cjson_guard_encode(cjson.encode)
  cjson.decode = native.cjson_guard_decode(cjson.decode)
  cjson.new, cjson.encode_keep_buffer = nil, nil
  return cjson
end

local function base_names()
  local base = {}
  for _, name in ipairs(PLAIN) do
    base[name] = _G[name]
  end
  base.setmetatable = set_metatable
  base.xpcall = protected
  base.string = own_copy(string, { dump = true })
  base.table = own_copy(table)
  base.math = own_copy(math)
  base.utf8 = own_copy(utf8)
  base.coroutine = own_copy(coroutine)
  base.getmetatable = function(value) -- of texts it is shared by everybody
    if type(value) == "string" then
      return nil
    end
    return getmetatable(value)
  end
  base.os = { time = os.time, date = os.date, difftime = os.difftime, clock = os.clock }
  return base
end

-- What people look for and do not find.
local INSTEAD = {
  print = "log with cx.log:info(...)", io = "a plugin has no files", debug = "a plugin has no debug library",
  load = "a plugin is text in files; use require", loadfile = "use require", dofile = "use require", loadstring = "use require",
  package = "use require", collectgarbage = "memory is looked after", unpack = "it is table.unpack",
}

local function known_names(base)
  local names = { "require" }
  for name in pairs(base) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- An environment for a plugin. require_local(name) gives the modules of its own folder and of its dependencies, or nil.
function sandbox.new(plugin_name, require_local)
  local env, views, cjson = base_names(), {}, nil
  local names = known_names(env)
  env._G = env
  env.require = function(name)
    if type(name) ~= "string" then
      error("require wants the name of a module", 2)
    end
    local own = name:match("^wick%.(.+)$")
    if own then
      if not LIBRARY[own] then
        error(("plugins may require wick.schema, wick.listing, wick.units and wick.suggest, not %q; JSON is cx.json, or cjson")
          :format(name), 2)
      end
      views[own] = views[own] or read_only(name, require(name))
      return views[own]
    end
    if name == "cjson" then
      cjson = cjson or own_cjson()
      return cjson
    end
    local value, why = require_local(name)
    if value == nil then
      error(why or ("no module %q: plugin %s may require its own files (%s.x), those of the plugins it requires, and wick.*"):format(
        name, plugin_name, plugin_name), 2)
    end
    return value
  end
  return setmetatable(env, {
    __index = function(_, name)
      local instead = INSTEAD[name] or suggest.phrase(name, names):match("^ %((.*)%)$") or ("write local " .. tostring(name))
      error(("undeclared global %q: %s"):format(tostring(name), instead), 2)
    end,
    __newindex = function(_, name)
      error(("a plugin has no globals of its own: write local %s"):format(tostring(name)), 2)
    end,
    __metatable = "a plugin's environment",
  })
end

return sandbox
