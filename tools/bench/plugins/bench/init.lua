--- The routes that tools/bench measures; the same work, on the same tables, as the peers do theirs.

local S = require "wick.schema"

local COLUMNS = "id,name,status,group_name,host,port,version,description,labels,created_at,updated_at"
local ONE = "select " .. COLUMNS .. " from services where id = $1"

local function load_service(req, cx)
  return cx.db:one(ONE, req.params.id)
end

local function not_found(cx)
  return cx.problem(404, "not-found")
end

-- The first service, from the response cache: no Lua on a hit.
local function static(_, cx)
  return cx.db:one("select " .. COLUMNS .. " from services order by n limit 1")
end

local IN_MEMORY = { ttl = "1h", memory_only = true }

local function l1(req, cx)
  return cx.cache:get(req.params.id, IN_MEMORY, function()
    return load_service(req, cx)
  end) or not_found(cx)
end

local IN_REDIS = { ttl = "1h", memory_ttl = "1ms" }

local function l2(req, cx)
  return cx.cache:get("l2:" .. req.params.id, IN_REDIS, function()
    return load_service(req, cx)
  end) or not_found(cx)
end

local function l3(req, cx)
  return load_service(req, cx) or not_found(cx)
end

local INSERT = "insert into services(name,status,group_name,host,port,version,description,labels) "
  .. "values($1,$2,$3,$4,$5,$6,$7,$8) returning id"
local Service = S.record {
  name = S.string {}, status = S.string {}, group_name = S.string {}, host = S.string {}, port = S.int64 {}, version = S.string {},
  description = S.string {}, labels = S.map(S.string {}),
}

local function insert(req, cx)
  local b = req.body
  local row = cx.db:one(INSERT, b.name, b.status, b.group_name, b.host, b.port, b.version, b.description, b.labels)
  return cx.reply { status = 201, body = row }
end

-- What a transaction costs that sends nothing: the connection is taken from the idle ones and given back.
local function acquire(req, cx)
  local begin, db = cx.now(), cx.db
  for _ = 1, req.params.times do
    local tx <close> = db:begin()
    tx:rollback()
  end
  return { us = (cx.now() - begin) * 1e6 / req.params.times }
end

-- --- the crud mix -----------------------------------------------------------------------------------------------------

local SHAPE = "id,name,category,price,quantity,active,tags,json_build_object('score',rating_score,'count',rating_count) as rating"
local ITEM = { ttl = "200ms", memory_only = true }

local function item_get(req, cx)
  return cx.cache:get("item:" .. req.params.id, ITEM, function()
    return cx.db:one("select " .. SHAPE .. " from items where id = $1", req.params.id)
  end) or not_found(cx)
end

local function item_list(req, cx)
  local q = req.query
  local rows = cx.db:rows("select " .. SHAPE .. " from items where category = $1 order by id limit $2 offset $3",
    q.category, q.limit, (q.page - 1) * q.limit)
  return { items = rows, total = #rows, page = q.page, limit = q.limit }
end

local function item_upsert(req, cx)
  local b = req.body
  cx.db:exec([[insert into items(id,name,category,price,quantity) values($1,$2,$3,$4,$5)
    on conflict (id) do update set name=$2, category=$3, price=$4, quantity=$5]], b.id, b.name, b.category, b.price, b.quantity)
  cx.cache:delete("item:" .. b.id)
  return cx.reply { status = 201, body = b }
end

local function item_change(req, cx)
  local b, id = req.body, req.params.id
  if cx.db:exec("update items set name=$2, price=$3, quantity=$4 where id=$1", id, b.name, b.price, b.quantity) == 0 then
    return not_found(cx)
  end
  cx.cache:delete("item:" .. id)
  return { id = id, name = b.name, price = b.price, quantity = b.quantity }
end

local Item = S.record { id = S.int64 {}, name = S.string {}, category = S.string {}, price = S.int64 {}, quantity = S.int64 {} }
local Page = S.record {
  category = S.string { default = "electronics" },
  page = S.int64 { default = 1, min = 1 }, limit = S.int64 { default = 10, min = 1, max = 50 },
}

return {
  name = "bench", version = "1.0.0", api = 1,
  routes = {
    { "GET", "/static", name = "bench_static", handler = static, cache = { ttl = "1h" } },
    { "GET", "/l1/services/{id}", name = "bench_l1", handler = l1 },
    { "GET", "/l2/services/{id}", name = "bench_l2", handler = l2 },
    { "GET", "/l3/services/{id}", name = "bench_l3", handler = l3 },
    { "GET", "/alone/services/{id}", name = "bench_alone", handler = l3, batch = false },
    { "GET", "/acquire/{times:int64}", name = "bench_acquire", handler = acquire },
    { "POST", "/grouped", name = "bench_grouped", body = Service, handler = insert, group = true },
    { "POST", "/services", name = "bench_insert", body = Service, handler = insert },
    { "GET", "/crud/items/{id:int64}", name = "bench_item_get", handler = item_get },
    { "GET", "/crud/items", name = "bench_item_list", query = Page, handler = item_list },
    { "POST", "/crud/items", name = "bench_item_upsert", body = Item, handler = item_upsert },
    { "PUT", "/crud/items/{id:int64}", name = "bench_item_change", body = Item:pick("name", "price", "quantity"), handler = item_change },
  },
}
