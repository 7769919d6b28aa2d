--- Schemas: what a value must look like, told once; from it come validation, defaults, JSON Schema and documentation.
--
--   local Service = S.record { id = S.uuid {}, name = S.string { max_length = 100 }, port = S.int64 { min = 1, max = 65535 } }
--   local value, errors = S.check(Service, input, "json")
--
-- A field is required unless it has `default` or `optional = true`. All errors, up to 50, are reported at once, each as
-- { path = { "labels", "team" }, text = "..." }. Sources: "lua" (configuration: durations and sizes are text with units),
-- "json" (request bodies), "text" (query and path parameters: numbers and booleans arrive as text).
-- A checked value is a new table; the input is never changed.
--
-- Options of every type: doc, default, optional, nullable (JSON null allowed), check = function(value) return true | nil, why.

local core = require "wick.schema.core"

local scalar = require "wick.schema.scalar"
local composite = require "wick.schema.composite"

local S = { null = core.null, timestamp = require "wick.schema.timestamp" }
for _, kinds in ipairs { scalar, composite } do
  for name, make in pairs(kinds) do
    S[name] = make
  end
end

--- Checks `value` against `shape`. Returns the checked value and nil, or nil and the list of errors.
-- secrets: texts that no error may show, each with the words for where it came from (optional).
S.check = core.run

--- True when `value`, as it came from JSON, is right as it stands: S.check would give an equal copy. False says nothing.
S.fits = require "wick.schema.fit"

--- { "labels", 2, "team" } -> "labels[2].team".
function S.path_text(path)
  local out = {}
  for i, key in ipairs(path) do
    out[i] = math.type(key) and ("[%d]"):format(key) or (i > 1 and "." or "") .. tostring(key)
  end
  return #out > 0 and table.concat(out) or "(the whole)"
end

--- The same as a JSON pointer (RFC 6901), lists counted from 0: "/labels/1/team".
function S.pointer(path)
  local out = {}
  for i, key in ipairs(path) do
    out[i] = "/" .. (math.type(key) and tostring(key - 1) or tostring(key):gsub("~", "~0"):gsub("/", "~1"))
  end
  return table.concat(out)
end

return S
