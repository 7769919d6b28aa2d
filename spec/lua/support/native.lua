-- native.lua - as much of wick.native as the Lua library needs to load plugins and commands without a server.
--
--   local native = require "spec.lua.support.native"      -- before the first require of wick.schema
--   native.routes                                          -- what native.route_add was given
--
-- match_check knows the shape of patterns only; the real one is core/http/route.c. check_url takes every URL.

local cjson = require "cjson"
local uv = require "luv"

local ARRAY, OBJECT = { __name = "json.array", __metatable = false }, { __name = "json.object", __metatable = false }

local native = { version = "0.0.0", libraries = {}, routes = {}, written = { "", "" }, environment = {} }

native.json = {
  null = cjson.null,
  encode = function(value) return cjson.encode(value) end,
  array = function(t) return debug.setmetatable(t, ARRAY) end,
  object = function(t) return debug.setmetatable(t, OBJECT) end,
  is_array = function(t) return type(t) == "table" and (#t > 0 or debug.getmetatable(t) == ARRAY) end,
}

native.plugins_dir = uv.cwd() .. "/plugins"

function native.stat(path)
  local stat = uv.fs_stat(path)
  return stat and (stat.type == "directory" and "dir" or stat.type) or nil
end

function native.list(path)
  local names, scan = {}, uv.fs_scandir(path)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    names[#names + 1] = name
  end
  return names
end

function native.read_file(path, bytes_max)
  local file, why = io.open(path, "rb")
  if not file then
    return nil, why:match ": (.*)$"
  end
  local text = file:read(bytes_max + 1) or ""
  file:close()
  if #text > bytes_max then
    return nil, "the file is larger than it may be"
  end
  return text
end

function native.check_url() return true end

function native.load_plugin_chunk(source, name, env)
  return load(source, name, "t", env)
end

function native.cjson_guard_encode(encode) return encode end
function native.cjson_guard_decode(decode) return decode end

function native.match_check(pattern)
  if pattern:match "^/[%w/{}:_.-]*$" then
    return true
  end
  return nil, ("%q is no pattern"):format(pattern)
end

function native.route_add(route)
  native.routes[#native.routes + 1] = route
  return true
end

function native.cx(name, options) return { plugin = name, options = options } end
function native.env(name) return native.environment[name] end

function native.write(fd, text)
  native.written[fd] = native.written[fd] .. text
  return true
end

package.loaded["wick.native"] = native

return native
