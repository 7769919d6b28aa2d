--- Points in time as the text both engines store and compare.

local times = {}

--- seconds since 1970 (a float) -> "2026-11-23 14:02:22.123456+00".
function times.text(seconds)
  local whole = math.floor(seconds)
  local micros = math.floor((seconds - whole) * 1000000)
  return os.date("!%Y-%m-%d %H:%M:%S", whole) .. (".%06d+00"):format(micros)
end

--- The time `ms` milliseconds ago.
function times.ago(cx, ms)
  return times.text(cx.now() - ms / 1000)
end

return times
