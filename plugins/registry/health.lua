--- Health: report one or many, history, and a summary over a window.

local S = require "wick.schema"
local listing = require "wick.listing"
local timeline = require "registry.timeline"
local times = require "registry.times"

local Report = S.record {
  status = S.enum { "healthy", "degraded", "unhealthy" },
  response_time_ms = S.number { min = 0, max = 3600000, optional = true },
  message = S.string { max_length = 2000, optional = true },
  checked_at = S.timestamp { optional = true, doc = "when; now if it is left out" },
}
local Reports = S.list(S.record {
  service_id = S.uuid {}, status = Report.fields.status, response_time_ms = Report.fields.response_time_ms,
  message = Report.fields.message, checked_at = Report.fields.checked_at,
}, { min_items = 1, max_items = 1000 })

local INSERT = {
  postgres = [[insert into health_metrics (service_id, status, response_time_ms, message, checked_at)
    select service_id, status, response_time_ms, message, coalesce(checked_at, now())
    from jsonb_to_recordset($1::jsonb)
      as r(service_id uuid, status text, response_time_ms float8, message text, checked_at timestamptz)]],
  sqlite = [[insert into health_metrics (service_id, status, response_time_ms, message, checked_at)
    select value ->> 'service_id', value ->> 'status', value ->> 'response_time_ms', value ->> 'message',
      coalesce(value ->> 'checked_at', now())
    from json_each($1)]],
}
local TOUCH = {
  postgres = [[update services s set last_health_check = r.at
    from (select service_id, max(coalesce(checked_at, now())) as at
          from jsonb_to_recordset($1::jsonb) as r(service_id uuid, checked_at timestamptz) group by service_id) r
    where s.id = r.service_id and (s.last_health_check is null or s.last_health_check < r.at)]],
  sqlite = [[update services set last_health_check = r.at
    from (select value ->> 'service_id' as service_id, max(coalesce(value ->> 'checked_at', now())) as at from json_each($1) group by 1) r
    where services.id = r.service_id and (last_health_check is null or last_health_check < r.at)]],
}

-- All of them or none; an unknown service is refused by the database (409).
local function store(cx, reports)
  return cx.db:transaction(function(tx)
    local stored = tx:exec(INSERT, cx.json.array(reports))
    tx:exec(TOUCH, cx.json.array(reports))
    return stored
  end)
end

-- A problem when there is no such service, else nil.
local function missing(cx, id)
  if not cx.db:one("select 1 as there from services where id = $1", id) then
    return cx.problem(404, "service-not-found", { detail = "there is no service with this id", id = id })
  end
  return nil
end

local function report_one(req, cx)
  local problem = missing(cx, req.params.id)
  if problem then
    return problem
  end
  req.body.service_id = req.params.id
  store(cx, { req.body })
  return cx.reply { status = 202, body = { stored = 1 } }
end

local function report_many(req, cx)
  return cx.reply { status = 202, body = { stored = store(cx, req.body) } }
end

local METRICS = {
  table = "health_metrics", time = "checked_at", columns = "id, service_id, status, response_time_ms, message, checked_at",
}

local function history(req, cx)
  local f = listing.new()
  f:where("service_id = ?", req.params.id)
  local page, count = timeline.page(req, cx, f, METRICS)
  return count == 0 and missing(cx, req.params.id) or page
end

local SUMMARY = {
  postgres = [[select count(*) as reports, count(*) filter (where status = 'healthy') as healthy,
      count(*) filter (where status = 'degraded') as degraded, count(*) filter (where status = 'unhealthy') as unhealthy,
      avg(response_time_ms) as avg_ms,
      percentile_cont(0.5) within group (order by response_time_ms) as p50_ms,
      percentile_cont(0.95) within group (order by response_time_ms) as p95_ms,
      percentile_cont(0.99) within group (order by response_time_ms) as p99_ms,
      max(response_time_ms) as max_ms, max(checked_at) as last_checked_at
    from health_metrics where service_id = $1 and checked_at >= $2]],
  sqlite = [[select count(*) as reports, count(*) filter (where status = 'healthy') as healthy,
      count(*) filter (where status = 'degraded') as degraded, count(*) filter (where status = 'unhealthy') as unhealthy,
      avg(response_time_ms) as avg_ms,
      percentile(response_time_ms, 0.5) as p50_ms, percentile(response_time_ms, 0.95) as p95_ms,
      percentile(response_time_ms, 0.99) as p99_ms, max(response_time_ms) as max_ms,
      replace(max(checked_at), ' ', 'T') || ':00' as last_checked_at
    from health_metrics where service_id = $1 and checked_at >= $2]],
}
local WINDOWS = S.record { window = S.duration { default = "1h", min = "1m", max = "31d", doc = "how far back" } }

local function summary(req, cx)
  local row = cx.db:one(SUMMARY, req.params.id, times.ago(cx, req.query.window))
  return row.reports == 0 and missing(cx, req.params.id) or row
end

return {
  { "POST", "/api/v1/services/{id:uuid}/health", name = "health_report", auth = "user", body = Report, handler = report_one },
  { "POST", "/api/v1/health", name = "health_report_many", auth = "user", body = Reports, handler = report_many, max_body = "1MiB" },
  { "GET", "/api/v1/services/{id:uuid}/health", name = "health_history", query = timeline.query {}, handler = history,
    doc = "Reports of a service, newest first; Link leads to the next page." },
  { "GET", "/api/v1/services/{id:uuid}/health/summary", name = "health_summary", query = WINDOWS, handler = summary,
    cache = { ttl = { option = "summary_ttl" }, stale = "30s" }, doc = "Counts and percentiles over a window." },
}
