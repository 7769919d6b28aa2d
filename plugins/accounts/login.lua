--- Login, logout, me, and the caller's own API keys.

local S = require "wick.schema"
local tokens = require "accounts.tokens"
local limit = require "accounts.limit"

local Email = S.string { format = "email", max_length = 254 }
local Credentials = S.record { email = Email, password = S.secret { min_length = 1, max_length = 200 } }

-- Verified against when there is no such account, so that both cases take the same time. Of no password.
local NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$d2lja25vYm9keXNhbHQ$0GbrVLOXkGvN3mmZ2G5oWUrEAnLHC5AVhr1bzUkE2zU"

local function refused(cx)
  return cx.problem(401, "login-failed", { detail = "the e-mail address or the password is wrong" })
end

local function login(req, cx)
  local email = req.body.email:lower()
  local account, address = limit.keys(email, req.peer)
  if not limit.allows(cx, account, address) or not limit.take(cx, account, address) then
    return cx.problem(429, "too-many-logins", {
      detail = "too many failed logins; try again later", retry_after = cx.options.login_window // 1000,
    })
  end
  local user = cx.db:one([[select id, email, name, role, is_verified, password_hash
    from users where email = $1 and is_active]], email)
  local fits = cx.crypto.password_verify(user and user.password_hash or NOBODY, req.body.password)
  if not user or not fits then
    return refused(cx)
  end
  limit.clear(cx, account, address)
  tokens.sweep(cx)
  local token, session = tokens.make(cx, cx.db, user.id, "session", "", cx.options.session_ttl)
  cx.db:exec("update users set last_login_at = now() where id = $1", user.id)
  return cx.reply { status = 201, headers = { ["Cache-Control"] = "no-store" }, body = {
    token = token, session = session,
    user = { id = user.id, email = user.email, name = user.name, role = user.role, is_verified = user.is_verified },
  } }
end

-- A script that logs out would otherwise end the key it runs with, which nobody sees again.
local function logout(req, cx)
  if req.user.kind ~= "session" then
    return cx.problem(403, "session-required", {
      detail = "logout ends sessions, and this is an API key; DELETE /api/v1/keys/" .. req.user.session_id .. " revokes it",
    })
  end
  tokens.revoke(cx, req.user.id, req.user.session_id)
  return cx.no_content()
end

local function me(req, cx)
  return cx.db:one([[select id, email, name, role, is_active, is_verified, last_login_at, created_at
    from users where id = $1]], req.user.id)
end

local NewKey = S.record {
  name = S.string { min_length = 1, max_length = 100 },
  expires_in = S.duration { default = "365d", min = "1m", max = "3650d", doc = "a text with a unit, such as 90d" },
}

local KEYS_MAX = 100

-- A key that leaked could otherwise make others, which live on when it is revoked.
local function key_add(req, cx)
  if req.user.kind ~= "session" then
    return cx.problem(403, "session-required", { detail = "an API key cannot make keys; log in, and use the token of the session" })
  end
  local count = cx.db:one([[select count(*) as n from sessions
    where user_id = $1 and kind = 'api_key' and is_active and expires_at > $2]], req.user.id, tokens.time_text(cx.now())).n
  if count >= KEYS_MAX then
    return cx.problem(409, "too-many-keys", { detail = ("you have %d active keys; revoke one first"):format(count) })
  end
  local token, row = tokens.make(cx, cx.db, req.user.id, "api_key", req.body.name, req.body.expires_in)
  return cx.reply { status = 201, headers = { Location = "/api/v1/keys/" .. row.id, ["Cache-Control"] = "no-store" },
    body = { token = token, key = row } }
end

local function key_list(req, cx)
  return cx.db:rows([[select id, name, created_at, expires_at from sessions
    where user_id = $1 and kind = 'api_key' and is_active order by created_at desc limit 1000]], req.user.id)
end

local function key_delete(req, cx)
  if not tokens.revoke(cx, req.user.id, req.params.id) then
    return cx.problem(404, "key-not-found", { detail = "you have no active key with this id" })
  end
  return cx.no_content()
end

return {
  { "POST", "/api/v1/login", name = "login", body = Credentials, handler = login, max_body = "16KiB" },
  { "POST", "/api/v1/logout", name = "logout", auth = "user", handler = logout },
  { "GET", "/api/v1/me", name = "me", auth = "user", handler = me },
  { "POST", "/api/v1/keys", name = "key_add", auth = "user", body = NewKey, handler = key_add,
    doc = "Made by a session only. The key is shown this once." },
  { "GET", "/api/v1/keys", name = "key_list", auth = "user", handler = key_list },
  { "DELETE", "/api/v1/keys/{id:uuid}", name = "key_delete", auth = "user", handler = key_delete },
}
