--- Services: list, get, create, change, delete, start, stop, restart.

local S = require "wick.schema"
local listing = require "wick.listing"

local COLUMNS = "id, name, status, group_name, port, labels, health_check_url, last_health_check, restart_count, is_active, " ..
  "created_at, updated_at"
local STATUSES = { "running", "stopped", "starting", "stopping", "failed" }

local Labels = S.map(S.string { max_length = 200 }, { max_items = 64, optional = true, doc = "names and values to find it by" })
local Service = S.record {
  id = S.uuid {},
  name = S.string { min_length = 1, max_length = 100 },
  status = S.enum(STATUSES, { default = "stopped" }),
  group_name = S.string { min_length = 1, max_length = 100, default = "default" },
  port = S.int64 { min = 1, max = 65535, optional = true, nullable = true },
  labels = Labels,
  health_check_url = S.string { format = "url", max_length = 2000, optional = true, nullable = true },
  last_health_check = S.timestamp { optional = true, nullable = true },
  restart_count = S.int64 { min = 0, default = 0 },
  is_active = S.boolean { default = true },
  created_at = S.timestamp {},
  updated_at = S.timestamp {},
}
local Fields = Service:pick("name", "status", "group_name", "port", "labels", "health_check_url", "is_active")
local Change = Fields:partial()

local LABEL = "^[^:]+:.*$"
local Listing = S.record {
  status = S.enum(STATUSES, { optional = true }),
  group = S.string { optional = true, max_length = 100 },
  label = S.list(S.string { pattern = LABEL, max_length = 300 }, { optional = true, max_items = 4, doc = "name:value, up to four times" }),
  active = S.boolean { default = true, doc = "false lists the inactive ones" },
  after = S.string { optional = true, max_length = 100, doc = "the name the page before ended with" },
  limit = S.int64 { default = 50, min = 1, max = 100 },
}

local BY_LABEL = {
  postgres = "labels @> jsonb_build_object(?::text, ?::text)",
  sqlite = "id in (select service_id from service_labels where key = ? and value = ?)",
}

local function list(req, cx)
  local query = req.query
  local f = listing.new()
  f:where("is_active = ?", query.active)
  f:where("status = ?", query.status)
  f:where("group_name = ?", query.group)
  for _, label in ipairs(query.label or {}) do
    local name, value = label:match("^([^:]+):(.*)$")
    f:where(BY_LABEL[cx.dialect], name, value)
  end
  f:where("name > ?", query.after)
  local rows = f:rows(cx, "select " .. COLUMNS .. " from services", "order by name limit " .. f:value(query.limit))
  local count = #rows
  local link = count > 0 and listing.next_link(req, query.limit, count, { after = rows[count].name }) or nil
  return cx.reply { status = 200, headers = { Link = link }, body = rows }
end

local function not_found(cx, id)
  return cx.problem(404, "service-not-found", { detail = "there is no service with this id", id = id })
end

local function get(req, cx)
  return cx.db:one("select " .. COLUMNS .. " from services where id = $1", req.params.id) or not_found(cx, req.params.id)
end

-- What is cached of services is about to be wrong.
local function changed(cx, answer)
  cx.cache:drop_tag("services")
  return answer
end

local function create(req, cx)
  local body = req.body
  local row = cx.db:one([[insert into services (name, status, group_name, port, labels, health_check_url, is_active)
    values ($1, $2, $3, $4, $5, $6, $7) returning ]] .. COLUMNS,
    body.name, body.status, body.group_name, body.port, cx.json.object(body.labels or {}), body.health_check_url, body.is_active)
  return changed(cx, cx.created("/api/v1/services/" .. row.id, row))
end

local CHANGEABLE = { "name", "status", "group_name", "port", "labels", "health_check_url", "is_active" }

local function change(req, cx)
  local f, sets = listing.new(), {}
  for _, name in ipairs(CHANGEABLE) do
    local value = req.body[name]
    if value ~= nil then
      sets[#sets + 1] = name .. " = " .. f:value(name == "labels" and cx.json.object(value) or value)
    end
  end
  if #sets == 0 then
    return cx.problem(422, "nothing-to-change", { detail = "give at least one of " .. table.concat(CHANGEABLE, ", ") })
  end
  sets[#sets + 1] = "updated_at = now()"
  local id = f:value(req.params.id)
  local row = cx.db:one(("update services set %s where id = %s returning %s"):format(table.concat(sets, ", "), id, COLUMNS),
    table.unpack(f.values, 1, f.count))
  return row and changed(cx, row) or not_found(cx, req.params.id)
end

local function delete(req, cx)
  if cx.db:exec("delete from services where id = $1", req.params.id) == 0 then
    return not_found(cx, req.params.id)
  end
  return changed(cx, cx.no_content())
end

-- A switch from one status to another; asking twice is the same as asking once.
local function switch(assignments)
  local text = ("update services set %s, updated_at = now() where id = $1 and is_active returning %s"):format(assignments, COLUMNS)
  return function(req, cx)
    local row = cx.db:one(text, req.params.id)
    if row then
      return changed(cx, row)
    end
    if cx.db:one("select 1 as there from services where id = $1", req.params.id) then
      return cx.problem(409, "service-inactive", {
        detail = "the service is not active; PATCH is_active to true first", id = req.params.id,
      })
    end
    return not_found(cx, req.params.id)
  end
end

local CACHED = { ttl = { option = "list_ttl" }, stale = "5s", tags = { "services" } }

return {
  { "GET", "/api/v1/services", name = "service_list", query = Listing, returns = { [200] = S.list(Service) }, handler = list,
    cache = CACHED, doc = "Services by name; Link leads to the next page." },
  { "POST", "/api/v1/services", name = "service_create", auth = "user", body = Fields, returns = { [201] = Service }, handler = create },
  { "GET", "/api/v1/services/{id:uuid}", name = "service_get", returns = { [200] = Service }, handler = get, cache = CACHED },
  { "PATCH", "/api/v1/services/{id:uuid}", name = "service_change", auth = "user", body = Change, returns = { [200] = Service },
    handler = change },
  { "DELETE", "/api/v1/services/{id:uuid}", name = "service_delete", auth = "user", handler = delete },
  { "POST", "/api/v1/services/{id:uuid}/start", name = "service_start", auth = "user", returns = { [200] = Service },
    handler = switch "status = 'running'" },
  { "POST", "/api/v1/services/{id:uuid}/stop", name = "service_stop", auth = "user", returns = { [200] = Service },
    handler = switch "status = 'stopped'" },
  { "POST", "/api/v1/services/{id:uuid}/restart", name = "service_restart", auth = "user", returns = { [200] = Service },
    handler = switch "status = 'running', restart_count = restart_count + 1" },
}
