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

-- Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms"). An era has 400
-- years, and a year begins in March, so that the day that comes and goes is its last.
local function days_from_civil(year, month, day)
  local y = month <= 2 and year - 1 or year
  local era = y // 400
  local year_of_era = y - era * 400
  local day_of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
  return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
end

-- The way back: year, month, day.
local function civil_from_days(days)
  local z = days + 719468
  local era = z // 146097
  local day_of_era = z - era * 146097
  local year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
  local day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
  local month_from_march = (5 * day_of_year + 2) // 153
  local month = month_from_march < 10 and month_from_march + 3 or month_from_march - 9
  return year_of_era + era * 400 + (month <= 2 and 1 or 0), month, day_of_year - (153 * month_from_march + 2) // 5 + 1
end

-- Seconds east of UTC, or nil: "Z", "+02", "+02:00", "-0330".
local function parse_zone(zone)
  if zone == "Z" or zone == "z" then
    return 0
  end
  local sign, hours, minutes = zone:match("^([+-])(%d%d):?(%d%d)$")
  if not sign then
    sign, hours = zone:match("^([+-])(%d%d)$")
  end
  hours, minutes = tonumber(hours), tonumber(minutes) or 0
  if not sign or hours > 14 or minutes > 59 then
    return nil
  end
  return (hours * 3600 + minutes * 60) * (sign == "-" and -1 or 1)
end

-- Seconds since 1970 and the fraction as text (".12" or ""), or nil.
local function parse(text)
  local y, mo, d, h, mi, s, fraction, zone =
    text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)([%d.]*)([Zz+-].*)$")
  if not y or not (fraction == "" or fraction:match("^%.%d%d?%d?%d?%d?%d?%d?%d?%d?$")) then
    return nil
  end
  y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  local offset = parse_zone(zone)
  if not offset or y < 1 or mo < 1 or mo > 12 or d < 1 or d > days_in(y, mo) or h > 23 or mi > 59 or s > 59 then
    return nil
  end
  return days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - offset, (fraction:sub(1, 7):gsub("%.?0*$", ""))
end

-- In UTC as PostgreSQL writes it: "2026-11-23 14:02:22.12+00", without zeros at the end of the fraction; nil outside the years 1 to
-- 9999. As text it is then at most any text of the same moment that has more zeros, and at least any text of an earlier moment.
local function write(at, fraction)
  local year, month, day = civil_from_days(at // 86400)
  if year < 1 or year > 9999 then
    return nil
  end
  local second = at % 86400
  return ("%04d-%02d-%02d %02d:%02d:%02d%s+00"):format(year, month, day, second // 3600, second // 60 % 60, second % 60, fraction)
end

local function read_timestamp(shape, value, cx)
  local at, fraction
  if type(value) == "string" then
    at, fraction = parse(value)
  end
  local text = at and write(at, fraction)
  if not text then
    fail(cx, ("%s, got %s"):format(shape:expects(), describe(value, shape, cx)))
  end
  return text or nil
end

--- RFC 3339 point in time; checked to UTC text that both engines order and compare.
function S.timestamp(options)
  return make("timestamp", options, { read = read_timestamp, words = function() return "a time such as 2026-11-23T14:02:22Z" end })
end

return S.timestamp
