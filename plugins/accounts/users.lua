--- Users, for administrators.

local S = require "wick.schema"
local listing = require "wick.listing"
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
  local query, f = req.query, listing.new()
  f:where("is_active = ?", query.active)
  f:where("email > ?", query.after and query.after:lower())
  local rows = f:rows(cx, "select " .. COLUMNS .. " from users", "order by email limit " .. f:value(query.limit))
  local count = #rows
  local link = count > 0 and listing.next_link(req, query.limit, count, { after = rows[count].email }) or nil
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

-- Who can let others in. The rows are locked, so of two who demote each other one waits, and then sees what the other did; on
-- SQLite transactions that write come one after the other anyway.
local KEEPERS = "select id from users where role = 'admin' and is_active and is_verified order by id"
local LOCKED_KEEPERS = { postgres = KEEPERS .. " for update", sqlite = KEEPERS }

local function is_last_keeper(tx, id)
  local keepers = tx:rows(LOCKED_KEEPERS)
  return #keepers == 1 and keepers[1].id == id
end

local function last_admin(cx)
  return cx.problem(409, "last-admin", {
    detail = "this is the last administrator who can log in; make somebody else one first",
  })
end

local function change(req, cx)
  local body, sets, f = req.body, {}, listing.new()
  local function set(column, value)
    sets[#sets + 1] = column .. " = " .. f:value(value)
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
  local text = ("update users set %s, updated_at = now() where id = %s returning %s"):format(table.concat(sets, ", "),
    f:value(req.params.id), COLUMNS)
  local steps_down = body.role == "user" or body.is_active == false or body.is_verified == false
  local row = cx.db:transaction(function(tx)
    if steps_down and is_last_keeper(tx, req.params.id) then
      error(last_admin(cx), 0)
    end
    local changed = tx:one(text, table.unpack(f.values, 1, f.count))
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
  local count = cx.db:transaction(function(tx)
    if is_last_keeper(tx, req.params.id) then -- the caller may have been demoted a moment ago
      error(last_admin(cx), 0)
    end
    return tx:exec("delete from users where id = $1", req.params.id)
  end)
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
