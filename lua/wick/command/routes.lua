--- wick routes: lists every route with its plugin, its cache and who may call it.

local native = require "wick.native"
local units = require "wick.units"
local worker = require "wick.worker"

local function rows_of(plugins)
  local rows = {}
  for _, one in ipairs(plugins) do
    for _, route in ipairs(one.routes) do
      rows[#rows + 1] = {
        method = route.method, path = route.pattern, name = route.name, plugin = one.plugin.name,
        cache = route.cache and units.duration_text(route.cache.ttl) or nil, auth = route.auth, doc = route.doc,
      }
    end
  end
  table.sort(rows, function(a, b)
    if a.path ~= b.path then
      return a.path < b.path
    end
    return a.method < b.method
  end)
  return rows
end

local function widest(rows, field, least)
  local width = least
  for _, row in ipairs(rows) do
    width = math.max(width, #(row[field] or ""))
  end
  return width
end

return {
  summary = "List the routes.",
  run = function(args, command)
    local settings = command.load(args)
    if not settings then
      return command.CONFIGURATION
    end
    local rows = rows_of(worker.plugins)
    if args.json then
      command.say(native.json.encode(native.json.array(rows)))
      return command.OK
    end
    local format = ("%%-6s  %%-%ds  %%-%ds  %%-5s  %%s"):format(widest(rows, "path", 4), widest(rows, "name", 4))
    command.say((format:format("METHOD", "PATH", "NAME", "CACHE", "AUTH"):gsub("%s+$", "")))
    for _, row in ipairs(rows) do
      command.say((format:format(row.method, row.path, row.name, row.cache or "-", row.auth or "-"):gsub("%s+$", "")))
    end
    return command.OK
  end,
}
