-- The helpers of the other specs do what they say.

local process = require "spec.support.process"
local http = require "spec.support.http"
local servers = require "spec.support.servers"
local wick = require "spec.support.wick"

describe("process", function()
  it("gives exit code, output and errors of a program", function()
    local result = process.run({ "sh", "-c", "cat; echo bad >&2; exit 3" }, { stdin = "in" })
    assert.same({ code = 3, signal = 0, out = "in", err = "bad\n" }, result)
  end)

  it("kills a program that takes too long", function()
    local result = process.run({ "sleep", "60" }, { timeout_ms = 50 })
    assert.equal(9, result.signal)
  end)

  it("sends signals and sees what they did", function()
    local child = process.start { "sleep", "60" }
    assert.is_true(child:is_running())
    assert.is_nil(child:wait(20))
    child:signal "sigterm"
    local _, signal = child:wait()
    assert.equal(15, signal)
    child:signal "sigterm"
  end)

  it("changes and removes names of the environment", function()
    local result = process.run({ "sh", "-c", "echo $A ${HOME-none}" }, { env = { A = "b", HOME = false } })
    assert.equal("b none\n", result.out)
  end)
end)

-- A server that answers each accepted connection with the same pieces, a moment apart, and closes.
local canned = [[
local socket = require "socket"
local port, pieces = tonumber(arg[1]), { table.unpack(arg, 2) }
local listener = assert(socket.bind("127.0.0.1", port))
while true do
  local client = listener:accept()
  client:receive "*l"
  for _, piece in ipairs(pieces) do
    client:send((piece:gsub("\\r", "\r"):gsub("\\n", "\n")))
    socket.sleep(0.02)
  end
  client:close()
end
]]

describe("http", function()
  local child, dir

  local function answer(...)
    dir = process.temp_dir()
    process.write_file(dir .. "/canned.lua", canned)
    local port = http.free_port()
    child = process.start { "lua5.4", dir .. "/canned.lua", tostring(port), ... }
    return process.eventually(function() return http.connect(port) end)
  end

  after_each(function()
    child:signal "sigkill"
    child:wait()
    process.run { "rm", "-rf", dir }
  end)

  it("reads a body of known length that comes in pieces", function()
    local conn = answer("HTTP/1.1 200 O", "K\\r\\nContent-Length: 5\\r", "\\nA: 1\\r\\nA: 2\\r\\n\\r\\nhe", "llo")
    local response = conn:request("GET", "/")
    assert.equal(200, response.status)
    assert.equal("OK", response.reason)
    assert.equal("1, 2", response.headers.a)
    assert.equal("hello", response.body)
    assert.is_true(conn:is_closed())
  end)

  it("reads chunks and trailers", function()
    local conn = answer("HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n3\\r\\n[1,\\r\\n2;x=y\\r\\n2",
      "]\\r\\n0\\r\\nT: 1\\r\\n\\r\\n")
    local response = conn:request("GET", "/")
    assert.same({ 1, 2 }, response:json())
    assert.equal("1", response.trailers.t)
  end)

  it("keeps pipelined responses apart, and skips interim ones unless asked", function()
    local conn = answer("HTTP/1.1 100 Continue\\r\\n\\r\\nHTTP/1.1 204 No Content\\r\\n\\r\\n",
      "HTTP/1.1 404 \\r\\nContent-Length: 0\\r\\n\\r\\n")
    conn:send "GET / HTTP/1.1\r\n\r\n"
    assert.equal(204, conn:response().status)
    assert.equal(404, conn:response().status)
    local response, why = conn:response()
    assert.is_nil(response)
    assert.equal("closed", why)
  end)

  it("says what is wrong with a response", function()
    local conn = answer "SMTP hello\\r\\n"
    local _, why = conn:request("GET", "/")
    assert.equal("not a status line: SMTP hello", why)
  end)
end)

describe("servers", function()
  teardown(servers.stop_all)

  it("kills PostgreSQL and starts it again on the same data and port", function()
    local postgres = servers.postgres()
    local port = postgres.port
    postgres:query "create table t(a int)"
    postgres:query "insert into t values (7)"
    postgres:kill()
    assert.has_error(function() postgres:query "select 1" end)
    postgres:start()
    assert.equal(port, postgres.port)
    assert.equal("7", postgres:query "select a from t")
  end)

  it("freezes and thaws Redis", function()
    local redis = servers.redis()
    redis:freeze()
    local ping = { "redis-cli", "-p", tostring(redis.port), "ping" }
    assert.equal(9, process.run(ping, { timeout_ms = 100 }).signal)
    redis:thaw()
    assert.equal("PONG", redis:query { "ping" })
  end)

  it("knows the address of a server that starts later", function()
    local redis = servers.redis { stopped = true }
    assert.is_nil((http.connect(redis.port)))
    redis:start()
    assert.equal("PONG", redis:query { "ping" })
  end)
end)

describe("wick", function()
  it("writes a configuration that Lua reads back", function()
    local value = { "a", 2, { b = false, ["c d"] = 1.5 }, name = 'quoted "text"\n' }
    assert.same(value, load("return " .. wick.source(value))())
  end)
end)
