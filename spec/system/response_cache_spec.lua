-- Routes with `cache` are answered from memory, and never with an answer that should be gone.

local wick = require "spec.support.wick"
local process = require "spec.support.process"

-- Counts its runs; ?mode= makes it slow, fail, or answer what cannot be kept.
local plugin = [[
local S = require "wick.schema"
local runs, failing = 0, false
local Query = S.record { mode = S.string { optional = true }, n = S.int64 { optional = true } }
return {
  name = "counted", version = "1.0.0",
  routes = {
    { "GET", "/counted", name = "counted", query = Query,
      cache = { ttl = "500ms", stale = "30s", tags = { "numbers" }, vary = { "accept-language" } },
      handler = function(req, cx)
        runs = runs + 1
        local mine = runs
        if req.query.mode == "slow" then cx.sleep(500) end
        if failing then error "asked to fail" end
        if req.query.mode == "missing" then return cx.problem(404, "nothing") end
        local body = { run = mine, language = req.headers["accept-language"] }
        return cx.reply { status = 200, headers = { ["X-Extra"] = "kept" }, body = body }
      end },
    { "GET", "/long", name = "long", cache = { ttl = "1h", tags = { "numbers" } },
      handler = function() runs = runs + 1; return { run = runs } end },
    { "GET", "/value", name = "value", cache = { ttl = "1h" },
      handler = function(req, cx) return cx.cache:get("value", function() return { a = 1 } end) end },
    { "GET", "/named", name = "named", handler = function(req, cx) return cx.reply { headers = { ETag = req.query.etag }, body = "x" } end,
      query = S.record { etag = S.string {} } },
    { "GET", "/aged", name = "aged", handler = function(req, cx) return cx.reply { headers = { Age = 7 } } end },
    { "POST", "/drop", name = "drop", handler = function(req, cx) cx.cache:drop_tag "numbers" end },
    { "POST", "/fail", name = "fail", handler = function() failing = true end },
    { "POST", "/work", name = "work", handler = function() failing = false end },
    { "GET", "/who", name = "who", cache = { ttl = "1h", vary = { "Accept-Language" } }, query = Query, handler = function(req, cx)
        if req.query.mode == "slow" then cx.sleep(300) end
        return { who = req.headers.Authorization or "nobody", language = req.headers["accept-language"] }
      end },
    { "GET", "/where", name = "where", cache = { ttl = "1h" }, handler = function(req) return { peer = req.peer } end },
    { "GET", "/how", name = "how", cache = { ttl = "1h" }, handler = function(req) return { method = req.method } end },
    { "GET", "/told", name = "told", cache = { ttl = "1h" }, handler = function(req) return { told = req.raw_body } end },
    { "GET", "/fields", name = "fields", cache = { ttl = "1h" }, handler = function(req)
        local names = {}
        for name in pairs(req.headers) do names[#names + 1] = name end
        return names
      end },
    { "GET", "/same", name = "same", cache = { ttl = "1h", vary = { "cookie" } },
      handler = function(req) return { cookie = req.headers.Cookie, trace = req.headers["traceparent"], path = req.path } end },
    { "GET", "/runs", name = "runs", handler = function() return { runs = runs } end },
  },
}
]]

describe("a route with cache", function()
  local server

  before_each(function()
    server = wick.start { plugins = { counted = plugin } }
  end)
  after_each(wick.stop_all)

  local function runs()
    return server:get("/runs"):json().runs
  end

  it("runs its handler once and is then answered from memory, fields and ETag included", function()
    local first, second = server:get "/long", server:get "/long"
    assert.equal(200, first.status)
    assert.equal("MISS", first.headers["x-cache"])
    assert.equal("HIT; layer=l1", second.headers["x-cache"])
    assert.equal(first.body, second.body)
    assert.equal(first.headers.etag, second.headers.etag)
    assert.equal("0", second.headers.age)
    assert.equal("application/json", second.headers["content-type"])
    assert.equal(1, runs())
  end)

  it("answers 304 to who has it already, from memory and from the handler", function()
    local etag = server:get("/long").headers.etag
    for _, asked in ipairs { etag, "W/" .. etag, '"other", ' .. etag, "*" } do
      local again = server:get("/long", { ["if-none-match"] = asked })
      assert.equal(304, again.status)
      assert.equal("", again.body)
      assert.equal(etag, again.headers.etag)
    end
    assert.equal(200, server:get("/long", { ["if-none-match"] = '"other"' }).status)
  end)

  it("answers HEAD from what GET left, without the body", function()
    local first = server:get "/long"
    local head = server:request("HEAD", "/long")
    assert.equal(200, head.status)
    assert.equal(tostring(#first.body), head.headers["content-length"])
    assert.equal("", head.body)
    assert.equal(1, runs())
  end)

  it("keeps different queries and varied fields apart", function()
    server:get "/counted?n=1"
    assert.equal("MISS", server:get("/counted?n=2").headers["x-cache"])
    local german = server:get("/counted?n=1", { ["accept-language"] = "de" })
    assert.equal("MISS", german.headers["x-cache"])
    assert.equal("de", german:json().language)
    assert.equal("HIT; layer=l1", server:get("/counted?n=1", { ["accept-language"] = "de" }).headers["x-cache"])
    assert.equal(3, runs())
  end)

  it("says in each answer what it varies by", function()
    local first = server:get "/counted"
    assert.equal("accept-language", first.headers.vary)
    assert.equal("accept-language", server:get("/counted").headers.vary)
    assert.equal("accept-language", server:get("/counted", { ["if-none-match"] = first.headers.etag }).headers.vary)
    assert.equal("accept-language", server:get("/counted?mode=missing").headers.vary)
    assert.is_nil(server:get("/long").headers.vary)
  end)

  it("says once whether it was answered from memory, whatever cx.cache had for its handler", function()
    local first, second = server:get "/value", server:get "/value"
    assert.equal("MISS", first.headers["x-cache"])
    assert.equal("HIT; layer=l1", second.headers["x-cache"])
  end)

  it("is called by its handler's ETag, which is one; Age is the server's to set", function()
    assert.equal('"v7"', server:get("/named?etag=%22v7%22").headers.etag)
    assert.equal(304, server:get("/named?etag=%22v7%22", { ["if-none-match"] = '"v7"' }).status)
    assert.equal(500, server:get("/named?etag=v7").status)
    assert.is_truthy(server:log():find("the header ETag is a text in double quotes", 1, true))
    assert.equal(500, server:get("/aged").status)
    assert.is_truthy(server:log():find("the header Age is the server's to set", 1, true))
  end)

  it("is run again after its tag was dropped", function()
    local before = server:get("/long"):json().run
    server:request("POST", "/drop")
    local after = server:get "/long"
    assert.equal("MISS", after.headers["x-cache"])
    assert.is_true(after:json().run > before)
  end)

  it("gives nobody an answer made from what another caller sent and `vary` does not name, and says once how to mend it", function()
    for _, who in ipairs { "Bearer a", "Bearer b" } do
      local answer = server:get("/who", { authorization = who })
      assert.equal("MISS", answer.headers["x-cache"])
      assert.equal(who, answer:json().who)
    end
    assert.equal("nobody", server:get("/who"):json().who)
    for _, path in ipairs { "/where", "/how", "/told", "/fields" } do
      server:get(path)
      assert.equal("MISS", server:get(path).headers["x-cache"], path)
    end
    local log = server:log()
    local _, lines = log:gsub("its handler reads what their key does not hold", "")
    assert.equal(5, lines)
    assert.is_truthy(log:find('route=who reads=Authorization fix="add the field to cache.vary, or', 1, true))
    assert.is_truthy(log:find('route=where reads=req.peer fix="take cache off the route and use cx.cache:get', 1, true))
  end)

  it("gives those who wait for an answer that is for one caller one of their own", function()
    local conns = {}
    for i, who in ipairs { "a", "b", "c" } do
      conns[i] = server:connect()
      assert(conns[i]:send(("GET /who?mode=slow HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n\r\n"):format(who)))
    end
    for i, who in ipairs { "a", "b", "c" } do
      assert.equal(who, assert(conns[i]:response()):json().who)
      conns[i]:close()
    end
  end)

  it("keeps an answer by what `vary` names, and one that reads only which request it is", function()
    server:get("/same", { cookie = "a=1" })
    assert.equal("HIT; layer=l1", server:get("/same", { cookie = "a=1" }).headers["x-cache"])
    assert.equal("a=2", server:get("/same", { cookie = "a=2" }):json().cookie)
    assert.equal("", server:get("/same", { cookie = "" }):json().cookie)
    assert.is_nil(server:get("/same"):json().cookie)
    assert.is_nil(server:log():find("are not kept", 1, true))
  end)

  it("runs once for all who ask at the same time", function()
    local conns, path = {}, "GET /counted?mode=slow HTTP/1.1\r\nHost: x\r\n\r\n"
    for i = 1, 20 do
      conns[i] = server:connect()
      assert(conns[i]:send(path))
    end
    local bodies = {}
    for i = 1, 20 do
      local response = assert(conns[i]:response())
      assert.equal(200, response.status)
      bodies[response.body] = true
      conns[i]:close()
    end
    assert.is_nil(next(bodies, next(bodies)))
    assert.equal(1, runs())
  end)

  it("lets the next one run it when the one who did leaves", function()
    local first, second = server:connect(), server:connect()
    first:send "GET /counted?mode=slow HTTP/1.1\r\nHost: x\r\n\r\n"
    process.eventually(function() return runs() == 1 end)
    second:send "GET /counted?mode=slow HTTP/1.1\r\nHost: x\r\n\r\n"
    process.sleep_ms(30)
    first:close()
    local response = assert(second:response())
    assert.equal(200, response.status)
    assert.equal(2, response:json().run)
    second:close()
  end)

  it("serves the stale answer to the others while one refreshes it", function()
    local old = server:get("/counted?mode=slow"):json().run
    process.sleep_ms(550)
    local refresher = server:connect()
    refresher:send "GET /counted?mode=slow HTTP/1.1\r\nHost: x\r\n\r\n"
    process.eventually(function() return runs() == 2 end)
    local other = server:get "/counted?mode=slow"
    assert.equal("STALE; layer=l1", other.headers["x-cache"])
    assert.equal(old, other:json().run)
    local fresh = assert(refresher:response())
    assert.equal("MISS", fresh.headers["x-cache"])
    refresher:close()
    assert.equal("HIT; layer=l1", server:get("/counted?mode=slow").headers["x-cache"])
  end)

  it("serves the stale answer when the handler fails", function()
    local old = server:get("/counted"):json().run
    process.sleep_ms(550)
    server:request("POST", "/fail")
    local stale = server:get "/counted"
    assert.equal(200, stale.status)
    assert.equal("STALE; layer=l1", stale.headers["x-cache"])
    assert.equal(old, stale:json().run)
    server:request("POST", "/work")
    assert.equal("MISS", server:get("/counted").headers["x-cache"])
  end)

  it("keeps nothing but 200", function()
    assert.equal(404, server:get("/counted?mode=missing").status)
    assert.equal(404, server:get("/counted?mode=missing").status)
    assert.equal(2, runs())
    server:request("POST", "/fail")
    assert.equal(500, server:get("/counted?n=9").status)
    server:request("POST", "/work")
    assert.equal(200, server:get("/counted?n=9").status)
  end)

  it("answers what is wrong with the query without keeping it", function()
    assert.equal(400, server:get("/counted?n=x").status)
    assert.equal(400, server:get("/counted?m=1").status)
    assert.equal(0, runs())
  end)
end)
