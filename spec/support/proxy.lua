-- proxy.lua - a fault proxy (fault_proxy.c, where its commands are) in front of a server, for specs.
--
--   local proxy = require("spec.support.proxy").start(postgres.port)
--   proxy.port                                                  -- leads through it
--   proxy:url(postgres.url)                                     -- the server's URL with that port
--   proxy:tell "set down_fragment=1"; proxy:tell "on D half rst"
--   proxy:stat().open
--   proxy:stop()                                                -- or stop_all() in after_each

local socket = require "socket"
local process = require "spec.support.process"
local wick = require "spec.support.wick"

local Proxy = {}
Proxy.__index = Proxy
local started = {}

local function start(server_port)
  local program = wick.binary():match "^(.*)/" .. "/specs/fault_proxy"
  local dir = process.temp_dir()
  local self = setmetatable({ dir = dir, process = process.start({ program, tostring(server_port) }, { out = dir .. "/out" }) }, Proxy)
  local port, control
  process.eventually(function()
    port, control = process.read_file(dir .. "/out"):match "port=(%d+) control=(%d+)\n"
    return control
  end)
  self.port, self.control = math.tointeger(port), assert(socket.connect("127.0.0.1", math.tointeger(control)))
  self.control:settimeout(10)
  started[#started + 1] = self
  return self
end

-- Says it and waits until it holds; what stands behind "ok".
function Proxy:tell(command)
  assert(self.control:send(command .. "\n"))
  local answer = assert(self.control:receive "*l")
  return answer:match "^ok ?(.*)$" or error(command .. ": " .. answer, 2)
end

function Proxy:stat()
  local found = {}
  for name, number in self:tell("stat"):gmatch "(%w+)=(%d+)" do found[name] = math.tointeger(number) end
  return found
end

-- The URL with our port, and without TLS: what is cut here must be readable.
function Proxy:url(url) return (url:gsub(":%d+/", ":" .. self.port .. "/", 1)) .. "?sslmode=disable" end

function Proxy:stop()
  self.control:close()
  self.process:signal "sigkill"
  self.process:wait()
  process.run { "rm", "-rf", self.dir }
end

local function stop_all()
  for _, proxy in ipairs(started) do proxy:stop() end
  started = {}
end

return { start = start, stop_all = stop_all }
