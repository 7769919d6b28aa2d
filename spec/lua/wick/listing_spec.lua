-- What listing makes of filters, and where its Links lead.

local listing = require "wick.listing"

describe("listing", function()
  local cx = { db = { rows = function(_, text, ...) return { text = text, ... } end } }

  it("asks for what was given, and for nothing else", function()
    local f = listing.new()
    f:where("a = ?", 1)
    f:where("b = ?", nil)
    f:where("(c, d) in (?, ?)", false, "x")
    assert.same({ text = "select * from t where a = $1 and (c, d) in ($2, $3) limit $4", 1, false, "x", 9 },
      f:rows(cx, "select * from t", "limit " .. f:value(9)))
    assert.same({ text = "select * from t limit 1" }, listing.new():rows(cx, "select * from t", "limit 1"))
  end)

  it("leads from a full page to the next, with the filters of this one", function()
    local req = { path = "/x", query = { limit = 2, tag = { "a b", "c&d" }, after = "old" } }
    assert.equal('</x?after=a%2Fb&limit=2&tag=a%20b&tag=c%26d>; rel="next"', listing.next_link(req, 2, 2, { after = "a/b" }))
    assert.is_nil(listing.next_link(req, 2, 1, { after = "a/b" }))
  end)
end)
