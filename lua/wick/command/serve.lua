--- wick serve: checks the configuration and serves until it is told to stop.

local native = require "wick.native"

return {
  summary = "Serve requests until told to stop (SIGTERM drains, one more after at least a second stops now).",
  run = function(args, command)
    local settings = command.load(args)
    if not settings then
      return command.CONFIGURATION
    end
    return native.serve(settings)
  end,
}
