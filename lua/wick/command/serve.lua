--- wick serve: checks the configuration and serves until it is told to stop.

local native = require "wick.native"
local worker = require "wick.worker"

return {
  summary = "Serve requests until told to stop (SIGTERM drains, a second one stops now).",
  run = function(args, command)
    local settings, origin = command.settings(args)
    if not settings then
      return command.CONFIGURATION
    end
    local routes, texts = worker.boot(settings, origin)
    if not routes then
      command.mistakes(args, texts)
      return command.CONFIGURATION
    end
    return native.serve(settings)
  end,
}
