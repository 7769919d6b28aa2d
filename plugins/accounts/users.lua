--- Users, for administrators.

local S = require "wick.schema"
local tokens = require "accounts.tokens"

local COLUMNS = "id, email, name, role, is_active, is_verified, last_login_at, created_at, updated_at"

local User = S.record {
  email = S.string { format = "email", max_length = 254 },
  name = S.string { max_length = 200, default = "" },
  role = S.enum { "user", "admin", default = "user" },
  password = S.secret { min_length = 10, max_length = 200, doc = "at least 10 characters" },
  is_active = S.boolean { default = true },
  is_verified = S.boolean { default = false },
}
local Listing = S.record {
  active = S.boolean { optional = true },
  after = S.string { optional = true, max_length = 254, doc = "the e-mail address the page before ended with" },
  limit = S.int64 { default = 50, min = 1, max = 100 },
}

local function not_found(cx, id)
  return cx.problem(404, "user-not-found", { detail = "there is no user with this id", id = id })
end

local function list(req, cx)
  local query = req.query
  local where, values = {}, {}
  if query.active ~= nil then
    values[#values + 1] = query.active
    where[#where + 1] = "is_active = $" .. #values
  end
  if query.after then
    values[#values + 1] = query.after:lower()
    where[#where + 1] = "email > $" .. #values
  end
  values[#values + 1] = query.limit
  local rows = cx.db:rows(("select %s from users%s order by email limit $%d"):format(COLUMNS,
    #where > 0 and " where " .. table.concat(where, " and ") or "", #values), table.unpack(values))
  local count = #rows
  local link
  if count == query.limit then
    local after = rows[count].email:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end)
    link = ("<%s?%safter=%s&limit=%d>; rel=\"next\""):format(req.path,
      query.active ~= nil and ("active=%s&"):format(query.active) or "", after, query.limit)
  end
  return cx.reply { status = 200, headers = { Link = link }, body = rows }
end

local function get(req, cx)
  return cx.db:one("select " .. COLUMNS .. " from users where id = $1", req.params.id) or not_found(cx, req.params.id)
end

local function add(req, cx)
  local body = req.body
  local hash = cx.crypto.password_hash(body.password)
  local row = cx.db:one([[insert into users (email, name, role, password_hash, is_active, is_verified)
    values ($1, $2, $3, $4, $5, $6) returning ]] .. COLUMNS,
    body.email:lower(), body.name, body.role, hash, body.is_active, body.is_verified)
  return cx.created("/api/v1/users/" .. row.id, row)
end

local function change(req, cx)
  local body, sets, values = req.body, {}, {}
  local function set(column, value)
    values[#values + 1] = value
    sets[#sets + 1] = ("%s = $%d"):format(column, #values)
  end
  for _, column in ipairs { "name", "role", "is_active", "is_verified" } do
    if body[column] ~= nil then
      set(column, body[column])
    end
  end
  if body.email then
    set("email", body.email:lower())
  end
  if body.password then
    set("password_hash", cx.crypto.password_hash(body.password))
  end
  if #sets == 0 then
    return cx.problem(422, "nothing-to-change", {
      detail = "give at least one of email, name, role, password, is_active, is_verified",
    })
  end
  values[#values + 1] = req.params.id
  local text = ("update users set %s, updated_at = now() where id = $%d returning %s"):format(table.concat(sets, ", "), #values, COLUMNS)
  local row = cx.db:transaction(function(tx)
    local changed = tx:one(text, table.unpack(values))
    if changed and (body.password or body.is_active == false) then
      tokens.revoke_all(cx, tx, req.params.id)
    end
    return changed
  end)
  tokens.forget_all(cx)
  return row or not_found(cx, req.params.id)
end

local function delete(req, cx)
  if req.params.id == req.user.id then
    return cx.problem(409, "own-account", { detail = "you cannot delete the account you are using" })
  end
  local count = cx.db:exec("delete from users where id = $1", req.params.id)
  tokens.forget_all(cx)
  return count > 0 and cx.no_content() or not_found(cx, req.params.id)
end

return {
  { "GET", "/api/v1/users", name = "user_list", auth = "admin", query = Listing, handler = list },
  { "POST", "/api/v1/users", name = "user_add", auth = "admin", body = User, handler = add },
  { "GET", "/api/v1/users/{id:uuid}", name = "user_get", auth = "admin", handler = get },
  { "PATCH", "/api/v1/users/{id:uuid}", name = "user_change", auth = "admin", body = User:partial(), handler = change },
  { "DELETE", "/api/v1/users/{id:uuid}", name = "user_delete", auth = "admin", handler = delete },
}
