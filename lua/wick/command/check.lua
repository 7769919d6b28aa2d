--- wick check: says everything that is wrong with the configuration and the plugins, or what would be served.

local native = require "wick.native"
local worker = require "wick.worker"

local function engine_text(settings)
  local database = settings.database
  if database.sqlite then
    return ("SQLite file %s%s"):format(database.sqlite.path,
      database.postgres and " (PostgreSQL is configured, and not used)" or "")
  end
  return "PostgreSQL"
end

local function warnings_of(settings)
  local out = {}
  local function warn(format, ...)
    out[#out + 1] = format:format(...)
  end
  local admin, sqlite = settings.admin, settings.database.sqlite
  if admin and not (admin:match("^127%.") or admin:match("^localhost:") or admin:match("^%[::1%]") or admin:match("^/")) then
    warn("admin %s is reachable from other machines, and it asks nobody who they are; bind it to 127.0.0.1", admin)
  end
  if sqlite and native.stat(sqlite.path:sub(1, 1) == "/" and sqlite.path or settings.config_folder .. sqlite.path) == nil then
    warn(sqlite.create and "the SQLite file %s is not there yet; serving makes it"
      or "the SQLite file %s is not there, and create is false: serving will not start", sqlite.path)
  end
  if sqlite and settings.database.postgres then
    warn("database has both sqlite and postgres: everything is served from the SQLite file %s, nothing goes to PostgreSQL (wick move "
      .. "is not there yet); set sqlite = false to serve from PostgreSQL", sqlite.path)
  end
  return out
end

return {
  summary = "Check the configuration and the plugins without serving.",
  run = function(args, command)
    local settings, routes = command.load(args)
    if not settings then
      return command.CONFIGURATION
    end
    local warnings = warnings_of(settings)
    if args.json then
      command.say(native.json.encode { ok = true, routes = routes, plugins = #worker.plugins, warnings = native.json.array(warnings) })
      return command.OK
    end
    for _, text in ipairs(warnings) do
      command.say("warning: %s", text)
    end
    local count = #worker.plugins
    command.say("%s is fine: %d plugin%s, %d routes, %s%s", args.config, count, count == 1 and "" or "s", routes, engine_text(settings),
      #warnings > 0 and (", %d warning%s"):format(#warnings, #warnings == 1 and "" or "s") or "")
    return command.OK
  end,
}
