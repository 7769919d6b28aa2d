--- Logs: append a batch, list by level, service and time, newest first.

local S = require "wick.schema"
local listing = require "wick.listing"
local timeline = require "registry.timeline"

local LEVELS = { "debug", "info", "warn", "error", "fatal" }

local Entry = S.record {
  service_id = S.uuid { optional = true, nullable = true },
  level = S.enum(LEVELS, { default = "info" }),
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

local Listing = timeline.query {
  level = S.enum(LEVELS, { optional = true }),
  service = S.uuid { optional = true },
}
local LOGS = { table = "logs", time = "created_at", columns = "id, service_id, level, message, metadata, created_at" }

local function list(req, cx)
  local f = listing.new()
  f:where("service_id = ?", req.query.service)
  f:where("level = ?", req.query.level)
  return (timeline.page(req, cx, f, LOGS))
end

return {
  { "POST", "/api/v1/logs", name = "log_append", auth = "user", body = Batch, handler = append, max_body = "4MiB",
    group = true },
  { "GET", "/api/v1/logs", name = "log_list", auth = "user", query = Listing, handler = list,
    doc = "Newest first; Link leads to the next page." },
}
