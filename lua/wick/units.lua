--- Durations and sizes with units: "30s" is 30000 ms, "64MiB" is 67108864 bytes. Requires nothing.
--
-- Units: ms, s, m (or min), h, d, w; B, kB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).

local units = {}

local MS = { ms = 1, s = 1000, m = 60000, min = 60000, h = 3600000, d = 86400000, w = 604800000 }
local BYTES = {
  B = 1, kB = 1000, KB = 1000, MB = 1000000, GB = 1000000000,
  K = 1024, M = 1048576, G = 1073741824, KiB = 1024, MiB = 1048576, GiB = 1073741824,
}
local ROWS = { MS = { "w", "d", "h", "m", "s", "ms" }, BYTES = { "GiB", "MiB", "KiB", "B" } }

local function shown(text)
  return #text <= 40 and ("%q"):format(text):gsub("\\\n", "\\n") or ("a text of %d characters"):format(#text)
end

local function read(text, scale, example)
  if type(text) ~= "string" then
    return nil, ("expected text with a unit such as %q, got %s"):format(example, type(text))
  end
  local number, unit = text:match("^%s*(%d+%.?%d*)%s*(%a+)%s*$")
  if not number then
    return nil, ("expected a number with a unit such as %q, got %s"):format(example, shown(text))
  end
  if not scale[unit] then
    return nil, ("unknown unit %q in %s; write it like %q"):format(unit, shown(text), example)
  end
  local value = tonumber(number) * scale[unit]
  if value > 2 ^ 53 then
    return nil, ("%s is too large"):format(shown(text))
  end
  local whole = math.floor(value + 0.5)
  if math.abs(value - whole) > 1e-6 then -- less is what binary fractions leave: 0.07 * 1000
    return nil, ("%s is not a whole number of the smallest unit"):format(shown(text))
  end
  return math.tointeger(whole)
end

local function write(value, scale, row, zero)
  for _, unit in ipairs(row) do
    if value ~= 0 and value % scale[unit] == 0 then
      return ("%d%s"):format(value // scale[unit], unit)
    end
  end
  return zero
end

--- "1m" -> 60000 (milliseconds), or nil and why not.
function units.duration(text)
  return read(text, MS, "30s")
end

--- "64MiB" -> 67108864 (bytes), or nil and why not.
function units.bytes(text)
  return read(text, BYTES, "64MiB")
end

--- 60000 -> "1m".
function units.duration_text(ms)
  return write(ms, MS, ROWS.MS, "0s")
end

--- 67108864 -> "64MiB".
function units.bytes_text(bytes)
  return write(bytes, BYTES, ROWS.BYTES, "0B")
end

return units
