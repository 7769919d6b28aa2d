-- wick.lua - starts wick the way an operator does, for specs that look at it from outside.
--
--   local wick = require "spec.support.wick"
--   local server = wick.start { plugins = { hello = [[ return { name = "hello", ... } ]] } }
--   assert.equal(200, server:get "/hello".status)
--   local code, log = server:stop()
--   after_each(wick.stop_all)
--
-- Each server has a folder of its own with config.lua, plugins/ and wick.db, and free ports; it is WICK_BIN, else
-- build/release/wick. A configuration is a table laid over the default one below, or a text in which ${port}, ${admin},
-- ${dir}, ${top} and ${plugins} (a list of the given plugins' folders) are filled in.

local uv = require "luv"
local process = require "spec.support.process"
local http = require "spec.support.http"

local top = uv.cwd()
local started = {}

local Server = {}
Server.__index = Server

local function binary() return os.getenv "WICK_BIN" or top .. "/build/release/wick" end

-- --- configuration ---

-- A Lua value as Lua source.
local function source(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts, seen = {}, {}
  for index, item in ipairs(value) do
    parts[#parts + 1], seen[index] = source(item), true
  end
  for key, item in pairs(value) do
    if not seen[key] then parts[#parts + 1] = ("[%s] = %s"):format(source(key), source(item)) end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- `over` laid over `base`; lists replace lists, false stays false.
local function merged(base, over)
  if type(base) ~= "table" or type(over) ~= "table" or #over > 0 then return over end
  local all = {}
  for key, value in pairs(base) do all[key] = value end
  for key, value in pairs(over) do all[key] = merged(base[key], value) end
  return all
end

-- A plugin is the text of its init.lua, or a table from file name to text.
local function write_plugin(dir, files)
  assert(uv.fs_mkdir(dir, tonumber("755", 8)))
  if type(files) == "string" then files = { ["init.lua"] = files } end
  for name, text in pairs(files) do
    local folder = name:match "^(.*)/"
    if folder then process.run { "mkdir", "-p", dir .. "/" .. folder } end
    process.write_file(dir .. "/" .. name, text)
  end
end

local function write_plugins(self, plugins)
  local folders = {}
  assert(uv.fs_mkdir(self.dir .. "/plugins", tonumber("755", 8)))
  for name, files in pairs(plugins or {}) do
    folders[#folders + 1] = self.dir .. "/plugins/" .. name
    write_plugin(folders[#folders], files)
  end
  table.sort(folders)
  return folders
end

local function default_config(self, folders)
  return {
    listen = "127.0.0.1:" .. self.port,
    admin = "127.0.0.1:" .. self.admin_port,
    workers = 1,
    database = { sqlite = { path = self.dir .. "/wick.db" } },
    plugins = folders,
  }
end

-- The text of config.lua for these options.
local function config_text(self, config, folders)
  if type(config) ~= "string" then
    return "return " .. source(merged(default_config(self, folders), config or {})) .. "\n"
  end
  local known = { port = self.port, admin = self.admin_port, dir = self.dir, top = top, plugins = source(folders) }
  return (config:gsub("%${(%w+)}", function(name) return known[name] and tostring(known[name]) end))
end

-- --- a server ---

-- Starts the process, and does not wait for anything.
function Server:launch()
  local words = { binary(), "serve", "--config", self.config_path, table.unpack(self.arguments) }
  table.move(words, 1, #words, #self.under + 1)
  table.move(self.under, 1, #self.under, 1, words)
  self.process = process.start(words, {
    out = self.dir .. "/out", err = self.log_path, cwd = self.cwd, env = self.env,
  })
  self.pid = self.process.pid
  return self
end

function Server:log() return process.read_file(self.log_path) end

local function answers(self)
  if not self.process:is_running() then
    error(("wick ended with code %s:\n%s"):format(self.process.code, self:log()), 0)
  end
  local health = http.request(self.admin_port, "GET", "/healthz")
  local conn = health and health.status == 200 and http.connect(self.port)
  if conn then conn:close() end
  return conn
end

-- Waits until it is alive (/healthz) and listens; raises with its log when it does not come up.
function Server:wait_until_up(timeout_ms)
  if not process.eventually(function() return answers(self) end, timeout_ms or 10000) then
    error("wick does not answer:\n" .. self:log(), 2)
  end
  return self
end

-- Waits until /readyz says 200, databases included.
function Server:wait_until_ready(timeout_ms)
  local ready = process.eventually(function()
    local response = http.request(self.admin_port, "GET", "/readyz")
    return response and response.status == 200
  end, timeout_ms or 10000)
  if not ready then error("wick is not ready:\n" .. self:log(), 2) end
  return self
end

function Server:connect() return http.connect(self.port) end
function Server:request(method, path, options) return http.request(self.port, method, path, options) end
function Server:get(path, headers) return self:request("GET", path, { headers = headers }) end
function Server:admin(path) return http.request(self.admin_port, "GET", path) end

function Server:signal(name) self.process:signal(name) end
function Server:is_running() return self.process:is_running() end

-- Sends a signal (default "sigterm") and waits: exit code, everything it logged, and the signal that ended it (0: none).
function Server:stop(name, timeout_ms)
  self:signal(name or "sigterm")
  local code, signal = self.process:wait(timeout_ms or 15000)
  if not code then
    self:signal "sigkill"
    self.process:wait()
    error("wick does not stop:\n" .. self:log(), 2)
  end
  return code, self:log(), signal
end

-- Stops it if it runs (with that signal, e.g. "sigkill"), starts it again on the same files and ports.
function Server:restart(name)
  if self:is_running() then self:stop(name) end
  return self:launch():wait_until_up()
end

-- Sum of a metric over all its label sets that contain `labels` (a plain text such as 'route="x"'), 0 when absent.
function Server:metric(name, labels)
  local sum = 0
  for line in self:admin "/metrics".body:gmatch "[^\n]+" do
    local found, rest, value = line:match "^([%w_:]+)(%b{}) (%S+)"
    if not found then
      found, value = line:match "^([%w_:]+) (%S+)"
      rest = ""
    end
    if found == name and (not labels or rest:find(labels, 1, true)) then sum = sum + tonumber(value) end
  end
  return sum
end

-- options: config (table or text), plugins (name -> text or files), arguments, env, cwd, wait (false: do not wait), under (words
-- before the command, such as { "setpriv", "--reuid=nobody" }).
local function start(options)
  options = options or {}
  local self = setmetatable({
    dir = process.temp_dir(), port = http.free_port(), admin_port = http.free_port(),
    arguments = options.arguments or {}, env = options.env, cwd = options.cwd or top, under = options.under or {},
  }, Server)
  self.config_path, self.log_path = self.dir .. "/config.lua", self.dir .. "/log"
  local folders = write_plugins(self, options.plugins)
  process.write_file(self.config_path, config_text(self, options.config, folders))
  started[#started + 1] = self
  self:launch()
  if options.wait ~= false then self:wait_until_up() end
  return self
end

-- Runs `wick WORD...` to its end: code, out, err in a table. `config` (text) becomes the file of --config.
local function command(words, options)
  options = options or {}
  local all, path = { binary(), table.unpack(words) }, nil
  if options.config then
    path = process.temp_dir() .. "/config.lua"
    process.write_file(path, options.config)
    all[#all + 1], all[#all + 2] = "--config", path
  end
  local result = process.run(all, { env = options.env, cwd = options.cwd, stdin = options.stdin })
  if path then process.run { "rm", "-rf", (path:match "^(.*)/") } end
  result.config_path = path
  return result
end

local function stop_all()
  for _, server in ipairs(started) do
    if server:is_running() then
      server:signal "sigkill"
      server.process:wait()
    end
    process.run { "rm", "-rf", server.dir }
  end
  started = {}
end

return { start = start, command = command, stop_all = stop_all, binary = binary, top = top, source = source }
