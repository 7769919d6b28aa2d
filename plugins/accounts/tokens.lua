--- Sessions and API keys: made, found, revoked. Only the SHA-256 of a token is stored; the token is shown once.

local tokens = {}

local TOKEN_BYTES = 32
local KEEP_S = 30 * 86400 -- how long a session that is over is kept, for those who look what happened
local PREFIX = { session = "wks_", api_key = "wkk_" }

--- seconds since 1970 -> text both engines compare.
local function time_text(seconds)
  return os.date("!%Y-%m-%d %H:%M:%S+00", math.floor(seconds))
end
tokens.time_text = time_text

local function cache_key(hash)
  return "accounts.token:" .. hash
end

--- Makes a token for a user; gives the token and its row. db: cx.db or a transaction.
function tokens.make(cx, db, user_id, kind, name, ttl_ms)
  local token = PREFIX[kind] .. cx.crypto.random_token(TOKEN_BYTES)
  local row = db:one([[insert into sessions (user_id, kind, name, token_hash, expires_at) values ($1, $2, $3, $4, $5)
    returning id, kind, name, created_at, expires_at]],
    user_id, kind, name, cx.crypto.sha256_hex(token), time_text(cx.now() + ttl_ms / 1000))
  return token, row
end

--- The user a token stands for, or nil. A hit may be as old as the option session_cache on other nodes; a token revoked on
-- this node ends at once.
function tokens.user(cx, token)
  if #token > 200 or not token:match("^wk[sk]_[%w_-]+$") then
    return nil
  end
  local hash = cx.crypto.sha256_hex(token)
  local keep = { ttl = cx.options.session_cache, memory_only = true, tags = { "accounts.users" } }
  local found = cx.cache:get(cache_key(hash), keep, function()
    return cx.db:one([[select u.id, u.email, u.name, u.role, u.is_verified, s.id as session_id, s.kind, s.token_hash
      from sessions s join users u on u.id = s.user_id
      where s.token_hash = $1 and s.is_active and u.is_active and s.expires_at > $2]], hash, time_text(cx.now()))
  end)
  local user = found and found:value()
  -- The index compared hashes already; this comparison takes the same time wherever they differ.
  if not user or not cx.crypto.same(user.token_hash, hash) then
    return nil
  end
  return user
end

--- Ends one session or key of a user; false when there is none.
function tokens.revoke(cx, user_id, session_id)
  local row = cx.db:one([[update sessions set is_active = false where id = $1 and user_id = $2 and is_active
    returning token_hash]], session_id, user_id)
  if not row then
    return false
  end
  cx.cache:delete(cache_key(row.token_hash))
  return true
end

--- Deletes sessions and keys that have been over for long.
function tokens.sweep(cx)
  cx.db:exec("delete from sessions where expires_at < $1", time_text(cx.now() - KEEP_S))
end

--- Ends every session of a user (password changed, account switched off).
function tokens.revoke_all(cx, db, user_id)
  db:exec("update sessions set is_active = false where user_id = $1 and is_active", user_id)
end

--- What is remembered of users and their sessions is about to be wrong.
function tokens.forget_all(cx)
  cx.cache:drop_tag "accounts.users"
end

return tokens
