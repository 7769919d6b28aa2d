-- Tables of the service registry, for SQLite. Every statement may run again. Defaults use what every program that opens the
-- file has, so that writers other than wick work too.

create table if not exists services (
  id                UUID primary key not null
                    default (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' ||
                             substr('89ab', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),
  name              TEXT not null constraint services_name_key unique constraint services_name_check check (name <> ''),
  status            TEXT not null default 'stopped' constraint services_status_check
                    check (status in ('running', 'stopped', 'starting', 'stopping', 'failed')),
  group_name        TEXT not null default 'default',
  port              INTEGER constraint services_port_check check (port between 1 and 65535),
  labels            JSON not null default '{}' constraint services_labels_check check (json_type(labels) = 'object'),
  health_check_url  TEXT,
  last_health_check TIMESTAMPTZ,
  restart_count     INTEGER not null default 0 constraint services_restart_count_check check (restart_count >= 0),
  is_active         BOOLEAN not null default 1 constraint services_is_active_check check (is_active in (0, 1)),
  created_at        TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00'),
  updated_at        TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00')
);
create index if not exists idx_services_status_group on services (status, group_name) where is_active;
create index if not exists idx_services_health_check on services (last_health_check);
create index if not exists idx_services_running_health on services (last_health_check) where status = 'running' and is_active;
-- The lists are in order of the name: each filter has an index that ends with it.
create index if not exists idx_services_group_list on services (group_name, name);
create index if not exists idx_services_status_list on services (status, name);

-- SQLite has no index into JSON, so triggers keep the labels in a table of their own, where a filter finds them.
create table if not exists service_labels (
  key        TEXT not null,
  value      TEXT,
  service_id UUID not null references services (id) on delete cascade,
  primary key (key, value, service_id)
) without rowid;
create index if not exists idx_service_labels_service on service_labels (service_id);
create trigger if not exists services_labels_insert after insert on services
begin
  insert or ignore into service_labels (key, value, service_id) select key, coalesce(value, ''), new.id from json_each(new.labels);
end;
create trigger if not exists services_labels_update after update of labels on services
begin
  delete from service_labels where service_id = new.id;
  insert or ignore into service_labels (key, value, service_id) select key, coalesce(value, ''), new.id from json_each(new.labels);
end;

create table if not exists health_metrics (
  id               INTEGER primary key,
  service_id       UUID not null references services (id) on delete cascade,
  status           TEXT not null constraint health_metrics_status_check check (status in ('healthy', 'degraded', 'unhealthy')),
  response_time_ms REAL constraint health_metrics_response_time_check check (response_time_ms >= 0),
  message          TEXT,
  checked_at       TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00')
);
create index if not exists idx_health_metrics_service_time on health_metrics (service_id, checked_at desc, id desc);
create index if not exists idx_health_metrics_time on health_metrics (checked_at);

create table if not exists logs (
  id         INTEGER primary key,
  service_id UUID references services (id) on delete set null,
  level      TEXT not null constraint logs_level_check check (level in ('debug', 'info', 'warn', 'error', 'fatal')),
  message    TEXT not null,
  metadata   JSON not null default '{}',
  created_at TIMESTAMPTZ not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '+00')
);
create index if not exists idx_logs_time on logs (created_at desc, id desc);
create index if not exists idx_logs_level_time on logs (level, created_at desc, id desc);
create index if not exists idx_logs_service_time on logs (service_id, created_at desc, id desc);
create index if not exists idx_logs_service_level_time on logs (service_id, level, created_at desc, id desc);
