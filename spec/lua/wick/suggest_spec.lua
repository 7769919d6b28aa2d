-- A misspelt name finds the one that was meant, and a name like no other finds none.

local suggest = require "wick.suggest"

describe("suggest", function()
  local known = { "listen", "admin", "workers", "database", "plugins", "log" }

  it("finds the name with a letter more, less, other, or swapped", function()
    local meant = {
      lisen = "listen", listten = "listen", lixten = "listen", lsiten = "listen", Databse = "database", lgo = "log",
    }
    for wrong, right in pairs(meant) do
      assert.equal(right, suggest.nearest(wrong, known))
    end
  end)

  it("finds nothing where nothing is near", function()
    for _, name in ipairs { "cache", "xyz", "", "a" } do
      assert.is_nil(suggest.nearest(name, known))
    end
    assert.is_nil(suggest.nearest("listen", {}))
  end)

  it("takes the first in the alphabet of two that are as near", function()
    assert.equal("aab", suggest.nearest("aaa", { "aac", "aab" }))
  end)

  it("gives words for a message", function()
    assert.equal(' (did you mean "admin"?)', suggest.phrase("amdin", known))
    assert.equal("", suggest.phrase("zzzzzz", known))
    assert.equal("", suggest.phrase(42, known))
  end)
end)
