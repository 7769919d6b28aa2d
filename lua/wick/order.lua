--- Puts named things in order by what they say of each other: after, before, requires. Requires nothing.
--
-- Things that say nothing keep the order they were given in. A cycle is an error that shows the cycle; so is a name that stands
-- for two things.

--- items: list of { name =, after = { names }, before = { names } }; names of things that are not there are passed over.
-- Returns the list in order, or nil and a text.
local function order(items)
  local by_name, edges = {}, {}
  for i, item in ipairs(items) do
    if by_name[item.name] then
      return nil, ("two of these have the name %s"):format(item.name)
    end
    by_name[item.name] = item
    edges[item.name] = { at = i, needs = {} }
  end
  for _, item in ipairs(items) do
    for _, name in ipairs(item.after or {}) do
      if by_name[name] then
        table.insert(edges[item.name].needs, name)
      end
    end
    for _, name in ipairs(item.before or {}) do
      if by_name[name] then
        table.insert(edges[name].needs, item.name)
      end
    end
  end
  local out, state, trail = {}, {}, {}
  local function visit(name)
    if state[name] == "done" then
      return true
    end
    trail[#trail + 1] = name
    if state[name] == "open" then
      local start = 1
      while trail[start] ~= name do
        start = start + 1
      end
      return nil, "these come after each other in a circle: " .. table.concat(trail, " -> ", start)
    end
    state[name] = "open"
    table.sort(edges[name].needs, function(a, b) return edges[a].at < edges[b].at end)
    for _, need in ipairs(edges[name].needs) do
      local fine, why = visit(need)
      if not fine then
        return nil, why
      end
    end
    state[name] = "done"
    trail[#trail] = nil
    out[#out + 1] = by_name[name]
    return true
  end
  for _, item in ipairs(items) do
    local fine, why = visit(item.name)
    if not fine then
      return nil, why
    end
  end
  return out
end

return order
