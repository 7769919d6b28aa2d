-- Durations and sizes mean what they say.

local units = require "wick.units"

describe("units.duration", function()
  it("reads every unit as milliseconds", function()
    local known = {
      ["0s"] = 0, ["1ms"] = 1, ["250ms"] = 250, ["1s"] = 1000, ["1.5s"] = 1500, ["0.07s"] = 70, ["2m"] = 120000, ["2min"] = 120000,
      ["1h"] = 3600000, ["1d"] = 86400000, ["2w"] = 1209600000, [" 10 s "] = 10000, ["1.1m"] = 66000, ["0.001s"] = 1,
    }
    for text, ms in pairs(known) do
      assert.equal(ms, units.duration(text), text)
      assert.equal("integer", math.type((units.duration(text))))
    end
  end)

  it("says what is wrong with anything else", function()
    local wrong = {
      ["30"] = 'expected a number with a unit such as "30s", got "30"',
      ["s"] = 'expected a number with a unit such as "30s", got "s"',
      ["-1s"] = 'expected a number with a unit such as "30s", got "-1s"',
      ["1 fortnight"] = 'unknown unit "fortnight" in "1 fortnight"; write it like "30s"',
      ["1S"] = 'unknown unit "S" in "1S"; write it like "30s"',
      ["0.5ms"] = '"0.5ms" is not a whole number of the smallest unit',
      ["99999999999999999999d"] = '"99999999999999999999d" is too large',
      [("9"):rep(400) .. "s"] = "a text of 401 characters is too large",
    }
    for text, why in pairs(wrong) do
      local value, said = units.duration(text)
      assert.is_nil(value, text)
      assert.equal(why, said)
    end
    assert.same({ nil, 'expected text with a unit such as "30s", got number' }, { units.duration(30) })
  end)

  it("writes what it reads", function()
    for _, text in ipairs { "0s", "1ms", "1500ms", "30s", "90s", "5m", "12h", "3d", "2w", "90m" } do
      assert.equal(text, units.duration_text(units.duration(text)))
    end
    assert.equal("1m", units.duration_text(60000))
  end)
end)

describe("units.bytes", function()
  it("knows powers of 1000 and of 1024", function()
    local known = {
      ["0B"] = 0, ["1B"] = 1, ["1kB"] = 1000, ["1KB"] = 1000, ["1MB"] = 1000000, ["1GB"] = 1000000000,
      ["1K"] = 1024, ["1KiB"] = 1024, ["64MiB"] = 67108864, ["1.5GiB"] = 1610612736, ["1M"] = 1048576, ["1G"] = 1073741824,
    }
    for text, bytes in pairs(known) do
      assert.equal(bytes, units.bytes(text), text)
    end
  end)

  it("does not take a duration for a size, nor half a byte", function()
    assert.same({ nil, 'unknown unit "s" in "1s"; write it like "64MiB"' }, { units.bytes "1s" })
    assert.same({ nil, '"0.5B" is not a whole number of the smallest unit' }, { units.bytes "0.5B" })
  end)

  it("writes what it reads", function()
    for _, text in ipairs { "0B", "1000B", "1KiB", "64MiB", "2GiB", "1025KiB" } do
      assert.equal(text, units.bytes_text(units.bytes(text)))
    end
  end)
end)
