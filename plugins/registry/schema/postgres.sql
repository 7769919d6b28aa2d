-- Tables of the service registry, for PostgreSQL. Every statement may run again.

create table if not exists services (
  id                uuid primary key default gen_random_uuid(),
  name              text not null constraint services_name_key unique constraint services_name_check check (name <> ''),
  status            text not null default 'stopped' constraint services_status_check
                    check (status in ('running', 'stopped', 'starting', 'stopping', 'failed')),
  group_name        text not null default 'default',
  port              integer constraint services_port_check check (port between 1 and 65535),
  labels            jsonb not null default '{}' constraint services_labels_check check (jsonb_typeof(labels) = 'object'),
  health_check_url  text,
  last_health_check timestamptz,
  restart_count     integer not null default 0 constraint services_restart_count_check check (restart_count >= 0),
  is_active         boolean not null default true,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now()
);
create index if not exists idx_services_status_group on services (status, group_name) where is_active;
create index if not exists idx_services_health_check on services (last_health_check);
create index if not exists idx_services_running_health on services (last_health_check) where status = 'running' and is_active;
create index if not exists idx_services_labels_gin on services using gin (labels jsonb_path_ops);
-- The lists are in order of the name: each filter has an index that ends with it.
create index if not exists idx_services_group_list on services (group_name, name);
create index if not exists idx_services_status_list on services (status, name);

create table if not exists health_metrics (
  id               bigint generated always as identity primary key,
  service_id       uuid not null constraint health_metrics_service_id_fkey references services (id) on delete cascade,
  status           text not null constraint health_metrics_status_check check (status in ('healthy', 'degraded', 'unhealthy')),
  response_time_ms double precision constraint health_metrics_response_time_check check (response_time_ms >= 0),
  message          text,
  checked_at       timestamptz not null default now()
);
create index if not exists idx_health_metrics_service_time on health_metrics (service_id, checked_at desc, id desc);
create index if not exists idx_health_metrics_time on health_metrics (checked_at);

create table if not exists logs (
  id         bigint generated always as identity primary key,
  service_id uuid constraint logs_service_id_fkey references services (id) on delete set null,
  level      text not null constraint logs_level_check check (level in ('debug', 'info', 'warn', 'error', 'fatal')),
  message    text not null,
  metadata   jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index if not exists idx_logs_time on logs (created_at desc, id desc);
create index if not exists idx_logs_level_time on logs (level, created_at desc, id desc);
create index if not exists idx_logs_service_time on logs (service_id, created_at desc, id desc);
create index if not exists idx_logs_service_level_time on logs (service_id, level, created_at desc, id desc);
