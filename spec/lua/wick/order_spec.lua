-- Things come in the order they ask for, and otherwise in the order they were given.

local order = require "wick.order"

local function names(items)
  local sorted, why = order(items)
  if not sorted then
    return nil, why
  end
  for i, item in ipairs(sorted) do
    sorted[i] = item.name
  end
  return table.concat(sorted, " ")
end

describe("order", function()
  it("leaves alone what asks for nothing", function()
    assert.equal("c a b", names { { name = "c" }, { name = "a" }, { name = "b" } })
    assert.equal("", names {})
  end)

  it("puts a thing after and before others", function()
    assert.equal("b c a", names { { name = "a", after = { "b", "c" } }, { name = "b" }, { name = "c" } })
    assert.equal("c a b", names { { name = "a" }, { name = "b" }, { name = "c", before = { "a" } } })
    assert.equal("c b a", names { { name = "a", after = { "b" } }, { name = "b", after = { "c" } }, { name = "c" } })
  end)

  it("passes over names that are not there", function()
    assert.equal("a b", names { { name = "a", after = { "ghost" }, before = { "spirit" } }, { name = "b" } })
  end)

  it("shows a circle", function()
    local sorted, why = names { { name = "a", after = { "b" } }, { name = "b", after = { "c" } }, { name = "c", after = { "b" } } }
    assert.is_nil(sorted)
    assert.equal("these come after each other in a circle: b -> c -> b", why)
    assert.equal("these come after each other in a circle: a -> a", select(2, names { { name = "a", after = { "a" } } }))
    assert.equal("these come after each other in a circle: a -> b -> a",
      select(2, names { { name = "a", after = { "b" } }, { name = "b", before = {}, after = { "a" } } }))
  end)

  it("refuses a name that stands for two things", function()
    assert.equal("two of these have the name a", select(2, names { { name = "a" }, { name = "a" } }))
  end)

  it("is no slower than it should be for many", function()
    local items = {}
    for i = 1, 500 do
      items[i] = { name = "n" .. i, after = { "n" .. i + 1 } }
    end
    assert.matches("^n500 n499 .* n1$", names(items))
  end)
end)
