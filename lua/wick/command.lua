--- The command line: wick COMMAND [options]. Each command is a file under wick/command/ that says what it is and runs.
--
-- Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 wrong configuration.

local argparse = require "argparse"
local native = require "wick.native"

local command = {}

local NAMES = { "serve", "check", "routes", "config", "pool", "version" } -- every command, in the order of the help

--- Exit codes, named.
command.OK, command.FAILED, command.USAGE, command.CONFIGURATION = 0, 1, 2, 78

local function parser_of(commands)
  local parser = argparse("wick", "Serves a database over HTTP: Lua plugins over caches, PostgreSQL and SQLite.")
      :epilog "wick COMMAND --help says more about each. Settings are explained in config.lua."
      :command_target "command"
      :require_command(true)
      :add_help "-h --help"
      :help_max_width(80)
  for _, name in ipairs(NAMES) do
    local one = commands[name]
    local sub = parser:command(name, one.summary)
    sub:help_max_width(80)
    sub:option("--config", "The configuration; -c for short.", "config.lua"):hidden_name "-c":argname "FILE"
    sub:flag("--json", "Print JSON, for programs.")
    if one.arguments then
      one.arguments(sub)
    end
  end
  return parser
end

--- Runs one command. args: the words after `wick`. Returns the exit code.
function command.main(args)
  local commands = {}
  for _, name in ipairs(NAMES) do
    commands[name] = require("wick.command." .. name)
  end
  local parser = parser_of(commands)
  if args[1] == "--version" then
    args = { "version" }
  end
  if #args == 0 then
    command.say("%s", parser:get_help())
    return command.USAGE
  end
  local fine, result = parser:pparse(args)
  if not fine then
    native.write(2, ("wick: %s\nwick --help lists the commands\n"):format(result))
    return command.USAGE
  end
  local code = commands[result.command].run(result, command)
  if command.unwritten and code == command.OK then
    native.write(2, ("wick: the output cannot be written: %s\n"):format(command.unwritten))
    return command.FAILED
  end
  return code
end

--- For commands: prints a line to standard output.
function command.say(format, ...)
  local written, why = native.write(1, (select("#", ...) > 0 and format:format(...) or format) .. "\n")
  if not written then
    command.unwritten = why
  end
end

--- For commands: the settings of --config with its plugins loaded and their routes added, and the number of routes; or nil
-- after all mistakes were printed (the caller returns CONFIGURATION). With --json they are {"ok":false,"errors":[...]}.
function command.load(args)
  local config, worker = require "wick.config", require "wick.worker"
  local settings, texts, origin = config.load(args.config, { env = native.env, read_file = native.read_file })
  local routes
  if settings then
    routes, texts = worker.boot(settings, origin)
  elseif origin then -- what is wrong with the plugins is told at the same time
    local _, more = worker.load(origin.part, origin)
    table.move(more or {}, 1, #(more or {}), #texts + 1, texts)
  end
  if not routes then
    for i, text in ipairs(texts) do
      texts[i] = config.without_secrets(text, origin and origin.secrets or {})
    end
    command.mistakes(args, texts)
    return nil
  end
  return settings, routes
end

--- Prints mistakes, each on a line of its own.
function command.mistakes(args, texts)
  if args.json then
    command.say(native.json.encode { ok = false, errors = native.json.array(texts) })
    return
  end
  for _, text in ipairs(texts) do
    native.write(2, text .. "\n")
  end
  native.write(2, ("wick: %d mistake%s in the configuration\n"):format(#texts, #texts == 1 and "" or "s"))
end

return command
