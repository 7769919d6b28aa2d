--- The service registry: services, their health, their logs.

local S = require "wick.schema"

local routes = {}
for _, name in ipairs { "services", "health", "logs", "overview" } do
  for _, route in ipairs(require("registry." .. name)) do
    routes[#routes + 1] = route
  end
end

return {
  name = "registry", version = "1.0.0", api = 1,
  requires = { accounts = ">=1.0" },
  options = S.record {
    list_ttl = S.duration {
      default = "10s", min = "1ms", max = "1h",
      doc = "how long services are served from memory; changes of services show at once on this node, health reports after it",
    },
    summary_ttl = S.duration {
      default = "5s", min = "1ms", max = "1h", doc = "how long summaries and the overview are served from memory",
    },
  },
  schema = "schema",
  routes = routes,
}
