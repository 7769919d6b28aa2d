--- Finds plugins, loads them in their sandboxes, checks their shape, and puts them in order.
--
-- A plugin is a folder whose init.lua returns a table; loading it has no side effects. Its own modules are files beside it:
-- require "registry.rules" inside plugin registry is rules.lua in that folder.

local native = require "wick.native"
local S = require "wick.schema"
local sandbox = require "wick.sandbox"
local suggest = require "wick.suggest"
local locate = require "wick.locate"
local order = require "wick.order"

local plugin = {}

local SOURCE_BYTES_MAX = 1048576
local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true, OPTIONS = true }

local fn = S.any { optional = true, check = function(value)
  return type(value) == "function" or nil, "expected a function"
end }
local shape_field = S.any { optional = true, check = function(value)
  return S.is(value) or nil, "expected a schema such as S.record { ... }"
end }
local names = S.list(S.string { min_length = 1 }, { optional = true })

-- A duration, or the name of a duration among the plugin's options: ttl = { option = "list_ttl" }.
local function duration_or_option(options)
  return S.any_of({ S.duration { min = "1ms" }, S.record { option = S.string { min_length = 1 } } }, options)
end

local cache_shape = S.record({
  ttl = duration_or_option {},
  stale = duration_or_option { optional = true, doc = "how long after ttl it may be served while one request refreshes it" },
  tags = S.list(S.string { min_length = 1 }, { optional = true, max_items = 8 }),
  vary = S.list(S.string { pattern = "^[%a-]+$" }, { optional = true, max_items = 4 }),
}, { optional = true })

local PLUGIN = {
  name = S.string { pattern = "^[a-z][a-z0-9_]*$", max_length = 40 },
  version = S.string { pattern = "^%d+%.%d+%.%d+$", default = "0.0.0" },
  api = S.int64 { default = 1, min = 1, max = 1 },
  requires = S.map(S.string { pattern = "^>=%d+%.%d+%.?%d*$" }, { optional = true }),
  after = names, before = names,
  options = shape_field, routes = S.any { optional = true }, middleware = S.any { optional = true },
  route_fields = S.any { optional = true }, schema = S.any { optional = true },
  start = fn, stop = fn, route_query = fn, health = fn,
  alerts = S.any { optional = true }, migrations = S.any { optional = true }, partitions = S.any { optional = true },
}

local function route_shape(extra)
  local fields = {
    name = S.string { pattern = "^[a-z][a-z0-9_]*$", max_length = 60 },
    handler = S.any { check = fn.check },
    query = shape_field, body = shape_field, returns = S.any { optional = true }, doc = S.string { optional = true },
    cache = cache_shape, timeout = S.duration { optional = true, min = "1ms", max = "1h" },
    max_body = S.bytes { optional = true, max = "1GiB" }, reads = S.boolean { optional = true },
  }
  for name, shape in pairs(extra) do
    fields[name] = shape
  end
  return S.record(fields)
end

-- --- files ----------------------------------------------------------------------------------------------------------

local function find(name, settings)
  local tried = {}
  local places = name:find("/", 1, true)
      and { name:sub(1, 1) == "/" and name or settings.config_folder .. name }
      or { settings.config_folder .. "plugins/" .. name, native.plugins_dir .. "/" .. name }
  for _, place in ipairs(places) do
    place = place:gsub("/+$", "")
    if native.stat(place .. "/init.lua") == "file" then
      return place
    end
    tried[#tried + 1] = place
  end
  return nil, ("no plugin %q: there is no init.lua in %s"):format(name, table.concat(tried, " or "))
end

local function load_file(path, env)
  local source, why = native.read_file(path, SOURCE_BYTES_MAX)
  if not source then
    return nil, ("%s: %s"):format(path, why)
  end
  local chunk, syntax = native.load_plugin_chunk(source, "@" .. path, env)
  if not chunk then
    return nil, syntax
  end
  return chunk, nil, source
end

-- A module of a folder, loaded once for the plugin that owns the folder.
local function module_loader(owner)
  local loaded = {}
  return function(name)
    if loaded[name] == nil then
      local file = owner.folder .. "/" .. name:gsub("%.", "/") .. ".lua"
      if native.stat(file) ~= "file" then
        return nil
      end
      local chunk, why = load_file(file, owner.env)
      if not chunk then
        return nil, why
      end
      local value = chunk()
      loaded[name] = value == nil and true or value
    end
    return loaded[name]
  end
end

local function open(folder, all)
  local one = { folder = folder, errors = {} }
  local short = folder:match("([^/]+)$")
  one.load_module = module_loader(one)
  one.env = sandbox.new(short, function(name)
    local owner, rest = name:match("^([^.]+)%.(.+)$")
    if owner == short then
      return one.load_module(rest)
    end
    local other = all[owner]
    if other and one.table and one.table.requires and one.table.requires[owner] then
      return other.load_module(rest)
    end
    return nil
  end)
  local chunk, why, source = load_file(folder .. "/init.lua", one.env)
  if not chunk then
    return nil, why
  end
  one.source = source
  local fine, value = xpcall(chunk, function(err)
    return type(err) == "string" and err or tostring(err)
  end)
  if not fine then
    return nil, value
  end
  if type(value) ~= "table" then
    return nil, ("%s/init.lua: must return a table: return { name = %q, routes = { ... } }"):format(folder, short)
  end
  one.table = value
  return one
end

-- --- shape ----------------------------------------------------------------------------------------------------------

local function note(one, path, text)
  one.errors[#one.errors + 1] = { path = path, text = text }
end

local function check_route(one, index, route, shape)
  local function wrong(key, text)
    note(one, { "routes", index, key }, text)
  end
  if type(route) ~= "table" then
    return note(one, { "routes", index }, 'expected a table: { "GET", "/path", name = "...", handler = function(req, cx) ... end }')
  end
  local method, pattern = route[1], route[2]
  if not METHODS[method] then
    wrong(1, ("expected a method first (GET, POST, PUT, PATCH, DELETE), got %s"):format(tostring(method)))
  end
  local fine, why = native.match_check(tostring(pattern))
  if not fine then
    wrong(2, why)
  end
  local named = {}
  for k, v in pairs(route) do
    if k ~= 1 and k ~= 2 then
      named[k] = v
    end
  end
  local checked, errors = S.check(shape, named, "lua")
  for _, err in ipairs(errors or {}) do
    note(one, { "routes", index, table.unpack(err.path) }, err.text)
  end
  if checked then
    if checked.cache and method ~= "GET" then
      wrong("cache", "only GET routes can be cached")
    end
    if checked.body and (method == "GET" or method == "DELETE") then
      wrong("body", ("a %s request has no body"):format(method))
    end
    checked.method, checked.pattern = method, pattern
  end
  return checked
end

local function check_plugin(one, route_fields)
  local errors
  one.plugin, errors = S.check(S.record(PLUGIN), one.table, "lua")
  for _, err in ipairs(errors or {}) do
    note(one, err.path, err.text)
  end
  one.routes = {}
  local shape = route_shape(route_fields)
  for index, route in ipairs(type(one.table.routes) == "table" and one.table.routes or {}) do
    local checked = check_route(one, index, route, shape)
    one.routes[#one.routes + 1] = checked
  end
end

local function check_options(one, options)
  if not one.plugin then
    return
  end
  local shape = one.plugin.options
  if not shape then
    if next(options) ~= nil then
      note(one, { "options" }, "this plugin has no options")
    end
    one.options = {}
    return
  end
  local checked, errors = S.check(shape, options, "lua")
  one.options, one.option_errors = checked or {}, errors or {}
end

-- Durations that are options get their values once the options are checked.
local function resolve_cache(one)
  for index, route in ipairs(one.routes) do
    for _, key in ipairs { "ttl", "stale" } do
      local wanted = route.cache and route.cache[key]
      if type(wanted) == "table" then
        local value = one.options[wanted.option]
        if math.type(value) ~= "integer" then
          note(one, { "routes", index, "cache", key }, ("there is no option %q that is a duration"):format(wanted.option))
          value = 1
        end
        route.cache[key] = value
      end
    end
  end
end

local function texts_of(one)
  local lines, out = locate(one.source), {}
  for _, err in ipairs(one.errors) do
    local line
    for count = #err.path, 1, -1 do
      line = line or lines[S.path_text { table.unpack(err.path, 1, count) }]
    end
    out[#out + 1] = ("%s/init.lua:%s %s: %s"):format(one.folder, line and line .. ":" or "", S.path_text(err.path), err.text)
  end
  return out
end

-- --- together -------------------------------------------------------------------------------------------------------

local function version_fits(have, want)
  local function parts(text)
    local a, b, c = text:match("(%d+)%.(%d+)%.?(%d*)")
    return tonumber(a) * 1000000 + tonumber(b) * 1000 + (tonumber(c) or 0)
  end
  return parts(have) >= parts(want)
end

local function check_requires(all, list, texts)
  for _, one in ipairs(list) do
    for name, want in pairs(one.plugin and one.plugin.requires or {}) do
      local other = all[name]
      local known = {}
      for other_name in pairs(all) do
        known[#known + 1] = other_name
      end
      if not other then
        texts[#texts + 1] = ("%s/init.lua: requires the plugin %q, which is not in plugins%s"):format(one.folder, name,
          suggest.phrase(name, known))
      elseif other.plugin and not version_fits(other.plugin.version, want) then
        texts[#texts + 1] = ("%s/init.lua: requires %s %s, but it is %s"):format(one.folder, name, want, other.plugin.version)
      end
    end
  end
end

local function in_order(list)
  local items = {}
  for i, one in ipairs(list) do
    local after = {}
    for _, name in ipairs(one.plugin.after or {}) do
      after[#after + 1] = name
    end
    for name in pairs(one.plugin.requires or {}) do
      after[#after + 1] = name
    end
    table.sort(after)
    items[i] = { name = one.plugin.name, after = after, before = one.plugin.before, one = one }
  end
  local sorted, why = order(items)
  if not sorted then
    return nil, why
  end
  local out = {}
  for i, item in ipairs(sorted) do
    out[i] = item.one
  end
  return out
end

--- Loads every plugin of the settings. Returns the list in order, or nil and a list of texts, each one mistake.
-- Each entry: { plugin = (checked table), routes = { checked }, options =, folder =, table = (as returned) }.
-- option_texts(path, errors) turns errors in options into texts with the line of config.lua.
function plugin.load_all(settings, option_texts)
  local list, all, texts = {}, {}, {}
  for _, name in ipairs(settings.plugins) do
    local folder, why = find(name, settings)
    local one
    if folder then
      one, why = open(folder, all)
    end
    if not one then
      texts[#texts + 1] = why
    elseif all[one.table.name] then
      texts[#texts + 1] = ("plugin %s is listed twice"):format(tostring(one.table.name))
    else
      list[#list + 1] = one
      all[tostring(one.table.name)] = one
    end
  end
  local route_fields = {}
  for _, one in ipairs(list) do
    for name, shape in pairs(one.table.route_fields or {}) do
      route_fields[name] = shape
    end
  end
  for _, one in ipairs(list) do
    check_plugin(one, route_fields)
    check_options(one, settings.plugin_options[one.table.name] or {})
    resolve_cache(one)
    for _, text in ipairs(texts_of(one)) do
      texts[#texts + 1] = text
    end
    for _, text in ipairs(#(one.option_errors or {}) > 0 and option_texts(one.table.name, one.option_errors) or {}) do
      texts[#texts + 1] = text
    end
  end
  local known = {}
  for name in pairs(all) do
    known[#known + 1] = name
  end
  for name in pairs(settings.plugin_options) do
    if not all[name] then
      texts[#texts + 1] = ("plugins.%s: options for a plugin that is not listed%s"):format(name, suggest.phrase(name, known))
    end
  end
  check_requires(all, list, texts)
  if #texts > 0 then
    return nil, texts
  end
  local sorted, why = in_order(list)
  if not sorted then
    return nil, { "plugins: " .. why }
  end
  return sorted
end

return plugin
