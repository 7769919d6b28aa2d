--- "Did you mean": the nearest of some known names to a misspelt one. Requires nothing.

local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then
    return limit + 1
  end
  local before, row = {}, {}
  for j = 0, #b do
    row[j] = j
  end
  local older
  for i = 1, #a do
    older, before, row = before, row, {}
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(row[j - 1] + 1, before[j] + 1, before[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, older[j - 2] + 1) -- two neighbours swapped
      end
      row[j] = best
    end
  end
  return row[#b]
end

local NAME_MAX = 64 -- bytes; comparing takes time with their square

--- The known name nearest to `name`, or nil when none is near or it is long. `known` is a list.
local function nearest(name, known)
  if #name > NAME_MAX then
    return nil
  end
  local limit = #name > 1 and math.max(1, #name // 3) or 0 -- anything is near a single letter
  local best, best_distance = nil, limit + 1
  for _, candidate in ipairs(known) do
    local d = distance(name:lower(), candidate:lower(), limit)
    if d < best_distance or (d == best_distance and best and candidate < best) then
      best, best_distance = candidate, d
    end
  end
  return best_distance <= limit and best or nil
end

--- ' (did you mean "x"?)' or ''.
local function phrase(name, known)
  local near = nearest(tostring(name), known)
  return near and (' (did you mean "%s"?)'):format(near) or ""
end

return { nearest = nearest, phrase = phrase }
