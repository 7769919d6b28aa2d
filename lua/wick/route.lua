--- Turns the routes of plugins into handlers the core can call: middleware first (who is asking), then validation, then the
--- handler.

local native = require "wick.native"
local S = require "wick.schema"
local order = require "wick.order"

local route = {}

-- The mistakes as members of a problem; `place` is what says where each is, `write` makes it of a path.
local function as_members(errors, place, write)
  local out = {}
  for i, err in ipairs(errors) do
    out[i] = { [place] = write(err.path), detail = err.text }
  end
  return native.json.array(out)
end

local NO_QUERY = S.record {}

-- Checks what came in before the handler sees it. All errors of the query are reported at once, and all of the body.
local function validating(one, next_handler)
  local query, body = one.query or NO_QUERY, one.body
  return function(req, cx)
    if one.query or req.has_query then
      local checked, errors = S.check(query, req.query, "text")
      if not checked then
        return cx.problem(400, "invalid-query", {
          detail = "the query parameters are not as this route expects them", errors = as_members(errors, "parameter", S.path_text),
        })
      end
      req.query = checked
    end
    if body and not S.fits(body, req.body) then
      local checked, errors = S.check(body, req.body, "json")
      if not checked then
        return cx.problem(422, "invalid-body", {
          detail = "the body is not as this route expects it", errors = as_members(errors, "pointer", S.pointer),
        })
      end
      req.body = checked
    end
    return next_handler(req, cx)
  end
end

-- The same id is the same text, however the client writes it: SQLite compares texts.
local function lower_ids(one, next_handler)
  local names = {}
  for name in one.pattern:gmatch "{([%w_]+):uuid}" do
    names[#names + 1] = name
  end
  if #names == 0 then
    return next_handler
  end
  return function(req, cx)
    local params = req.params
    for i = 1, #names do
      params[names[i]] = params[names[i]]:lower()
    end
    return next_handler(req, cx)
  end
end

--- All middleware of the plugins in order (by name, before and after), or nil and a text.
function route.middleware(plugins)
  local items = {}
  for _, one in ipairs(plugins) do
    for _, middleware in ipairs(one.plugin.middleware or {}) do
      items[#items + 1] = {
        name = middleware.name, after = middleware.after, before = middleware.before,
        applies = middleware.applies, wrap = middleware.wrap, cx = one.cx,
        headers = middleware.headers, cacheable = middleware.cacheable, plugin = one.plugin.name,
      }
    end
  end
  return order(items)
end

-- The middleware that applies to a route, outermost first.
local function around(one, middleware)
  local out = {}
  for _, item in ipairs(middleware) do
    if item.applies == nil or item.applies(one) then
      out[#out + 1] = item
    end
  end
  return out
end

--- The handler of a route with everything around it: function(req, cx).
function route.compile(one, middleware)
  local handler = lower_ids(one, validating(one, one.handler))
  local items = around(one, middleware)
  for i = #items, 1, -1 do
    handler = items[i].wrap(handler, one, items[i].cx)
  end
  return handler
end

-- The lines of header that middleware puts into each answer of the route; the outermost has the first word.
local function headers_of(one, middleware)
  local lines, seen = {}, {}
  for _, item in ipairs(around(one, middleware)) do
    for name, value in pairs(item.headers) do
      lines[#lines + 1] = not seen[name:lower()] and ("%s: %s\r\n"):format(name, value) or nil
      seen[name:lower()] = true
    end
  end
  return table.concat(lines)
end

-- A cached answer is sent before any Lua runs, so nothing that decides who may see it may stand before it.
local function cache_mistakes(one, this, middleware)
  local texts = {}
  if this.cache and this.auth then
    texts[1] = ("%s/init.lua: route %s: cache and auth do not go together, %s"):format(one.folder, this.name,
      "for a cached answer is sent before anyone is asked who they are; use cx.cache in the handler")
  end
  for _, item in ipairs(this.cache and not this.auth and around(this, middleware) or {}) do
    if not item.cacheable then
      texts[#texts + 1] = ("%s/init.lua: route %s: cache, but the middleware %s of plugin %s applies, and a cached answer is sent "
        .. "without it; use cx.cache in the handler, or say cacheable = true in the middleware if it does not decide who may see "
        .. "the answer"):format(one.folder, this.name, item.name, item.plugin)
    end
  end
  return texts
end

--- Adds every route of the plugins to this VM's router. Returns the number, or nil and a list of texts.
function route.add_all(plugins, settings)
  local texts, count, seen = {}, 0, {}
  local middleware, why = route.middleware(plugins)
  if not middleware then
    return nil, { "middleware: " .. why }
  end
  for _, one in ipairs(plugins) do
    for _, this in ipairs(one.routes) do
      if seen[this.name] then
        texts[#texts + 1] = ("%s/init.lua: route %s has the name of a route of plugin %s"):format(one.folder, this.name, seen[this.name])
      end
      seen[this.name] = one.plugin.name
      local wrong = cache_mistakes(one, this, middleware)
      table.move(wrong, 1, #wrong, #texts + 1, texts)
      local cache = this.cache
      local added, problem = native.route_add {
        method = this.method, pattern = this.pattern, name = this.name, plugin = one.plugin.name, cx = one.cx,
        handler = route.compile(this, middleware), headers = headers_of(this, middleware),
        timeout_ms = this.timeout or settings.http.request_timeout,
        body_max = this.max_body or settings.http.body_max,
        reads = this.reads == nil and this.method == "GET" or this.reads == true,
        batch = this.batch, group = this.group,
        cache = cache and { ttl_ms = cache.ttl, stale_ms = cache.stale or 0, tags = cache.tags or {}, vary = cache.vary or {} },
      }
      if not added then
        texts[#texts + 1] = ("%s/init.lua: route %s: %s"):format(one.folder, this.name, problem)
      end
      count = count + 1
    end
  end
  if #texts > 0 then
    return nil, texts
  end
  return count
end

return route
