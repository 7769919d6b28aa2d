-- servers.lua - private PostgreSQL and Redis servers that a spec may kill, freeze and start again.
--
--   local servers = require "spec.support.servers"
--   local postgres = servers.postgres()                          -- postgres.url, .port, .dir
--   postgres:kill(); postgres:start()                            -- the same data on the same port
--   postgres:freeze(); postgres:thaw()                           -- SIGSTOP and SIGCONT to all its processes
--   postgres:query "select 1"                                    -- as psql -At prints it
--   servers.stop_all()                                           -- in after_each or teardown
--
-- The shared ones of a test run are in WICK_TEST_POSTGRES and WICK_TEST_REDIS: leave those alive.

local process = require "spec.support.process"
local http = require "spec.support.http"

local script = "spec/support/servers.sh"
local started = {}

local Server = {}
Server.__index = Server

local function call(...)
  local result = process.run { script, ... }
  if result.code ~= 0 then error(table.concat({ ... }, " ") .. ": " .. result.err, 3) end
  return result.out
end

function Server:start()
  local out = call(self.kind, "start", self.dir, table.unpack(self.flags))
  self.port, self.pid = math.tointeger(out:match "port=(%d+)"), math.tointeger(out:match "pid=(%d+)")
  self.url = out:match "url=(%S+)"
  return self
end

function Server:kill() call(self.kind, "signal", self.dir, "KILL") end
function Server:freeze() call(self.kind, "signal", self.dir, "STOP") end
function Server:thaw() call(self.kind, "signal", self.dir, "CONT") end
function Server:stop() call(self.kind, "stop", self.dir) end

-- What psql -At or redis-cli prints, without the last newline; raises with their message when they fail.
function Server:query(text)
  local words = self.kind == "postgres" and { "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-c", text, self.url }
      or { "redis-cli", "-u", self.url, table.unpack(text) }
  local result = process.run(words)
  if result.code ~= 0 then error(result.err, 2) end
  return (result.out:gsub("\n$", ""))
end

local function open(kind, options)
  options = options or {}
  local self = setmetatable({ kind = kind, dir = process.temp_dir(), flags = {} }, Server)
  if options.port then self.flags[1] = "--port=" .. options.port end
  if options.fsync then self.flags[#self.flags + 1] = "--fsync" end
  for name, value in pairs(options.set or {}) do
    self.flags[#self.flags + 1] = ("--set=%s=%s"):format(name, value)
  end
  if options.stopped then                                        -- known address, nobody there yet
    self.port = options.port or http.free_port()
    self.flags[1] = "--port=" .. self.port
    self.url = (kind == "postgres" and "postgres://wick:wick@127.0.0.1:%d/wick" or "redis://127.0.0.1:%d"):format(self.port)
  else
    self:start()
  end
  started[#started + 1] = self
  return self
end

local function stop_all()
  for _, server in ipairs(started) do
    server:stop()
    process.run { "rm", "-rf", server.dir }
  end
  started = {}
end

return {
  -- options: port, set = { max_connections = 20 }, fsync = true (PostgreSQL), stopped = true (start it later)
  postgres = function(options) return open("postgres", options) end,
  redis = function(options) return open("redis", options) end,
  stop_all = stop_all,
}
