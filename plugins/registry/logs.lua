--- Logs: append a batch, list by level, service and time, newest first.

local S = require "wick.schema"
local filter = require "registry.filter"

local LEVELS = { "debug", "info", "warn", "error", "fatal" }

local Entry = S.record {
  service_id = S.uuid { optional = true, nullable = true },
  level = S.enum { "debug", "info", "warn", "error", "fatal", default = "info" },
  message = S.string { min_length = 1, max_length = 10000 },
  metadata = S.map(S.any {}, { optional = true }),
  created_at = S.timestamp { optional = true, doc = "when; now if it is left out" },
}
local Batch = S.list(Entry, { min_items = 1, max_items = 1000 })

local INSERT = {
  postgres = [[insert into logs (service_id, level, message, metadata, created_at)
    select service_id, level, message, coalesce(metadata, '{}'), coalesce(created_at, now())
    from jsonb_to_recordset($1::jsonb) as r(service_id uuid, level text, message text, metadata jsonb, created_at timestamptz)]],
  sqlite = [[insert into logs (service_id, level, message, metadata, created_at)
    select value ->> 'service_id', value ->> 'level', value ->> 'message', coalesce(value -> 'metadata', '{}'),
      coalesce(value ->> 'created_at', now())
    from json_each($1)]],
}

local function append(req, cx)
  for _, entry in ipairs(req.body) do
    if entry.metadata then
      cx.json.object(entry.metadata)
    end
  end
  return cx.reply { status = 202, body = { stored = cx.db:exec(INSERT, cx.json.array(req.body)) } }
end

local Listing = S.record({
  level = S.enum { LEVELS[1], LEVELS[2], LEVELS[3], LEVELS[4], LEVELS[5], optional = true },
  service = S.uuid { optional = true },
  since = S.timestamp { optional = true }, ["until"] = S.timestamp { optional = true },
  before = S.int64 { optional = true, min = 1, doc = "the id the page before ended with" },
  before_time = S.timestamp { optional = true, doc = "the time the page before ended with" },
  limit = S.int64 { default = 100, min = 1, max = 1000 },
}, { check = filter.whole_cursor })

local function list(req, cx)
  local query = req.query
  local f = filter.new()
  f:where("service_id = ?", query.service)
  f:where("level = ?", query.level)
  f:where("created_at >= ?", query.since)
  f:where("created_at < ?", query["until"])
  if query.before then
    f:after_row(cx.dialect, "logs", "created_at", query.before_time, query.before)
  end
  local rows = f:rows(cx, "select id, service_id, level, message, metadata, created_at from logs",
    "order by created_at desc, id desc limit " .. f:value(query.limit))
  local count = #rows
  local last = rows[count]
  local link = last and filter.next_link(req, query.limit, count, { before = last.id, before_time = last.created_at })
  return cx.reply { status = 200, headers = { Link = link }, body = rows }
end

return {
  { "POST", "/api/v1/logs", name = "log_append", auth = "user", body = Batch, handler = append, max_body = "4MiB" },
  { "GET", "/api/v1/logs", name = "log_list", auth = "user", query = Listing, handler = list,
    doc = "Newest first; Link leads to the next page." },
}
