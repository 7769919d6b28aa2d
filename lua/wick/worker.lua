--- What a VM that serves does with the settings: loads plugins, adds routes, prepares the database, starts and stops.

local native = require "wick.native"
local config = require "wick.config"
local plugin = require "wick.plugin"
local route = require "wick.route"
local statements = require "wick.statements"

-- started: the first so many of plugins have. is_stopping: stop was called, which counts them down again.
local worker = { plugins = {}, started = 0, is_stopping = false }

local READ_ONLY = "25006"
local SCHEMA_BYTES = 1048576
local SCHEMA_LOCK = 7233498 -- pg_advisory_xact_lock: one node at a time makes tables

local function schema_path(one, dialect)
  return ("%s/%s/%s.sql"):format(one.folder, one.plugin.schema, dialect)
end

-- What is wrong with the file that makes a plugin's tables, or nil.
local function schema_mistake(one, dialect)
  local path = schema_path(one, dialect)
  local text, why = native.read_file(path, SCHEMA_BYTES)
  if not text then
    return ("%s/init.lua: schema: %s: %s; it makes the tables of this plugin on %s"):format(one.folder, path, why,
      dialect == "sqlite" and "SQLite" or "PostgreSQL")
  end
  local list, mistake, line = statements(text)
  return not list and ("%s:%d: %s; the file makes the tables of plugin %s"):format(path, line, mistake, one.plugin.name) or nil
end

-- The plugins whose tables nobody could make: a text for each, which is better read now than when serving begins.
local function without_tables(plugins, settings)
  local texts = {}
  if type(settings.database) ~= "table" then -- it has a mistake, which is told elsewhere
    return texts
  end
  local dialect = settings.database.sqlite and "sqlite" or "postgres"
  for _, one in ipairs(plugins) do
    texts[#texts + 1] = one.plugin.schema and schema_mistake(one, dialect) or nil
  end
  return texts
end

--- Loads the plugins, without routes: gives the list, or nil and a list of texts. origin: see boot.
function worker.load(settings, origin)
  local function option_texts(name, errors)
    for _, err in ipairs(errors) do
      err.path = { "plugins", name, table.unpack(err.path) }
    end
    return config.error_texts(settings.config_path or "config.lua", origin.source or "", errors, origin.raw)
  end
  local plugins, texts = plugin.load_all(settings, option_texts, origin.secrets)
  if not plugins then
    return nil, texts
  end
  texts = without_tables(plugins, settings)
  return #texts == 0 and plugins or nil, texts
end

-- What a plugin listens to; each channel once, in the order of their names.
local function add_listeners(one)
  local channels = {}
  for channel in pairs(one.plugin.listen or {}) do
    channels[#channels + 1] = channel
  end
  table.sort(channels)
  for _, channel in ipairs(channels) do
    local entry = one.plugin.listen[channel]
    local is_table = type(entry) == "table"
    native.listen(one.plugin.name, channel, one.cx, is_table and entry.note or entry, is_table and entry.gap or nil)
  end
end

--- Loads plugins and routes. Returns the number of routes, or nil and a list of texts, each one mistake.
-- origin: where the settings come from, as config.load gives it, for the lines of mistakes in options (may be nil).
function worker.boot(settings, origin)
  local plugins, texts = worker.load(settings, origin or {})
  if not plugins then
    return nil, texts
  end
  for _, one in ipairs(plugins) do
    one.cx = native.cx(one.plugin.name, one.options)
    add_listeners(one)
  end
  worker.plugins = plugins
  return route.add_all(plugins, settings)
end

local function sqlstate(problem)
  local fine, state = pcall(function() return problem.sqlstate end)
  return fine and state
end

local function schema_of(one, dialect)
  if not one.plugin.schema then
    return {}
  end
  local path = schema_path(one, dialect)
  local text, why = native.read_file(path, SCHEMA_BYTES)
  if not text then
    error(("%s: %s"):format(path, why), 0)
  end
  local list, mistake, line = statements(text)
  return list or error(("%s:%d: %s"):format(path, line, mistake), 0)
end

-- All tables of one plugin, in one transaction.
local function make_tables(cx, list)
  local tx <close> = cx.db:begin { timeout = "60s" }
  if cx.dialect == "postgres" then
    tx:exec("select pg_advisory_xact_lock($1)", SCHEMA_LOCK)
  end
  for _, statement in ipairs(list) do
    tx:exec(statement)
  end
  tx:commit()
end

--- Makes the tables the plugins need where they are missing. Runs as a task. A failure of the database may be over at the
-- next try; any other error will not be.
function worker.prepare()
  for _, one in ipairs(worker.plugins) do
    local list = schema_of(one, one.cx.dialect)
    if #list > 0 then
      local fine, problem = xpcall(make_tables, native.traceback, one.cx, list)
      if not fine and one.cx.dialect == "sqlite" and sqlstate(problem) == READ_ONLY then
        error(("%s/init.lua: cannot make its tables: the SQLite file is read-only; %s"):format(one.folder,
          "correct the permissions of the file and of its folder, and start again"), 0)
      elseif not fine then
        error(problem, 0)
      end
    end
  end
end

--- Runs the plugins' start functions in order. After one that failed, the next call goes on with that one. Runs as a task; when
--- stop comes while one waits, that one is stopped by itself as soon as it has started, and no other is started.
function worker.start()
  while worker.started < #worker.plugins and not worker.is_stopping do
    local one = worker.plugins[worker.started + 1]
    if one.plugin.start then
      one.plugin.start(one.options, one.cx)
    end
    if worker.is_stopping then
      return one.plugin.stop and one.plugin.stop(one.cx)
    end
    worker.started = worker.started + 1
  end
end

--- Stops the plugins that have started, the last one first; raises the first failure, after all had their turn. Runs as a task.
function worker.stop()
  local failure
  worker.is_stopping = true
  while worker.started > 0 do
    local one = worker.plugins[worker.started]
    worker.started = worker.started - 1
    if one.plugin.stop then
      local fine, problem = xpcall(one.plugin.stop, native.traceback, one.cx)
      failure = failure or not fine and problem
    end
  end
  if failure then
    error(failure, 0)
  end
end

return worker
