-- The fault proxy does to the bytes what it is told to.

local socket = require "socket"
local process = require "spec.support.process"
local http = require "spec.support.http"
local fault_proxy = require "spec.support.proxy"

-- Sends back whatever comes, and closes when the other side does.
local echo = [[
local socket = require "socket"
local listener, clients = assert(socket.bind("127.0.0.1", tonumber(arg[1]))), {}
while true do
  local ready = socket.select({ listener, table.unpack(clients) })
  for _, one in ipairs(ready) do
    if one == listener then
      local client = listener:accept()
      client:settimeout(0)
      client:setoption("tcp-nodelay", true)
      clients[#clients + 1] = client
    else
      local all, why, part = one:receive "*a"
      one:send(all or part)
      if all or why == "closed" then
        one:close()
        for i = #clients, 1, -1 do if clients[i] == one then table.remove(clients, i) end end
      end
    end
  end
end
]]

describe("the fault proxy", function()
  local dir, server, port, proxy, client

  setup(function()
    dir, port = process.temp_dir(), http.free_port()
    process.write_file(dir .. "/echo.lua", echo)
    server = process.start { "lua5.4", dir .. "/echo.lua", tostring(port) }
    assert(process.eventually(function() return socket.connect("127.0.0.1", port) end)):close()
  end)
  teardown(function()
    server:signal "sigkill"
    server:wait()
    process.run { "rm", "-rf", dir }
  end)
  before_each(function() proxy = fault_proxy.start(port) end)
  after_each(function()
    if client then client:close() end
    client = nil
    fault_proxy.stop_all()
  end)

  local function connect()
    client = assert(socket.connect("127.0.0.1", proxy.port))
    client:setoption("tcp-nodelay", true)
    client:settimeout(5)
    return client
  end

  local function took_ms(fn)
    local before = socket.gettime()
    fn()
    return (socket.gettime() - before) * 1000
  end

  local function echoes(text)
    assert(client:send(text))
    assert.equal(text, client:receive(#text))
  end

  it("passes bytes on both ways, and the end", function()
    connect()
    local text = ("0123456789"):rep(100000)
    local at = 1
    client:settimeout(0)
    local parts, sent = {}, 0
    while sent < #text or at <= #text do                         -- more than fits into all buffers on the way
      local last, _, partial = client:send(text, sent + 1)
      sent = last or partial or sent
      local all, _, part = client:receive "*a"
      parts[#parts + 1] = all or part
      at = at + #parts[#parts]
      socket.select({ client }, nil, 0.01)
    end
    assert.is_true(table.concat(parts) == text)
    local stat = proxy:stat()
    assert.equal(1, stat.open)
    assert.equal(#text, stat.up)
    assert.equal(#text, stat.down)
    client:close()
    client = nil
    assert.is_true(process.eventually(function() return proxy:stat().open == 0 end))
  end)

  it("delays, and lets a connection wait for the server", function()
    proxy:tell "set connect_delay_ms=60"
    connect()
    local took = took_ms(function() echoes "a" end)
    assert.is_true(took >= 55 and took < process.slow(150), took .. " ms")
    proxy:tell "set delay_ms=30 connect_delay_ms=0"
    took = took_ms(function() echoes "b" end)                    -- there and back
    assert.is_true(took >= 58 and took < process.slow(150), took .. " ms")
    proxy:tell "set delay_ms=0"
    took = took_ms(function() echoes "c" end)
    assert.is_true(took < process.slow(30), took .. " ms")
  end)

  it("lets a given number of bytes through in a second", function()
    connect()
    proxy:tell "set down_rate=200"
    local took = took_ms(function() echoes(("x"):rep(60)) end)
    assert.is_true(took >= 270 and took < process.slow(500), took .. " ms")
  end)

  it("cuts what it passes on into pieces, and loses nothing", function()
    connect()
    proxy:tell "set down_fragment=1 up_fragment=40"
    echoes(("abcdefghij"):rep(50))
  end)

  it("holds bytes back and lets them go", function()
    connect()
    proxy:tell "set down_hold=1"
    assert(client:send "held")
    client:settimeout(0.1)
    local _, why = client:receive(4)
    assert.equal("timeout", why)
    proxy:tell "set down_hold=0"
    client:settimeout(5)
    assert.equal("held", client:receive(4))
  end)

  it("ends a connection after a given number of bytes, with and without a reset", function()
    for ending, text in pairs { fin = "closed", rst = "connection reset" } do
      connect()
      echoes "before"
      proxy:tell("on bytes:5 before " .. ending)
      assert.equal(1, proxy:stat().armed)
      assert(client:send "0123456789")
      socket.sleep(0.05)
      local got, why, part = client:receive "*a"
      assert.equal("01234", (got or part))
      if not got then assert.is_truthy(why:lower():find(text, 1, true) or why == "closed", why) end
      assert.equal(0, proxy:stat().armed)
      client:close()
    end
    client = nil
  end)

  it("leaves a connection half open: no answer, no end, not even an acknowledgement", function()
    if proxy:stat().darkens == 0 then
      assert.has_error(function() proxy:tell "dark" end)
      pending "this user may drop no packets"
      return
    end
    connect()
    echoes "before"
    proxy:tell "dark"
    assert(client:send "after")
    client:settimeout(0.2)
    local _, why = client:receive(1)
    assert.equal("timeout", why)
    local _, own_port = client:getsockname()
    local unacknowledged = process.run { "sh", "-c", ("ss -Htin 'sport = :%d' 2>/dev/null || true"):format(own_port) }
    assert.is_true(unacknowledged.out == "" or unacknowledged.out:find("unacked:", 1, true) ~= nil, unacknowledged.out)
    connect()                                                    -- others are not touched
    echoes "another"
  end)

  it("is deaf, and refuses", function()
    proxy:tell "set deaf=1"
    connect()                                                    -- established by the system
    client:send "a"
    client:settimeout(0.1)
    assert.equal("timeout", select(2, client:receive(1)))
    proxy:tell "set deaf=0"
    client:settimeout(5)
    assert.equal("a", client:receive(1))
    proxy:tell "refuse"
    assert.is_nil((socket.connect("127.0.0.1", proxy.port)))
    echoes "b"                                                   -- who is connected stays so
    proxy:tell "listen"
    connect()
    echoes "c"
  end)

  it("knows PostgreSQL's messages: rows cut in half, and a FATAL where ReadyForQuery should be", function()
    local url = os.getenv "WICK_TEST_POSTGRES"
    if not url then
      pending "WICK_TEST_POSTGRES names no server"
      return
    end
    local through = fault_proxy.start(url:match ":(%d+)/")
    local function psql()
      return process.run { "psql", "-qXAt", "-c", "select repeat('x', 1000) from generate_series(1, 9)", through:url(url) }
    end
    through:tell "set down_fragment=40"
    assert.equal(9 * 1001, #psql().out)
    through:tell "set down_fragment=0"
    through:tell "on D:5 half rst"
    local result = psql()
    assert.equal(2, result.code)
    assert.equal("", result.out)
    through:tell "on Z:2 before fatal"                           -- the first one ends the login
    result = psql()
    assert.is_truthy(result.err:find("terminating connection due to administrator command", 1, true), result.err)
    assert.equal(9 * 1001, #psql().out)
  end)

  it("says what it does not understand", function()
    for _, command in ipairs { "set nonsense=1", "set delay_ms", "on D", "on D half loudly", "sing" } do
      assert.has_error(function() proxy:tell(command) end)
    end
    assert.equal(0, proxy:stat().accepted)
  end)
end)
