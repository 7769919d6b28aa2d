--- Users, sessions and API keys; and `auth = "user"` or `auth = "admin"` for the routes of every plugin.

local S = require "wick.schema"
local auth = require "accounts.auth"

local routes = {}
for _, name in ipairs { "login", "users" } do
  for _, route in ipairs(require("accounts." .. name)) do
    routes[#routes + 1] = route
  end
end

-- A new database has nobody who could let others in.
local function start(options, cx)
  local first = options.first_admin
  if not first or cx.db:one "select 1 as one from users limit 1" then
    return
  end
  local made = cx.db:exec([[insert into users (email, name, role, password_hash, is_verified)
    values ($1, 'Administrator', 'admin', $2, true) on conflict (email) do nothing]], first.email:lower(),
    cx.crypto.password_hash(first.password))
  if made > 0 then -- every worker starts the plugin; one of them made it
    cx.log:info("made the first administrator", { email = first.email })
  end
end

return {
  name = "accounts", version = "1.0.0", api = 1,
  options = S.record({
    session_ttl = S.duration { default = "12h", min = "1m", max = "90d", doc = "how long a login lasts" },
    session_cache = S.duration { default = "5s", min = "1ms", max = "1m", doc = "how long a token found valid is remembered" },
    login_attempts = S.int64 {
      default = 5, min = 1, max = 1000, doc = "failed logins of an account within login_window; ten times as many from one address",
    },
    login_window = S.duration { default = "15m", min = "1s", max = "1d", doc = "how long failed logins are counted" },
    first_admin = S.record({
      email = S.string { format = "email", example = "admin@example.org", doc = "to log in with" },
      password = S.secret { min_length = 10, max_length = 200, example = "a long passphrase", doc = "at least 10 characters" },
    }, { optional = true, doc = "An administrator, made when there are no users at all." }),
  }, { order = { "session_ttl", "session_cache", "login_attempts", "login_window" } }),
  schema = "schema",
  route_fields = auth.route_fields,
  middleware = auth.middleware,
  routes = routes,
  start = start,
}
