\set k random(1, 100000)
select id, name, status, host, port, labels, created_at from pool_bench where id = md5('service-' || :k)::uuid;
