--- wick config print: the settings in force, every default in, secrets as "***". wick config manual: what each setting means.

local native = require "wick.native"
local plugin = require "wick.plugin"
local reference = require "wick.reference"
local settings_schema = require "wick.settings"
local worker = require "wick.worker"

local function run_print(args, command)
  local settings = command.load(args)
  if not settings then
    return command.CONFIGURATION
  end
  if args.json then
    local shown = reference.shown(settings, worker.plugins)
    native.json.array(shown.plugins)
    command.say("%s", native.json.encode(shown, true))
  else
    command.say("%s", reference.lua(settings, worker.plugins))
  end
  return command.OK
end

-- The plugins that come with wick, for their options.
local function bundled()
  local settings = settings_schema.check {}
  settings.config_folder = "./"
  return assert(plugin.load_all(settings, function() return {} end))
end

local function run_manual(args, command)
  if args.json then
    command.say("%s", native.json.encode(native.json.array(reference.list()), true))
  else
    command.say("%s", reference.manual(bundled()))
  end
  return command.OK
end

return {
  summary = "Print the settings in force, or the manual of all settings.",
  arguments = function(parser)
    parser:argument("what", "print: the settings in force; manual: what each setting means."):choices { "print", "manual" }
  end,
  run = function(args, command)
    return args.what == "print" and run_print(args, command) or args.what == "manual" and run_manual(args, command)
  end,
}
