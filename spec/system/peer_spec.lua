-- req.peer is who asks: the other end of the connection, or behind a trusted proxy the client it asks for.

local wick = require "spec.support.wick"

local plugin = [[
return { name = "mirror", version = "1.0.0", routes = {
  { "GET", "/peer", name = "peer", handler = function(req) return { peer = req.peer } end },
} }
]]

describe("req.peer", function()
  teardown(wick.stop_all)

  local function asked_by(http)
    local server = wick.start { plugins = { mirror = { ["init.lua"] = plugin } }, config = { workers = 1, http = http } }
    server:wait_until_ready()
    return assert(server:request("GET", "/peer", { headers = { ["x-forwarded-for"] = "203.0.113.9, 10.1.2.3" } })):json().peer
  end

  it("is the other end of the connection, whatever it says of others", function()
    assert.equal("127.0.0.1", asked_by {})
    assert.equal("127.0.0.1", asked_by { trusted_proxies = { "10.0.0.0/8" } })
  end)

  it("is the client of a proxy that is trusted", function()
    assert.equal("10.1.2.3", asked_by { trusted_proxies = { "127.0.0.1" } })
    assert.equal("203.0.113.9", asked_by { trusted_proxies = { "127.0.0.1", "10.0.0.0/8" } })
  end)
end)
