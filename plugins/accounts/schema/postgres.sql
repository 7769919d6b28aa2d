-- Tables of users, sessions and API keys, for PostgreSQL. Every statement may run again.

create table if not exists users (
  id            uuid primary key default gen_random_uuid(),
  email         text not null constraint users_email_key unique constraint users_email_check check (email = lower(email)),
  name          text not null default '',
  role          text not null default 'user' constraint users_role_check check (role in ('user', 'admin')),
  password_hash text not null,
  is_active     boolean not null default true,
  is_verified   boolean not null default false,
  last_login_at timestamptz,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now()
);
create index if not exists idx_users_email_active on users (email) where is_active;

-- A session or an API key. The token itself is known to its owner only; here is its SHA-256.
create table if not exists sessions (
  id           uuid primary key default gen_random_uuid(),
  user_id      uuid not null constraint sessions_user_id_fkey references users (id) on delete cascade,
  kind         text not null default 'session' constraint sessions_kind_check check (kind in ('session', 'api_key')),
  name         text not null default '',
  token_hash   text not null constraint sessions_token_hash_key unique,
  is_active    boolean not null default true,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz not null
);
create index if not exists idx_sessions_user_active on sessions (user_id, kind, created_at desc) where is_active;
create index if not exists idx_sessions_expires on sessions (expires_at);

-- Failed logins by address and by account, for the rate limit.
create table if not exists login_failures (
  key      text primary key,
  failures integer not null,
  since    timestamptz not null
);
create index if not exists idx_login_failures_since on login_failures (since);
