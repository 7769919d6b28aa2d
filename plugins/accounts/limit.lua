--- Slows down guessing: after some failed logins of an account or from an address, the next ones are refused for a while.

local tokens = require "accounts.tokens"
local network = require "accounts.network"

local limit = {}

local COUNT = [[insert into login_failures (key, failures, since) values ($1, 1, now())
  on conflict (key) do update set
    failures = case when login_failures.since < $2 then 1 else login_failures.failures + 1 end,
    since = case when login_failures.since < $2 then now() else login_failures.since end
  returning failures]]

local function window_start(cx)
  return tokens.time_text(cx.now() - cx.options.login_window / 1000)
end

--- The names a login is counted under: the account, and the address or its /64 (which may try more accounts).
function limit.keys(email, peer)
  return "account:" .. email, "address:" .. network(peer)
end

-- Whether so many failures of the account and of the address leave room for another try.
local function fits(cx, account_failures, address_failures)
  return account_failures < cx.options.login_attempts and address_failures < cx.options.login_attempts * 10
end

--- True when this login may be tried.
function limit.allows(cx, account, address)
  local row = cx.db:one([[select coalesce(max(case when key = $1 then failures end), 0) as account,
      coalesce(max(case when key = $2 then failures end), 0) as address
    from login_failures where key in ($1, $2) and since >= $3]], account, address, window_start(cx))
  return fits(cx, row.account, row.address)
end

local swept_at = 0

-- What is too old to count goes, once in each window, so that guessed addresses do not fill the table.
local function sweep(cx)
  if cx.now() - swept_at < cx.options.login_window / 1000 then
    return
  end
  swept_at = cx.now()
  cx.db:exec("delete from login_failures where since < $1", window_start(cx))
end

--- Counts a login as failed before it is tried, so that many at the same time cannot all find room. True when there was room.
function limit.take(cx, account, address)
  sweep(cx)
  local start = window_start(cx)
  local of_account = cx.db:one(COUNT, account, start).failures
  return fits(cx, of_account - 1, cx.db:one(COUNT, address, start).failures - 1)
end

--- The login worked after all: the account starts again from zero, the address has one failure less.
function limit.clear(cx, account, address)
  cx.db:exec("delete from login_failures where key = $1", account)
  cx.db:exec("update login_failures set failures = failures - 1 where key = $1 and failures > 0", address)
end

return limit
