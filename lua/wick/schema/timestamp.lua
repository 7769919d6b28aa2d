--- Points in time: RFC 3339 in, the one text that both engines order and compare out. No time zone of the machine is involved.

local core = require "wick.schema.core"

local make, fail, describe = core.make, core.fail, core.describe

local S = {}

local function days_in(year, month)
  if month == 2 then
    return (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
  end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

-- RFC 3339, normalised to UTC as PostgreSQL writes it: "2026-11-23 14:02:22.12+00", without zeros at the end of the fraction.
-- As text it is then at most any text of the same moment that has more zeros, and at least any text of an earlier moment.
local function read_timestamp(shape, value, cx)
  local function refuse()
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
  end
  if type(value) ~= "string" then
    return refuse()
  end
  local y, mo, d, h, mi, s, fraction, zone =
    value:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)([%d.]*)([Zz+-].*)$")
  if not y or not (fraction == "" or fraction:match("^%.%d%d?%d?%d?%d?%d?%d?%d?%d?$")) then
    return refuse()
  end
  fraction = fraction:sub(1, 7):gsub("%.?0*$", "")
  y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  if y < 1 or mo < 1 or mo > 12 or d < 1 or d > days_in(y, mo) or h > 23 or mi > 59 or s > 59 then
    return refuse()
  end
  local offset = 0
  if zone ~= "Z" and zone ~= "z" then
    local sign, zh, zm = zone:match("^([+-])(%d%d):?(%d%d)$")
    if not sign then
      sign, zh, zm = zone:match("^([+-])(%d%d)$")
    end
    zh, zm = tonumber(zh), tonumber(zm) or 0
    if not sign or zh > 14 or zm > 59 then
      return refuse()
    end
    offset = (zh * 3600 + zm * 60) * (sign == "-" and -1 or 1)
  end
  -- days since 1970 (Howard Hinnant's days_from_civil), so that neither os.time nor a time zone is involved
  local yy = mo <= 2 and y - 1 or y
  local era = yy // 400
  local yoe = yy - era * 400
  local doy = (153 * (mo + (mo > 2 and -3 or 9)) + 2) // 5 + d - 1
  local days = era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
  local at = days * 86400 + h * 3600 + mi * 60 + s - offset
  if offset == 0 then
    return ("%04d-%02d-%02d %02d:%02d:%02d%s+00"):format(y, mo, d, h, mi, s, fraction)
  end
  local z = at // 86400 + 719468
  era = z // 146097
  local doe = z - era * 146097
  yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
  doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
  local mp = (5 * doy + 2) // 153
  d, mo = doy - (153 * mp + 2) // 5 + 1, mp < 10 and mp + 3 or mp - 9
  y = yoe + era * 400 + (mo <= 2 and 1 or 0)
  if y < 1 or y > 9999 then
    return refuse()
  end
  local second = at % 86400
  return ("%04d-%02d-%02d %02d:%02d:%02d%s+00"):format(y, mo, d, second // 3600, second // 60 % 60, second % 60, fraction)
end

--- RFC 3339 point in time; checked to UTC text that both engines order and compare.
function S.timestamp(options)
  return make("timestamp", options, { read = read_timestamp, words = function() return "a time such as 2026-11-23T14:02:22Z" end })
end

return S.timestamp
