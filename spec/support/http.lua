-- http.lua - a plain, blocking HTTP/1.1 client for specs that must see every byte.
--
--   local http = require "spec.support.http"
--   local conn = http.connect(8080)
--   local response = conn:request("GET", "/health")             -- keep-alive: ask again on the same connection
--   conn:send "GET / HTTP/1.1\r\nHost: a\r\n\r\n"; local response, why = conn:response()
--   response.status, response.reason, response.headers["content-type"], response.body, response:json()
--
-- It does not follow, retry, decompress or guess. Every wait has a limit (conn.timeout_s, 10 s).

local socket = require "socket"
local cjson = require "cjson"

local Connection, Response = {}, {}
Connection.__index = Connection
Response.__index = Response

-- port: a number, or the path of a unix socket.
local function connect(port, host)
  local is_path = type(port) == "string"
  local tcp = assert(is_path and require "socket.unix".stream() or socket.tcp())
  tcp:settimeout(5)
  local ok, why = tcp:connect(is_path and port or host or "127.0.0.1", not is_path and port or nil)
  if not ok then
    tcp:close()
    return nil, why
  end
  if not is_path then tcp:setoption("tcp-nodelay", true) end
  return setmetatable({ tcp = tcp, buffer = "", timeout_s = 10 }, Connection)
end

function Connection:send(bytes)
  self.tcp:settimeout(self.timeout_s)
  local at, why = self.tcp:send(bytes)
  if not at then return nil, why end
  return true
end

function Connection:close() self.tcp:close() end

-- Waits for at least one more byte; takes all that is there. nil, "closed" or "timeout".
function Connection:fill(deadline)
  self.tcp:settimeout(math.max(deadline - socket.gettime(), 0))
  local first, why = self.tcp:receive(1)
  if not first then return nil, why end
  self.tcp:settimeout(0)
  local rest, _, part = self.tcp:receive "*a"
  self.buffer = self.buffer .. first .. (rest or part or "")
  return true
end

local function take(self, count)
  local bytes = self.buffer:sub(1, count)
  self.buffer = self.buffer:sub(count + 1)
  return bytes
end

local function take_line(self, deadline)
  while true do
    local at = self.buffer:find("\r\n", 1, true)
    if at then return take(self, at + 1):sub(1, -3) end
    local ok, why = self:fill(deadline)
    if not ok then return nil, why end
  end
end

local function take_bytes(self, count, deadline)
  while #self.buffer < count do
    local ok, why = self:fill(deadline)
    if not ok then return nil, why end
  end
  return take(self, count)
end

local function take_rest(self, deadline)
  while true do
    local ok, why = self:fill(deadline)
    if not ok then return why == "closed" and take(self, #self.buffer) or nil, why end
  end
end

local function take_fields(self, deadline)
  local headers = {}
  while true do
    local line, why = take_line(self, deadline)
    if not line then return nil, why end
    if line == "" then return headers end
    local name, value = line:match "^([!#$%%&'*+.^_`|~%w-]+):[ \t]*(.-)[ \t]*$"
    if not name then return nil, "not a header field: " .. line end
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
end

local function take_chunks(self, deadline)
  local parts = {}
  while true do
    local line, why = take_line(self, deadline)
    if not line then return nil, why end
    local size = tonumber(line:match "^%x+", 16)
    if not size then return nil, "not a chunk size: " .. line end
    if size == 0 then break end
    local chunk
    chunk, why = take_bytes(self, size + 2, deadline)
    if not chunk then return nil, why end
    parts[#parts + 1] = chunk:sub(1, -3)
  end
  local trailers, why = take_fields(self, deadline)
  if not trailers then return nil, why end
  return table.concat(parts), nil, trailers
end

local function take_body(self, response, is_head, deadline)
  local status, headers = response.status, response.headers
  if is_head or status < 200 or status == 204 or status == 304 then return "" end
  if headers["transfer-encoding"] then return take_chunks(self, deadline) end
  if headers["content-length"] then return take_bytes(self, tonumber(headers["content-length"]), deadline) end
  return take_rest(self, deadline)
end

-- The next response on this connection; nil, "closed" | "timeout" | what is wrong with it.
-- options: head = true when it answers HEAD; interim = true to see 1xx responses, too.
function Connection:response(options)
  options = options or {}
  local deadline = socket.gettime() + self.timeout_s
  local response, why, line
  repeat
    line, why = take_line(self, deadline)
    if not line then return nil, why end
    local minor, status, reason = line:match "^HTTP/1%.(%d) (%d%d%d) ?(.*)$"
    if not status then return nil, "not a status line: " .. line end
    response = setmetatable({ minor = tonumber(minor), status = tonumber(status), reason = reason }, Response)
    response.headers, why = take_fields(self, deadline)
    if not response.headers then return nil, why end
  until response.status >= 200 or options.interim
  response.body, why, response.trailers = take_body(self, response, options.head, deadline)
  if not response.body then return nil, why end
  return response
end

-- The bytes of a request. options: headers (a table), body (text) or json (a Lua value).
local function format(method, path, options)
  options = options or {}
  local headers, body = { host = "127.0.0.1" }, options.body
  if options.json ~= nil then
    body = cjson.encode(options.json)
    headers["content-type"] = "application/json"
  end
  if body then headers["content-length"] = tostring(#body) end
  for name, value in pairs(options.headers or {}) do headers[name:lower()] = value or nil end
  local lines = { method .. " " .. path .. " HTTP/1.1" }
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

function Connection:request(method, path, options)
  local ok, why = self:send(format(method, path, options))
  if not ok then return nil, why end
  return self:response { head = method == "HEAD" }
end

-- All bytes until the other side closes; nil, "timeout" when it does not.
function Connection:rest()
  local bytes, why = take_rest(self, socket.gettime() + self.timeout_s)
  return bytes, bytes == nil and why or nil
end

-- True when the other side closes within timeout_s (default 1) without sending more.
function Connection:is_closed(timeout_s)
  if self.buffer ~= "" then return false end
  local ok, why = self:fill(socket.gettime() + (timeout_s or 1))
  return not ok and why ~= "timeout"
end

-- cjson reads integers as floats: to check an exact number, look for its text in the body.
function Response:json() return cjson.decode(self.body) end

-- One request on a connection of its own.
local function request(port, method, path, options)
  local conn, why = connect(port)
  if not conn then return nil, why end
  local response
  response, why = conn:request(method, path, options)
  conn:close()
  return response, why
end

local function free_port()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return math.tointeger(port)
end

return { connect = connect, request = request, format = format, free_port = free_port, null = cjson.null }
