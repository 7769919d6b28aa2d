-- Real databases through small plugins: from SQLite every value is what the sqlite3 command line says it is, from PostgreSQL
-- every byte is what row_to_json writes.

local uv = require "luv"
local wick = require "spec.support.wick"
local process = require "spec.support.process"

local data = wick.top .. "/../shared/data/sqlite"
local postgres_url = os.getenv "WICK_TEST_POSTGRES"

-- Joins, aggregates, filters; names with spaces, pictures, money, dates, texts that are not ASCII.
local questions = {
  ["chinook.sqlite"] = {
    [[select t."TrackId", t."Name", al."Title", ar."Name" as artist, g."Name" as genre, t."UnitPrice" from "Track" t
      join "Album" al on al."AlbumId" = t."AlbumId" join "Artist" ar on ar."ArtistId" = al."ArtistId"
      left join "Genre" g on g."GenreId" = t."GenreId" where ar."Name" like 'A%' order by t."TrackId"]],
    [[select c."Country", count(*) as invoices, sum(i."Total") as total, avg(i."Total") as average, max(i."InvoiceDate") as last
      from "Invoice" i join "Customer" c on c."CustomerId" = i."CustomerId" group by c."Country" order by c."Country"]],
    [[select e."FirstName", e."BirthDate", b."LastName" as boss from "Employee" e
      left join "Employee" b on b."EmployeeId" = e."ReportsTo" order by e."EmployeeId"]],
    [[select "FirstName", "LastName", "City", "Company" from "Customer" where "City" <> ''
      and "Country" in ('Brazil', 'Germany', 'Portugal')
      order by "CustomerId"]],
    [[select sum("Milliseconds") as ms, sum("Bytes") as bytes, min("UnitPrice") as least, count("Composer") as composers from "Track"]],
    [[select "PlaylistId", count(*) as n from "PlaylistTrack" group by "PlaylistId" having count(*) > 10 order by "PlaylistId"]],
    [[select * from "Track" where "TrackId" < 0]],
  },
  ["northwind.db"] = {
    [[select o."OrderID", p."ProductName", d."UnitPrice", d."Quantity", d."Discount",
      d."UnitPrice" * d."Quantity" * (1 - d."Discount") as amount from "Order Details" d
      join "Orders" o on o."OrderID" = d."OrderID" join "Products" p on p."ProductID" = d."ProductID"
      order by o."OrderID", p."ProductID"]],
    [[select c."CompanyName", c."ContactName", c."City", c."Region" from "Customers" c
      where c."Country" in ('Mexico', 'Sweden', 'Spain', 'Brazil')
      order by c."CustomerID"]],
    [[select cat."CategoryName", count(*) as products, sum(p."UnitsInStock") as stock, avg(p."UnitPrice") as price, cat."Picture"
      from "Products" p join "Categories" cat on cat."CategoryID" = p."CategoryID"
      group by cat."CategoryID", cat."CategoryName", cat."Picture" order by cat."CategoryID"]],
    [[select e."EmployeeID", e."Photo", e."Notes", e."HireDate", e."Region" from "Employees" e order by e."EmployeeID"]],
    [[select "ShipCountry", sum("Freight") as freight, max("ShippedDate") as last from "Orders" where "ShipRegion" is null
      group by "ShipCountry" order by "ShipCountry"]],
  },
}

-- What no real table holds, and PostgreSQL must still be matched in.
local torture = {
  [==[select 9223372036854775807::int8 as most, (-9223372036854775808)::int8 as least, 9007199254740993::int8 as odd, 1::int2 as small,
    123456789012345678901234567890.123456789::numeric as exact, 1.500::numeric as zeros, 'NaN'::numeric as nan, 1e-30::numeric as tiny]==],
  [==[select 0.1::float8 as tenth, 1e-7::float8 as little, 1e300::float8 as much, 'Infinity'::float8 as inf, '-0'::float8 as zero,
    0.1::float4 as single, 1e15::float8 as e15, 1e16::float8 as e16, 123456789.125::float8 as plain]==],
  [==[select timestamp '2024-02-29 12:34:56.789' as ts, timestamptz '2024-02-29 12:34:56.7+02' as tz, date '0044-03-15 BC' as ides,
    time '24:00' as late, interval '1 year 2 days 3.5 s' as span, timestamp 'infinity' as never, date '12024-01-01' as far]==],
  [==[select array[1, null, 3] as some, array[[1, 2], [3, 4]] as square, '{}'::int[] as none,
    array['a "b"', null, 'NULL', e'\\'] as texts, array[true, false] as flags, array[1.5, 2]::numeric[] as money,
    array['2024-01-01'::timestamp] as times]==],
  [==[select '{"b" : 1,  "a":[1.0, 2 ]}'::json as json, '{"b" : 1,  "a":[1.0, 2 ]}'::jsonb as jsonb,
    null::json as none, 'null'::json as nul,
    true as yes, false as no, null::bool as unknown, '\x00ff10'::bytea as bytes, ''::bytea as nothing]==],
  [==[select e'quote " back \\ slash / tab \t line \n feed \f cr \r bell \b one \x01 del \x7f' as text, 'äöü € 𝄞 中文' as wide, '' as empty,
    'x'::char(5) as padded, 'name'::name as name, '5f0c1b2e-0000-4000-8000-000000000001'::uuid as id, '10.0.0.1/8'::inet as net,
    'a'::"char" as one, 12.50::money::text as money, e'\u2028\u2029' as separators]==],
  [==[select n as "Mixed Case ""quoted""", n * 1.5 as "ä", null as nothing from generate_series(1, 3) n]==],
  [==[select int4range(1, 5) as range, b'101' as bits, point(1, 2) as point, '<a>b</a>'::xml as xml]==],
}

-- Types of one's own, and rows of tables as values.
local made = [==[
  drop schema if exists real_made cascade; create schema real_made; set search_path = real_made;
  create type mood as enum ('glad', 'not "so" glad'); create domain age as int; create type place as (x int, "The ""Name""" text);
  create table people (id int, mood mood, moods mood[], age age, ages age[], place place, places place[], labels jsonb, at timestamptz,
    paid numeric, dead bool, photo bytea, free tstzrange);
  insert into people values
    (1, 'glad', '{glad,NULL,"not \"so\" glad"}', 30, '{1,NULL}', row(1, 'a, (b) "c" \'), array[row(2, ''), null, row(null, 'ä€𝄞')]::place[],
      '{"a": [1, {"b": null}]}', '2024-02-29 12:34:56.7+02', 1.500, true, '\x00ff', '[2024-01-01,)'),
    (2, null, null, null, null, null, null, null, null, null, null, null, null),
    (3, 'not "so" glad', '{}', 0, '{}', row(null, null), '{}', 'null', 'infinity', 'NaN', false, '', 'empty');
  create view bosses as select id, place from people where id = 1;
]==]

local made_queries = {
  "select * from people order by id",
  "select p as person, b as boss from people p left join bosses b on b.id = p.id order by p.id",
  "select array_agg(p order by id) as everybody, count(*) as n from people p",
  "select * from people where false",
}

local function spare(text, at) return (text:sub(at, at + 60):gsub("\n", " ")) end

describe("real data", function()
  local dir, loaded

  local function exists(name) return uv.fs_stat(data .. "/" .. name) ~= nil end


  -- Lines of what sqlite3 prints for a query, fields split.
  local function ask(file, text, with_names)
    local result = process.run {
      "sqlite3", "-batch", "-bail", "-list", "-separator", "\31", "-newline", "\30", with_names and "-header" or "-noheader",
      dir .. "/" .. file, text,
    }
    assert.equal(0, result.code, result.err)
    local rows = {}
    for line in result.out:gmatch "([^\30]*)\30" do
      local row = {}
      for field in (line .. "\31"):gmatch "([^\31]*)\31" do row[#row + 1] = field end
      rows[#rows + 1] = row
    end
    return rows
  end

  local function quoted(name) return '"' .. name:gsub('"', '""') .. '"' end

  local function tables_of(file)
    local names = {}
    for _, row in ipairs(ask(file, "select name from sqlite_schema where type = 'table' and name not like 'sqlite%' order by name")) do
      names[#names + 1] = row[1]
    end
    return names
  end

  -- Every table as it is, and the questions.
  local function queries_of(file)
    local all = {}
    for _, name in ipairs(tables_of(file)) do all[#all + 1] = ("select * from %s order by 1, 2"):format(quoted(name)) end
    return table.move(questions[file], 1, #questions[file], #all + 1, all)
  end

  -- A plugin with a route /<number> for each query.
  local function plugin_of(queries)
    local routes = {}
    for i, text in ipairs(queries) do
      routes[i] = ("{ 'GET', '/%d', name = 'q%d', handler = function(req, cx) return cx.db:rows(%q) end },"):format(i, i, text)
    end
    return ("return { name = 'real', version = '1.0.0', routes = {\n%s\n} }"):format(table.concat(routes, "\n"))
  end

  local function get(server, i, text)
    local response = server:get("/" .. i)
    assert.equal(200, response.status, text .. "\n" .. tostring(response.body))
    return response.body
  end

  setup(function()
    dir, loaded = process.temp_dir(), {}
    for file in pairs(questions) do
      if exists(file) then
        process.write_file(dir .. "/" .. file, process.read_file(data .. "/" .. file))
        loaded[file] = true
      end
    end
  end)
  after_each(wick.stop_all)
  teardown(function() process.run { "rm", "-rf", dir } end)

  -- --- SQLite ---

  local function json_string(hex)
    local text = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
    return '"' .. text:gsub('["\\%c]', function(c)
      local short = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b", ["\f"] = "\\f" }
      return short[c] or c == "\127" and c or ("\\u%04x"):format(c:byte())
    end) .. '"'
  end

  -- What stands at `at` must be this value of sqlite3's ("type:..."); returns where the next thing begins.
  local function value_at(body, at, typed, where)
    local kind, text = typed:match "^(%a+):(.*)$"
    if kind == "real" then
      local number, after = body:match("^(%-?[%d.eE+%-]+)()", at)
      assert.equal(tonumber(text), tonumber(number), where)
      return after
    end
    local expected = kind == "null" and "null" or kind == "integer" and text or kind == "text" and json_string(text)
        or '"\\\\x' .. text:lower() .. '"'
    assert.equal(expected, body:sub(at, at + #expected - 1), where)
    return at + #expected
  end

  local function literal_at(body, at, text, where)
    if body:sub(at, at + #text - 1) ~= text then
      error(("%s: %s expected, not %s"):format(where, text, spare(body, at)), 0)
    end
    return at + #text
  end

  local function equals_sqlite(body, file, query)
    local names = (ask(file, ("select * from (%s) limit 1"):format(query), true)[1]) or {}
    local typed = {}
    for i, name in ipairs(names) do
      local c = quoted(name)
      typed[i] = ("case typeof(%s) when 'null' then 'null:' when 'real' then 'real:' || printf('%%!.17g', %s) "):format(c, c) ..
          ("when 'integer' then 'integer:' || %s else typeof(%s) || ':' || hex(%s) end"):format(c, c, c)
    end
    local rows = #names > 0 and ask(file, ("select %s from (%s)"):format(table.concat(typed, ", "), query)) or {}
    local at = literal_at(body, 1, "[", query)
    for r, row in ipairs(rows) do
      at = literal_at(body, at, r > 1 and ",{" or "{", query)
      for i, name in ipairs(names) do
        local where = ("%s, row %d, column %s"):format(query, r, name)
        at = literal_at(body, at, (i > 1 and "," or "") .. '"' .. name .. '":', where)
        at = value_at(body, at, row[i], where)
      end
      at = literal_at(body, at, "}", query)
    end
    at = literal_at(body, at, "]", query)
    assert.equal(#body + 1, at)
    return #rows
  end

  for file in pairs(questions) do
    it(file .. " is served from SQLite value by value as sqlite3 shows it", function()
      if not loaded[file] then
        pending(("%s/%s is not there"):format(data, file))
        return
      end
      local queries, rows = queries_of(file), 0
      local server = wick.start {
        plugins = { real = plugin_of(queries) }, config = { database = { sqlite = { path = dir .. "/" .. file, create = false } } },
      }
      for i, text in ipairs(queries) do rows = rows + equals_sqlite(get(server, i, text), file, text) end
      assert.is_true(rows > 4000, rows .. " rows")
      assert.equal("[]", file == "chinook.sqlite" and get(server, #queries, "") or "[]")
    end)
  end

  -- --- PostgreSQL ---

  local function psql(...)
    local result = process.run { "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-d", postgres_url, ... }
    assert.equal(0, result.code, result.err)
    return result.out
  end

  -- The types that suit what SQLite calls them.
  local function type_of(declared)
    declared = declared:upper()
    return declared:find "INT" and "int8" or declared:find "NUMERIC" and "numeric" or declared:find "REAL" and "float8"
        or declared:find "DATETIME" and "timestamp" or declared == "DATE" and "date" or declared:find "BLOB" and "bytea" or "text"
  end

  -- The tables of a file as tables of a schema.
  local function load_into(schema, file)
    local script = { ("drop schema if exists %s cascade; create schema %s; set search_path = %s;"):format(schema, schema, schema) }
    for n, name in ipairs(tables_of(file)) do
      local columns, values = {}, {}
      for i, column in ipairs(ask(file, ("select name, type from pragma_table_info('%s')"):format(name))) do
        local kind, c = type_of(column[2]), quoted(column[1])
        columns[i] = c .. " " .. kind
        values[i] = kind == "bytea" and ("'\\x' || hex(%s)"):format(c) or c
      end
      local path = ("%s/%s.%d.csv"):format(dir, schema, n)
      local query = ("select %s from %s"):format(table.concat(values, ", "), quoted(name))
      local result = process.run { "sqlite3", "-batch", "-csv", dir .. "/" .. file, query }
      assert.equal(0, result.code, result.err)
      process.write_file(path, result.out)
      script[#script + 1] = ("create table %s (%s);"):format(quoted(name), table.concat(columns, ", "))
      script[#script + 1] = ("\\copy %s from '%s' with (format csv)"):format(quoted(name), path)
    end
    process.write_file(dir .. "/" .. schema .. ".sql", table.concat(script, "\n"))
    psql("-f", dir .. "/" .. schema .. ".sql")
  end

  local function start_on_postgres(queries, schema)
    local url = postgres_url .. "?options=-csearch_path%3D" .. schema
    local server = wick.start {
      plugins = { real = plugin_of(queries) }, config = { database = { sqlite = false, postgres = { primary = url } } },
    }
    return server:wait_until_ready()
  end

  local function equals_postgres(body, query, schema)
    local lines = {}
    local script = dir .. "/query.sql"
    process.write_file(script, ("set search_path = %s; select row_to_json(t) from (%s) t;"):format(schema, query))
    for line in psql("-f", script):gmatch "[^\n]+" do lines[#lines + 1] = line end
    local expected = "[" .. table.concat(lines, ",") .. "]"
    if body == expected then return #lines end
    local at = 1
    while body:byte(at) == expected:byte(at) do at = at + 1 end
    error(("%s\nat byte %d\nwick: %s\nPostgreSQL: %s"):format(query, at, spare(body, at - 20), spare(expected, at - 20)), 0)
  end

  local function with_postgres(schema, queries)
    local server, rows = start_on_postgres(queries, schema), 0
    for i, text in ipairs(queries) do rows = rows + equals_postgres(get(server, i, text), text, schema) end
    psql("-c", ("drop schema %s cascade"):format(schema))
    return rows
  end

  for file in pairs(questions) do
    it(file .. " is served from PostgreSQL byte for byte as row_to_json writes it", function()
      if not loaded[file] or not postgres_url then
        pending(postgres_url and ("%s/%s is not there"):format(data, file) or "WICK_TEST_POSTGRES is not set")
        return
      end
      local schema = "real_" .. file:match "^%a+"
      load_into(schema, file)
      assert.is_true(with_postgres(schema, queries_of(file)) > 4000)
    end)
  end

  it("of every kind PostgreSQL has is written as row_to_json writes it", function()
    if not postgres_url then
      pending "WICK_TEST_POSTGRES is not set"
      return
    end
    psql("-c", "create schema if not exists real_torture")
    with_postgres("real_torture", torture)
  end)

  it("of types made with CREATE TYPE, and of rows of tables, is written as row_to_json writes it", function()
    if not postgres_url then
      pending "WICK_TEST_POSTGRES is not set"
      return
    end
    process.write_file(dir .. "/made.sql", made)
    psql("-f", dir .. "/made.sql")
    assert.equal(7, with_postgres("real_made", made_queries))
  end)

  it("of such types is tables and values in Lua", function()
    if not postgres_url then
      pending "WICK_TEST_POSTGRES is not set"
      return
    end
    process.write_file(dir .. "/made.sql", made)
    psql("-f", dir .. "/made.sql")
    local plugin = [[return { name = "real", version = "1.0.0", routes = { { "GET", "/", name = "lua", handler = function(req, cx)
      local p = cx.db:one("select p, p.moods, p.ages, p.place, p.mood, p.age, p.free, row(1, 'x') as loose \
        from real_made.people p where id = 1")
      return { p.p.place["The \"Name\""], p.p.places[3].x == cx.json.null, #p.moods, p.moods[3], p.ages[1], p.ages[2] == cx.json.null,
        math.type(p.place.x), p.mood, p.age, type(p.free), p.loose, p.p.labels.a[1], p.p.paid }
    end } } }]]
    local server = wick.start {
      plugins = { real = plugin }, config = { database = { sqlite = false, postgres = { primary = postgres_url } } },
    }
    server:wait_until_ready()
    local response = server:get "/"
    assert.equal(200, response.status, response.body)
    assert.equal([==[["a, (b) \"c\" \\",true,3,"not \"so\" glad",1,true,"integer","glad",30,"string","(1,x)",1,1.5]]==], response.body)
    psql("-c", "drop schema real_made cascade")
  end)
end)
