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
-- Planned, and read by nobody yet: to accept it would let its author believe that it does something.
local later = S.any { optional = true, check = function()
  return nil, "is not there yet: this version of wick does nothing with it"
end }
local names = S.list(S.string { min_length = 1 }, { optional = true })
local middleware = S.record {
  name = S.string { min_length = 1 }, after = names, before = names, applies = fn, wrap = S.any { check = fn.check },
  cacheable = S.boolean { default = false, doc = "does not decide who may see an answer, so a cached one may be sent without it" },
  headers = S.map(S.string { pattern = "^[\32-\126]+$" }, { key_pattern = "^[%w-]+$", default = {},
    doc = "of each answer of the routes it applies to, unless the handler sets one of the same name" }),
}

-- Channels of NOTIFY: what runs for each note, and what when some may have been missed.
local listen_shape = S.record { note = S.any { check = fn.check }, gap = fn }
local listen = S.map(S.any { check = function(value)
  if type(value) == "function" then
    return true
  elseif type(value) ~= "table" then
    return nil, "expected function(payload, cx), or { note = function(payload, cx), gap = function(cx) }"
  end
  if value.note == nil then
    return nil, "note is missing: expected { note = function(payload, cx), gap = function(cx) }"
  end
  local _, errors = S.check(listen_shape, value, "lua")
  local first = errors and errors[1]
  return not first or nil, first and ("%s: %s"):format(S.path_text(first.path), first.text)
end }, {
  optional = true, max_items = 64,
  check = function(value)
    for name in pairs(value) do
      if #name == 0 or #name > 63 or name:find "%z" then
        return nil, ("%q cannot be a channel: its name has 1 to 63 bytes"):format(name)
      end
    end
    return true
  end,
})

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
  options = shape_field, routes = S.list(S.any {}, { optional = true }), middleware = S.list(middleware, { optional = true }),
  route_fields = S.map(S.any { check = shape_field.check }, { optional = true }), schema = S.string { optional = true, min_length = 1 },
  start = fn, stop = fn, listen = listen,
  route_query = later, health = later, alerts = later, migrations = later, partitions = later,
}

local ROUTE = {
  name = S.string { pattern = "^[a-z][a-z0-9_]*$", max_length = 60 },
  handler = S.any { check = fn.check },
  query = shape_field, body = shape_field, returns = S.any { optional = true }, doc = S.string { optional = true },
  cache = cache_shape, timeout = S.duration { optional = true, min = "1ms", max = "1h" },
  max_body = S.bytes { optional = true, max = "1GiB" }, reads = S.boolean { optional = true },
  batch = S.boolean { optional = true }, group = S.boolean { optional = true },
}

local function route_shape(extra, rest)
  local fields = {}
  for _, some in ipairs { extra, ROUTE } do
    for name, shape in pairs(some) do
      fields[name] = shape
    end
  end
  return S.record(fields, { rest = rest })
end

-- --- files ----------------------------------------------------------------------------------------------------------

-- The names of the plugins that could have been meant.
local function known_near(settings)
  local found = {}
  for _, folder in ipairs { settings.config_folder .. "plugins", native.plugins_dir } do
    for _, name in ipairs(native.list(folder) or {}) do
      found[#found + 1] = native.stat(folder .. "/" .. name .. "/init.lua") == "file" and name or nil
    end
  end
  return found
end

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
  return nil, ("no plugin %q: there is no init.lua in %s%s"):format(name, table.concat(tried, " or "),
    suggest.phrase(name, known_near(settings)))
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
  local loaded, loading = {}, {}
  return function(name)
    if loaded[name] == nil then
      local file = owner.folder .. "/" .. name:gsub("%.", "/") .. ".lua"
      if native.stat(file) ~= "file" then
        return nil
      elseif loading[name] then
        return nil, ("%s is required while it is being loaded: modules must not require each other in a circle"):format(file)
      end
      local chunk, why = load_file(file, owner.env)
      if not chunk then
        return nil, why
      end
      loading[name] = true
      local value = chunk()
      loading[name] = nil
      loaded[name] = value == nil and true or value
    end
    return loaded[name]
  end
end

-- A folder's plugin, loaded but not checked. other(name): the plugin of that name, loaded when it is not yet; or nil, why.
local function open(folder, other)
  local one = { folder = folder, errors = {}, borrows = {} }
  local short = folder:match("([^/]+)$")
  one.load_module = module_loader(one)
  one.env = sandbox.new(short, function(name)
    local owner, rest = name:match("^([^.]+)%.(.+)$")
    if owner == short then
      return one.load_module(rest)
    elseif not owner then
      return nil
    end
    one.borrows[owner] = true -- its table may not be there yet; check_borrows looks whether it names the owner
    if one.table and not (one.table.requires or {})[owner] then
      return nil, ("no module %q: plugin %s must say requires = { %s = \">=1.0\" } first"):format(name, short, owner)
    end
    local lender, why = other(owner)
    if not lender then
      return nil, why
    end
    return lender.load_module(rest)
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

-- Every plugin of the settings that loads, in the order of the settings; why the others do not goes to texts.
-- option_texts: see load_all.
local function open_all(settings, texts, option_texts)
  local opened, state = {}, {}
  local open_entry
  local function other(name)
    for index, entry in ipairs(settings.plugins) do
      if entry:match("([^/]+)/*$") == name then
        return open_entry(entry, index)
      end
    end
    return nil, ("plugin %s is not in plugins"):format(name)
  end
  function open_entry(entry, index)
    if state[entry] == "opening" then
      return nil, ("plugin %s is being loaded: plugins must not require each other's files in a circle"):format(entry)
    elseif not state[entry] then
      state[entry] = "opening"
      local folder, why = find(entry, settings)
      local one
      if folder then
        one, why = open(folder, other)
      else
        why = option_texts(index, { { path = {}, text = why } })[1]
      end
      state[entry], opened[entry] = "done", one
      texts[#texts + 1] = not one and why or nil
    end
    return opened[entry], opened[entry] == nil and ("plugin %s could not be loaded"):format(entry) or nil
  end
  local list, all = {}, {}
  for index, entry in ipairs(settings.plugins) do
    local one = open_entry(entry, index)
    local name = one and tostring(one.table.name)
    if name and all[name] then
      table.move(option_texts(index, { { path = {}, text = ("plugin %s is listed twice"):format(name) } }), 1, 1, #texts + 1, texts)
    elseif name then
      list[#list + 1], all[name] = one, one
    end
  end
  return list, all
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
    checked.method, checked.pattern, checked.index = method, pattern, index
  end
  return checked
end

-- Files of another plugin may be used by those who say that they need it.
local function check_borrows(one)
  local requires = type(one.table.requires) == "table" and one.table.requires or {}
  for owner in pairs(one.borrows) do
    if not requires[owner] then
      note(one, { "requires" }, ("uses files of plugin %s: write requires = { %s = \">=1.0\" }"):format(owner, owner))
    end
  end
end

-- True when a plugin that this one requires is not there: its fields of routes are then not known, and it is told once.
local function lacks_plugin(one, all)
  for name in pairs(type(one.table.requires) == "table" and one.table.requires or {}) do
    if not all[name] then
      return true
    end
  end
  return false
end

local function check_plugin(one, route_fields, all)
  local errors
  one.plugin, errors = S.check(S.record(PLUGIN), one.table, "lua")
  for _, err in ipairs(errors or {}) do
    note(one, err.path, err.text)
  end
  check_borrows(one)
  one.routes = {}
  local shape = route_shape(route_fields, lacks_plugin(one, all))
  for index, route in ipairs(type(one.table.routes) == "table" and one.table.routes or {}) do
    local checked = check_route(one, index, route, shape)
    one.routes[#one.routes + 1] = checked
  end
end

local function check_options(one, options, secrets)
  one.options, one.option_errors = {}, {}
  local shape = one.plugin and one.plugin.options
  if shape then
    local checked, errors = S.check(shape, options, "lua", secrets)
    one.options, one.option_errors = checked or {}, errors or {}
  elseif one.plugin and next(options) ~= nil then
    one.option_errors = { { path = {}, text = "this plugin has no options" } }
  end
end

-- Durations that are options get their values once the options are checked.
local function resolve_cache(one)
  local fields = one.plugin and one.plugin.options and one.plugin.options.fields or {}
  for _, route in ipairs(one.routes) do
    for _, key in ipairs { "ttl", "stale" } do
      local wanted = route.cache and route.cache[key]
      if type(wanted) == "table" then
        local field, known = fields[wanted.option], one.plugin and one.plugin.options and one.plugin.options.names or {}
        if not field or field.kind ~= "duration" then
          note(one, { "routes", route.index, "cache", key }, ("there is no option %q that is a duration%s"):format(wanted.option,
            field and "" or suggest.phrase(wanted.option, known)))
        end
        route.cache[key] = one.options[wanted.option]
      end
    end
  end
end

-- " (route service_list)" for errors of routes, whose index says little.
local function route_words(one, path)
  local route = path[1] == "routes" and type(one.table.routes) == "table" and one.table.routes[path[2]]
  if type(route) ~= "table" then
    return ""
  end
  return (" (route %s)"):format(tostring(route.name or ("%s %s"):format(tostring(route[1]), tostring(route[2]))))
end

local function texts_of(one)
  local lines, out = locate(one.source), {}
  for _, err in ipairs(one.errors) do
    local line
    for count = #err.path, 1, -1 do
      line = line or lines[S.path_text { table.unpack(err.path, 1, count) }]
    end
    out[#out + 1] = ("%s/init.lua:%s %s%s: %s"):format(one.folder, line and line .. ":" or "", S.path_text(err.path),
      route_words(one, err.path), err.text)
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

-- Options that belong to nobody.
local function check_leftovers(settings, all, texts, option_texts)
  local known, left = {}, {}
  for name in pairs(all) do
    known[#known + 1] = name
  end
  for name in pairs(settings.plugin_options) do
    left[#left + 1] = not all[name] and tostring(name) or nil
  end
  table.sort(left)
  for _, name in ipairs(left) do
    local text = "options for a plugin that is not listed" .. suggest.phrase(name, known)
    texts[#texts + 1] = option_texts(name, { { path = {}, text = text } })[1]
  end
end

-- What routes may say beyond the fields that wick knows. A name belongs to one plugin.
local function fields_of(list)
  local fields, owners = {}, {}
  for _, one in ipairs(list) do
    for name, shape in pairs(type(one.table.route_fields) == "table" and one.table.route_fields or {}) do
      local place = { "route_fields", name }
      if ROUTE[name] then
        note(one, place, "every route has a field of this name: give it another")
      elseif owners[name] then
        note(one, place, ("plugin %s declares this field of routes too: give one of them another name"):format(owners[name]))
      else
        owners[name], fields[name] = tostring(one.table.name), S.is(shape) and shape or nil
      end
    end
  end
  return fields
end

--- Loads every plugin of the settings. Returns the list in order, or nil and a list of texts, each one mistake.
-- Each entry: { plugin = (checked table), routes = { checked }, options =, folder =, table = (as returned) }.
-- option_texts(key, errors) turns errors below plugins.key (the name of a plugin with options, or a number of the list) into
-- texts with the line of config.lua. secrets: see S.check.
function plugin.load_all(settings, option_texts, secrets)
  local texts = {}
  local list, all = open_all(settings, texts, option_texts)
  local route_fields = fields_of(list)
  for _, one in ipairs(list) do
    check_plugin(one, route_fields, all)
    check_options(one, settings.plugin_options[one.table.name] or {}, secrets)
    resolve_cache(one)
    table.move(texts_of(one), 1, #one.errors, #texts + 1, texts)
    if #(one.option_errors or {}) > 0 then
      local wrong = option_texts(one.table.name, one.option_errors)
      table.move(wrong, 1, #wrong, #texts + 1, texts)
    end
  end
  check_leftovers(settings, all, texts, option_texts)
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
