-- demo-data.sql - the rows of tools/demo-data. The parameter :now is a moment in seconds since 1970; nothing else varies.
--
-- Chance comes from arithmetic: a row's number goes through x -> (x * a + b) mod p, squared, and on through small
-- multipliers; p = 2147483647 = 2^31 - 1, so that no product leaves 64 bits. r1 to r4 below are such numbers.

-- --- services ---------------------------------------------------------------------------------------------------------

-- base_ms: usual response time. since: hours ago that a service went down for good; it reports nothing after that.
create temp table plan (
  idx integer primary key, name text, group_name text, port integer, base_ms real, language text, team text, tier text,
  status text not null default 'running', since integer, is_active integer not null default 1
);
insert into plan (name, group_name, port, base_ms, language, team, tier) values
  ('edge-gateway',         'edge',     8001,   9, 'c',      'traffic',  'critical'),
  ('edge-cdn-purge',       'edge',     8002,  35, 'go',     'traffic',  'normal'),
  ('edge-image-resizer',   'edge',     8003,  88, 'rust',   'traffic',  'normal'),
  ('edge-rate-limiter',    'edge',     8004,   3, 'c',      'traffic',  'critical'),
  ('edge-websocket',       'edge',     8005,  14, 'elixir', 'traffic',  'normal'),
  ('edge-bot-filter',      'edge',     8006,  11, 'rust',   'traffic',  'normal'),
  ('checkout-api',         'checkout', 8101,  62, 'java',   'orders',   'critical'),
  ('checkout-cart',        'checkout', 8102,  24, 'go',     'orders',   'critical'),
  ('checkout-payments',    'checkout', 8103, 140, 'java',   'payments', 'critical'),
  ('checkout-refunds',     'checkout', 8104,  95, 'java',   'payments', 'normal'),
  ('checkout-invoices',    'checkout', 8105, 120, 'python', 'payments', 'normal'),
  ('checkout-shipping',    'checkout', 8106,  75, 'go',     'orders',   'normal'),
  ('checkout-tax',         'checkout', 8107,  18, 'go',     'payments', 'critical'),
  ('checkout-fraud-score', 'checkout', 8108, 160, 'python', 'payments', 'critical'),
  ('catalog-api',          'catalog',  8201,  32, 'go',     'catalog',  'critical'),
  ('catalog-search',       'catalog',  8202,  48, 'java',   'catalog',  'critical'),
  ('catalog-indexer',      'catalog',  8203, 210, 'java',   'catalog',  'normal'),
  ('catalog-prices',       'catalog',  8204,  16, 'go',     'catalog',  'critical'),
  ('catalog-inventory',    'catalog',  8205,  29, 'go',     'catalog',  'critical'),
  ('catalog-reviews',      'catalog',  8206,  55, 'ruby',   'catalog',  'normal'),
  ('catalog-recommender',  'catalog',  8207, 130, 'python', 'insight',  'normal'),
  ('identity-login',       'identity', 8301,  85, 'go',     'identity', 'critical'),
  ('identity-tokens',      'identity', 8302,   6, 'rust',   'identity', 'critical'),
  ('identity-profiles',    'identity', 8303,  22, 'ruby',   'identity', 'normal'),
  ('identity-permissions', 'identity', 8304,   8, 'go',     'identity', 'critical'),
  ('identity-mail',        'identity', 8305,  65, 'python', 'identity', 'normal'),
  ('identity-audit',       'identity', 8306,  40, 'java',   'identity', 'normal'),
  ('data-events',          'data',     8401,  12, 'rust',   'insight',  'critical'),
  ('data-warehouse-load',  'data',     8402, 340, 'python', 'insight',  'batch'),
  ('data-reports',         'data',     8403, 260, 'python', 'insight',  'normal'),
  ('data-metrics-rollup',  'data',     8404, 180, 'go',     'insight',  'batch'),
  ('data-exports',         'data',     8405, 310, 'python', 'insight',  'batch'),
  ('data-stream-joiner',   'data',     8406,  45, 'java',   'insight',  'normal'),
  ('data-feature-store',   'data',     8407,  19, 'rust',   'insight',  'normal'),
  ('platform-config',      'platform', 8501,   5, 'go',     'platform', 'critical'),
  ('platform-scheduler',   'platform', 8502,  27, 'go',     'platform', 'critical'),
  ('platform-secrets',     'platform', 8503,   7, 'rust',   'platform', 'critical'),
  ('platform-notifier',    'platform', 8504,  38, 'elixir', 'platform', 'normal'),
  ('platform-backups',     'platform', 8505, 420, 'bash',   'platform', 'batch'),
  ('platform-build-cache', 'platform', 8506,  21, 'c',      'platform', 'normal');
update plan set status = 'failed', since = 3 where name = 'data-exports';
update plan set status = 'stopped', since = 7 where name = 'edge-cdn-purge';
update plan set status = 'stopped', since = 217, is_active = 0 where name = 'catalog-reviews';
update plan set status = 'starting' where name = 'data-feature-store';
update plan set status = 'stopping' where name = 'platform-build-cache';

insert into services (id, name, status, group_name, port, labels, health_check_url, restart_count, is_active, created_at, updated_at)
with hashed as (select *, lower(hex(sha3('service ' || name, 256))) as h from plan)
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 13, 3) || '-a' || substr(h, 16, 3) || '-' || substr(h, 19, 12),
  name, status, group_name, port,
  json_object('team', team, 'tier', tier, 'language', language, 'region', case idx % 3 when 0 then 'eu-west' when 1 then 'eu-north' else 'us-east' end,
    'version', format('%d.%d.%d', 1 + idx % 4, idx * 7 % 23, idx * 11 % 9)),
  format('http://%s.internal:%d/health', name, port), idx * 13 % 7 + case when status = 'failed' then 12 else 0 end, is_active,
  strftime('%Y-%m-%d %H:%M:%S', :now - 86400 * (40 + idx * 17 % 700) - idx * 1777, 'unixepoch') || '.000+00',
  strftime('%Y-%m-%d %H:%M:%S', :now - coalesce(since * 3600, 86400 * (1 + idx * 5 % 29)) - idx * 97, 'unixepoch') || '.000+00'
from hashed;

-- --- incidents --------------------------------------------------------------------------------------------------------

-- depth: the share of reports that are unhealthy in the middle of it; slower: how many times as slow answers are.
create temp table incident (
  nr integer primary key, prefix text, hours_ago real, minutes integer, depth real, slower real, cause text
);
insert into incident (prefix, hours_ago, minutes, depth, slower, cause) values
  ('checkout-payments',   0.9,   40, 0.55,  7, 'payment provider answers slowly'),
  ('catalog-search',      2.6,   75, 0.30,  9, 'search index is being rebuilt'),
  ('identity-tokens',    11.0,   24, 0.95,  4, 'signing key expired'),
  ('data-',              30.5,  150, 0.25, 12, 'warehouse disk is full'),
  ('checkout-',          55.0,   48, 0.60, 10, 'primary database failed over'),
  ('edge-gateway',       80.2,   32, 0.90,  6, 'bad route table deployed'),
  ('catalog-prices',    102.0,   64, 0.00,  8, 'cache was flushed'),
  ('identity-',         149.5,   56, 0.45,  9, 'network between zones lost packets'),
  ('platform-scheduler',171.0,  200, 0.15,  5, 'too many jobs at once'),
  ('checkout-fraud',    216.0,  110, 0.35, 11, 'model was too large for memory'),
  ('edge-',             288.0,   40, 0.70,  8, 'traffic ten times the usual'),
  ('data-reports',      341.0,  320, 0.10,  6, 'a report without an index'),
  ('catalog-',          414.0,   72, 0.50, 10, 'primary database failed over'),
  ('platform-secrets',  487.5,   30, 1.00,  3, 'certificate expired'),
  ('checkout-cart',     565.0,   88, 0.20, 14, 'connections leaked'),
  ('edge-image',        640.0,  180, 0.05,  7, 'huge images uploaded');

create temp table member (nr integer, place integer, idx integer, primary key (nr, place));
insert into member
select i.nr, row_number() over (partition by i.nr order by p.idx) - 1, p.idx
from incident i join plan p on substr(p.name, 1, length(i.prefix)) = i.prefix;

create temp table trouble (idx integer, starts real, ends real, depth real, slower real, primary key (idx, starts));
insert into trouble
select m.idx, :now - i.hours_ago * 3600, :now - i.hours_ago * 3600 + i.minutes * 60, i.depth, i.slower
from incident i join member m using (nr)
union all
select idx, :now - since * 3600 - 1200, :now - since * 3600, 0.8, 5 from plan where status = 'failed';

-- --- health reports ---------------------------------------------------------------------------------------------------

-- Every service is asked every eight minutes, one service after the other.
insert into health_metrics (service_id, status, response_time_ms, message, checked_at)
with recursive slots (slot) as (select 5399 union all select slot - 1 from slots where slot > 0),
asked as materialized (
  select p.idx, s.id as service_id, p.base_ms, :now - slot * 480 - (41 - p.idx) * 11.5 as at,
    ((slot * 41 + p.idx) * 1103515245 + 12345) % 2147483647 as seed
  from slots cross join plan p join services s on s.name = p.name
  where p.since is null or slot * 480 + (41 - p.idx) * 11.5 > p.since * 3600
),
first as materialized (select *, (seed * seed + 7919) % 2147483647 * 48271 % 2147483647 as r1 from asked),
second as materialized (select *, r1 * 69621 % 2147483647 as r2 from first),
third as materialized (select *, r2 * 39373 % 2147483647 as r3 from second),
drawn as materialized (
  select f.service_id, f.base_ms, f.at + f.r2 % 5000 / 1000.0 as at, f.r3 / 2147483647.0 as chance, f.r3 * 16807 % 2147483647 as r4,
    -- the sum of four is nearly normal, and so the exponential of it nearly log-normal, as response times are
    ((f.r1 + f.r2 + f.r3 + f.r3 * 48271 % 2147483647) / 2147483647.0 - 2) * 1.732 as normal,
    -- nights are quiet, afternoons are not; weekends half as much so
    1 + (0.35 - 0.15 * (strftime('%w', f.at, 'unixepoch') in ('0', '6'))) * sin((f.at % 86400 / 3600.0 - 9) * 0.2617994) as load,
    t.depth * min(1, 4 * (f.at - t.starts) / (t.ends - t.starts), 4 * (t.ends - f.at) / (t.ends - t.starts)) as depth,
    coalesce(t.slower, 1) as slower
  from third f left join trouble t on t.idx = f.idx and f.at between t.starts and t.ends
),
judged as materialized (
  select *, round(base_ms * load * exp(0.38 * normal) * (1 + (slower - 1) * (0.6 + 0.4 * chance)), 2) as ms,
    case when chance < coalesce(depth, 0.0004) then 'unhealthy' when depth is not null or chance > 0.9975 then 'degraded' else 'healthy' end as status
  from drawn
)
select service_id, status,
  case when status = 'unhealthy' and r4 % 3 = 0 then null when status = 'unhealthy' and r4 % 3 = 1 then 5000.0
    when status = 'degraded' then max(ms, round(base_ms * 2.5, 2)) else ms end,
  case when status = 'unhealthy' then case r4 % 3 when 0 then 'connection refused' when 1 then 'no answer within 5 s' else 'answered 503' end
    when status = 'degraded' then format('slow: usually %d ms', base_ms) end,
  strftime('%Y-%m-%d %H:%M:%f', at, 'unixepoch') || '+00'
from judged;

update services set last_health_check = (select max(checked_at) from health_metrics where service_id = services.id);

-- --- logs -------------------------------------------------------------------------------------------------------------

-- %1 to %4 are filled in: a number, milliseconds, a word, a small number.
create temp table phrase (level text, nr integer, text text, primary key (level, nr));
insert into phrase
select 'debug', key, value from json_each('["cache miss for key item:%1","acquired connection in %2 ms","retry %1 scheduled in %2 ms",
  "parsed %1 rows in %2 ms","lock on %3 held for %2 ms","token refreshed for client %1","heartbeat from %3","garbage collected in %2 ms"]')
union all
select 'info', key, value from json_each('["GET /v1/items/%1 200 in %2 ms","POST /v1/orders 201 in %2 ms, order %1","user %1 signed in",
  "job %1 finished in %2 ms","sent message %1 to queue %3","loaded %1 rows from %3","configuration %1 applied","connection pool: %4 in use",
  "DELETE /v1/sessions/%1 204 in %2 ms","GET /v1/search?q=%3 200 in %2 ms","published event %1 on %3","snapshot %1 written in %2 ms",
  "scaled to %4 workers","client %1 subscribed to %3","order %1 is paid","rotated log file %1"]')
union all
select 'warn', key, value from json_each('["slow query: %2 ms on %3","retrying request %1 after %2 ms","queue %3 holds %1 messages",
  "connection pool: %4 waiting","disk of %3 is %4 % full","deprecated call from client %1","response took %2 ms, limit is 500 ms","clock differs from %3 by %2 ms"]')
union all
select 'error', key, value from json_each('["request %1 failed: timeout after %2 ms","cannot reach %3: connection refused",
  "order %1 rejected: no answer from %3","statement %1 cancelled after %2 ms","message %1 given up after 5 tries","bad answer from %3: 502",
  "out of memory in worker %4","unique violation on %3"]')
union all
select 'fatal', key, value from json_each('["worker %4 ended by signal 9","cannot open %3: no space left","lost the connection to %3 for good","panic in request %1"]');

insert into logs (service_id, level, message, metadata, created_at)
with recursive n (n) as (select 0 union all select n + 1 from n where n < 99999),
first as materialized (
  select n, (((n * 7 + 3) * 1103515245 + 54321) % 2147483647) as seed from n
),
second as materialized (select n, (seed * seed + 104729) % 2147483647 * 48271 % 2147483647 as r1 from first),
third as materialized (select n, r1, r1 * 69621 % 2147483647 as r2, r1 * 16807 % 2147483647 as r3 from second),
-- One in eight belongs to an incident; the others follow the day: their even pace is bent so that it is 2.2 times as fast at
-- three in the afternoon, and ends now.
pace as materialized (
  select t.*, :now - 2592000 + (n * 25.92) as even, case when n % 8 = 0 then 1 + r3 % 16 end as incident from third t
),
placed as materialized (
  select p.n, p.r1, p.r2, p.r3, i.cause, i.nr, min(:now - 1, case when i.nr is null
      then even - 7563 * (sin((even % 86400 / 3600.0 - 15) * 0.2617994) - sin((:now % 86400 / 3600.0 - 15) * 0.2617994))
      else :now - i.hours_ago * 3600 + i.minutes * 60.0 * (p.r2 / 2147483647.0) end) as at
  from pace p left join incident i on i.nr = p.incident
),
named as materialized (
  select f.*, coalesce((select idx from member m where m.nr = f.nr and place = f.r1 % (select count(*) from member where nr = f.nr)),
      1 + cast(40.0 * (f.r1 / 2147483647.0) * (f.r2 / 2147483647.0) as integer)) as idx,
    r1 % 1000 as chance, 1 + r2 % 9973 as number, cast(4 + 30 * exp(3.2 * (r3 / 2147483647.0)) as integer) as ms
  from placed f
),
levelled as materialized (
  select *, case when cause is null
    then case when chance < 150 then 'debug' when chance < 880 then 'info' when chance < 970 then 'warn' when chance < 998 then 'error' else 'fatal' end
    else case when chance < 60 then 'debug' when chance < 260 then 'info' when chance < 560 then 'warn' when chance < 975 then 'error' else 'fatal' end end as level
  from named
)
select case when n % 23 = 11 then null else s.id end, l.level,
  replace(replace(replace(replace(p.text, '%1', l.number), '%4', 2 + l.number % 97), '%2', case when cause is null then ms else ms * 9 end), '%3',
    coalesce(json_extract('["orders","stock","postgres","redis","queue-a","events","disk-2"]', format('$[%d]', r3 % 7)), '')),
  case when cause is not null then json_object('request_id', format('%08x%08x', r1, r3), 'host', format('node-%d', 1 + r3 % 6), 'cause', cause)
    when r3 % 3 = 0 then json_object('request_id', format('%08x%08x', r1, r3), 'host', format('node-%d', 1 + r3 % 6), 'duration_ms', ms)
    when r3 % 3 = 1 then json_object('host', format('node-%d', 1 + r3 % 6), 'thread', r2 % 16)
    else '{}' end,
  strftime('%Y-%m-%d %H:%M:%f', at, 'unixepoch') || '+00'
from levelled l
join plan q on q.idx = case when exists (select 1 from plan where idx = l.idx and :now - since * 3600 < l.at) then 1 else l.idx end
join services s on s.name = q.name
join phrase p on p.level = l.level and p.nr = l.r2 % (select count(*) from phrase where level = l.level)
order by at, n;

-- --- users ------------------------------------------------------------------------------------------------------------

-- The first two have the password wick-demo-password (argon2id, 19 MiB, 2 passes). The hashes of the others are of no
-- password: digits of another hash in the form of one.
insert into users (id, email, name, role, password_hash, is_active, is_verified, last_login_at, created_at, updated_at)
with recursive n (n) as (select 1 union all select n + 1 from n where n < 50),
people as materialized (
  select n, json_extract('["Ada","Bela","Cem","Dora","Emil","Fatma","Goran","Hanna","Ivo","Jana"]', format('$[%d]', n % 10)) as first_name,
    json_extract('["Almeida","Bergmann","Castro","Dvorak","Eriksen"]', format('$[%d]', n / 10 % 5)) as last_name,
    lower(hex(sha3('user ' || n, 512))) as h
  from n
)
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 13, 3) || '-b' || substr(h, 16, 3) || '-' || substr(h, 19, 12),
  case n when 1 then 'admin@demo.example' when 2 then 'user@demo.example' else lower(first_name || '.' || last_name) || '@demo.example' end,
  case n when 1 then 'Demo Administrator' when 2 then 'Demo User' else first_name || ' ' || last_name end,
  case when n in (1, 7, 19, 33) then 'admin' else 'user' end,
  case n when 1 then '$argon2id$v=19$m=19456,t=2,p=1$d2lja2RlbW9hZG1pbjAwMQ$uVghGrKHfn+gr7N8RPeTrd0+RtnPzbjyqZuNPIZPEh8'
    when 2 then '$argon2id$v=19$m=19456,t=2,p=1$d2lja2RlbW91c2VyMDAwMQ$t7tH9wCiJyl2maKNVaHu67LUbvhvFs3CDA72+WeID+g'
    else '$argon2id$v=19$m=19456,t=2,p=1$' || substr(h, 40, 21) || 'A$' || substr(h, 61, 42) || 'A' end,
  n % 16 <> 13, n % 12 <> 11,
  case when n % 12 <> 11 then strftime('%Y-%m-%d %H:%M:%S', :now - n * n * 977 - 600, 'unixepoch') || '.000+00' end,
  strftime('%Y-%m-%d %H:%M:%S', :now - 86400 * (60 + n * 13), 'unixepoch') || '.000+00',
  strftime('%Y-%m-%d %H:%M:%S', :now - 86400 * (50 + n * 7), 'unixepoch') || '.000+00'
from people;

-- Two sessions for each of the first forty, of tokens nobody has; every eighth is an API key.
insert into sessions (id, user_id, kind, name, token_hash, is_active, created_at, expires_at)
with recursive n (n) as (select 0 union all select n + 1 from n where n < 79),
made as materialized (
  select n, lower(hex(sha3('session ' || n, 512))) as h, case when n % 8 = 3 then 'api_key' else 'session' end as kind,
    :now - 1200 - n * n * 61 as at, n % 40 + 1 as user
  from n
)
select substr(m.h, 1, 8) || '-' || substr(m.h, 9, 4) || '-4' || substr(m.h, 13, 3) || '-9' || substr(m.h, 16, 3) || '-' || substr(m.h, 19, 12),
  u.id, m.kind, case when m.kind = 'api_key' then 'deploy key ' || m.n else '' end, substr(m.h, 65, 64), m.n % 9 <> 4,
  strftime('%Y-%m-%d %H:%M:%S', m.at, 'unixepoch') || '.000+00',
  strftime('%Y-%m-%d %H:%M:%S', m.at + case when m.kind = 'api_key' then 31536000 else 43200 end, 'unixepoch') || '.000+00'
from made m join (select id, row_number() over (order by created_at desc, id) as nr from users) u on u.nr = m.user;
