-- What the routes of plugins/bench read when there are no peers to share tables with: 100,000 services, 100,000 items.
create table if not exists services (
  id uuid primary key default gen_random_uuid(), n bigint,
  name text not null, status text not null, group_name text, host text, port int, version text, description text, labels jsonb,
  created_at timestamptz not null default now(), updated_at timestamptz not null default now());
insert into services
select md5('service-' || i)::uuid, i, 'service-' || i, (array['healthy','degraded','down','unknown'])[1 + i % 4], 'group-' || i % 50,
  '10.0.' || i / 250 % 250 || '.' || i % 250, 1024 + i % 50000, '1.' || i % 20 || '.' || i % 7,
  'Service number ' || i || ' of the reference data; ' || md5('d' || i) || md5('e' || i) || md5('f' || i) || md5('g' || i) || ' (end)',
  jsonb_build_object('env', (array['prod','stage','dev'])[1 + i % 3], 'team', 'team-' || i % 30, 'zone', 'zone-' || i % 5),
  timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second', timestamptz '2026-02-01 00:00:00+00' + i * interval '1 second'
from generate_series(1, 100000) i on conflict do nothing;
create index if not exists services_n on services (n);

create table if not exists items (
  id bigint primary key, name text not null, category text not null, price int not null, quantity int not null,
  active boolean not null default true, tags jsonb not null default '[]', rating_score int not null default 0, rating_count int not null default 0);
insert into items
select i, 'Widget ' || i, (array['electronics','office','home','toys','books'])[1 + i % 5], i % 500, i % 100, i % 7 <> 0, '["fast","new"]',
  i % 100, i % 1000
from generate_series(1, 100000) i on conflict do nothing;
create index if not exists items_category_id on items (category, id);
vacuum analyze services, items;
