--- Who is calling: the middleware behind `auth = "user"` and `auth = "admin"` of routes.

local S = require "wick.schema"
local tokens = require "accounts.tokens"

local CHALLENGE = { ["WWW-Authenticate"] = 'Bearer realm="wick"' }

-- A bearer token counts before a key. Credentials of another scheme are for others, such as a proxy on the way.
local function token_of(req)
  local authorization = req.headers["authorization"] or ""
  local scheme = authorization:match("^%S*"):lower() -- RFC 9110 11.1: in any case
  if scheme == "bearer" then
    return authorization:match("^%S+ +(%S+)$")
  end
  return req.headers["x-api-key"]
end

local function wrap(next_handler, route)
  local wants_admin = route.auth == "admin"
  return function(req, cx, accounts)
    local token = token_of(req)
    if not token then
      return cx.problem(401, "login-required", {
        detail = "send Authorization: Bearer TOKEN (from POST /api/v1/login) or X-API-Key: KEY", headers = CHALLENGE,
      })
    end
    local user = tokens.user(accounts, token)
    if not user then
      return cx.problem(401, "token-invalid", { detail = "the token is unknown, expired or revoked", headers = CHALLENGE })
    end
    if not user.is_verified then
      return cx.problem(403, "not-verified", { detail = "the account is not verified yet; an administrator can do that" })
    end
    if wants_admin and user.role ~= "admin" then
      return cx.problem(403, "admin-only", { detail = "only administrators may do this" })
    end
    req.user = user
    return next_handler(req, cx)
  end
end

return {
  route_fields = { auth = S.enum { "user", "admin", optional = true } },
  middleware = {
    {
      name = "auth",
      applies = function(route) return route.auth ~= nil end,
      -- A cache on the way may take a key in X-API-Key for no credentials at all (RFC 9111 3.5 speaks of Authorization only).
      headers = { ["Cache-Control"] = "private, no-store", Vary = "Authorization, X-API-Key" },
      wrap = function(next_handler, route, accounts)
        local check = wrap(next_handler, route)
        return function(req, cx)
          return check(req, cx, accounts)
        end
      end,
    },
  },
}
