--- The registry at a glance: services by status and group, health and errors of the last hour.

local times = require "registry.times"

local HOUR_MS = 3600000

-- + keeps SQLite from reading the whole of the index that begins with the level for the sake of the groups.
local LEVELS = {
  postgres = "select level, count(*) as entries from logs where created_at >= $1 group by level order by level",
  sqlite = "select level, count(*) as entries from logs where created_at >= $1 group by +level order by +level",
}

local function overview(_, cx)
  local since = times.ago(cx, HOUR_MS)
  local results = cx.db:pipeline(function(p)
    p:rows "select status, count(*) as services from services where is_active group by status order by status"
    p:rows [[select group_name, count(*) as services, count(*) filter (where status = 'running') as running
      from services where is_active group by group_name order by group_name]]
    p:rows("select status, count(*) as reports from health_metrics where checked_at >= $1 group by status order by status", since)
    p:rows(LEVELS, since)
  end)
  return { by_status = results[1], by_group = results[2], health_last_hour = results[3], logs_last_hour = results[4] }
end

return {
  { "GET", "/api/v1/overview", name = "overview", handler = overview,
    cache = { ttl = { option = "summary_ttl" }, stale = "30s", tags = { "services" } } },
}
