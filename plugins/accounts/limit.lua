--- Slows down guessing: after some failed logins of an account or from an address, the next ones are refused for a while.

local tokens = require "accounts.tokens"

local limit = {}

local COUNT = {
  postgres = [[insert into login_failures (key, failures, since) values ($1, 1, now())
    on conflict (key) do update set
      failures = case when login_failures.since < $2 then 1 else login_failures.failures + 1 end,
      since = case when login_failures.since < $2 then now() else login_failures.since end]],
  sqlite = [[insert into login_failures (key, failures, since) values ($1, 1, now())
    on conflict (key) do update set
      failures = case when login_failures.since < $2 then 1 else login_failures.failures + 1 end,
      since = case when login_failures.since < $2 then now() else login_failures.since end]],
}

local function window_start(cx)
  return tokens.time_text(cx.now() - cx.options.login_window / 1000)
end

--- The names a login is counted under: the account, and the address (which may try more accounts).
function limit.keys(email, peer)
  return "account:" .. email, "address:" .. peer
end

--- True when this login may be tried.
function limit.allows(cx, account, address)
  local row = cx.db:one([[select coalesce(max(case when key = $1 then failures end), 0) as account,
      coalesce(max(case when key = $2 then failures end), 0) as address
    from login_failures where key in ($1, $2) and since >= $3]], account, address, window_start(cx))
  return row.account < cx.options.login_attempts and row.address < cx.options.login_attempts * 10
end

--- Counts a failed login.
function limit.count(cx, account, address)
  local start = window_start(cx)
  cx.db:exec(COUNT, account, start)
  cx.db:exec(COUNT, address, start)
end

--- A login worked: the account starts again from zero.
function limit.clear(cx, account)
  cx.db:exec("delete from login_failures where key = $1", account)
end

return limit
