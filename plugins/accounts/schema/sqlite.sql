-- Tables of users, sessions and API keys, for SQLite. Every statement may run again.

create table if not exists users (
  id            UUID primary key not null
                default (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' ||
                         substr('89ab', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),
  email         TEXT not null constraint users_email_key unique constraint users_email_check check (email = lower(email)),
  name          TEXT not null default '',
  role          TEXT not null default 'user' constraint users_role_check check (role in ('user', 'admin')),
  password_hash TEXT not null,
  is_active     BOOLEAN not null default 1,
  is_verified   BOOLEAN not null default 0,
  last_login_at TIMESTAMPTZ,
  created_at    TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00'),
  updated_at    TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00')
);
create index if not exists idx_users_email_active on users (email) where is_active;

-- A session or an API key. The token itself is known to its owner only; here is its SHA-256.
create table if not exists sessions (
  id           UUID primary key not null
               default (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' ||
                        substr('89ab', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),
  user_id      UUID not null references users (id) on delete cascade,
  kind         TEXT not null default 'session' constraint sessions_kind_check check (kind in ('session', 'api_key')),
  name         TEXT not null default '',
  token_hash   TEXT not null constraint sessions_token_hash_key unique,
  is_active    BOOLEAN not null default 1,
  created_at   TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00'),
  expires_at   TIMESTAMPTZ not null
);
create index if not exists idx_sessions_user_active on sessions (user_id, kind, created_at desc) where is_active;
create index if not exists idx_sessions_expires on sessions (expires_at);

-- Failed logins by address and by account, for the rate limit.
create table if not exists login_failures (
  key      TEXT primary key,
  failures INTEGER not null,
  since    TIMESTAMPTZ not null
) without rowid;
create index if not exists idx_login_failures_since on login_failures (since);
