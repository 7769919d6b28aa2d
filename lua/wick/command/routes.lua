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

local WIDTH = 80
local COLUMNS = { "method", "path", "name", "cache", "auth" }

-- The width of each column, and of the gaps between: 2, or 1 where the lines would be longer than WIDTH. Where that is not enough
-- the column of paths gets what the others leave, and a path that is longer has a line of its own.
local function layout(rows)
  local widths, sum = {}, 0
  for _, column in ipairs(COLUMNS) do
    widths[column] = #column
    for _, row in ipairs(rows) do
      widths[column] = math.max(widths[column], #(row[column] or "-"))
    end
    sum = sum + widths[column]
  end
  local gap = sum + 2 * (#COLUMNS - 1) <= WIDTH and 2 or 1
  local over = sum + gap * (#COLUMNS - 1) - WIDTH
  widths.path = over > 0 and math.max(widths.path - over, #"path") or widths.path
  return widths, gap
end

local function line_of(row, widths, gap)
  local cells = {}
  for i, column in ipairs(COLUMNS) do
    local text = row[column] or "-"
    cells[i] = text .. (" "):rep(widths[column] - #text)
    if column == "path" and #text > widths.path then
      cells[i] = text .. "\n" .. (" "):rep(widths.method + gap + widths.path)
    end
  end
  return (table.concat(cells, (" "):rep(gap)):gsub(" +$", ""))
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
    local widths, gap = layout(rows)
    local head = { method = "METHOD", path = "PATH", name = "NAME", cache = "CACHE", auth = "AUTH" }
    command.say("%s", line_of(head, widths, gap))
    for _, row in ipairs(rows) do
      command.say("%s", line_of(row, widths, gap))
    end
    return command.OK
  end,
}
