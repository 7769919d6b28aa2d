-- An SQL file falls apart at the semicolons that end statements, and at no others.

local statements = require "wick.statements"

describe("statements", function()
  it("cuts at semicolons and trims", function()
    assert.same({ "select 1", "select 2", "select 3" }, statements "select 1;\n  select 2 ;;; select 3\n")
    assert.same({}, statements "")
    assert.same({}, statements " ; ;\n;")
  end)

  it("leaves semicolons in quotes alone", function()
    for _, text in ipairs {
      "select ';'", "select 'it''s; fine'", 'select ";" from "a;b"', "select $$ ; $$", "select $x1$ ; $$ ; $x1$", "select E'it\\'s; fine'",
      "select e'\\\\' || ';'", "select `a;b`",
    } do
      assert.same({ text, "select 2" }, statements(text .. "; select 2;"))
    end
  end)

  it("does not take what only looks like a quote for one", function()
    assert.same({ "select $1, $2", "select 2" }, statements "select $1, $2; select 2")
    assert.same({ "select the_e", "'a' ;'" }, { statements "select the_e; select 1"[1], "'a' ;'" })
    assert.same({ "select a$b$c", "select 2" }, statements "select a$b$c; select 2")
  end)

  it("leaves semicolons in comments alone, and comments in their statements", function()
    assert.same({ "-- one; two\nselect 1", "select /* ; */ 2" }, statements "-- one; two\nselect 1; select /* ; */ 2;\n-- the end;\n")
    assert.same({}, statements "-- nothing\n/* at; all */")
    assert.same({ "select 1 -- last" }, statements "select 1 -- last")
  end)

  it("keeps a trigger whole, with the cases in it", function()
    local trigger = [[-- keeps labels
create trigger if not exists t after update of labels on services when new.x = 'end'
begin
  delete from l where id = new.id;
  update s set a = case when new.a then 1 else 2 end;
  insert into l select 'end;' from x;
end]]
    assert.same({ trigger, "select 1" }, statements(trigger .. ";\nselect 1;"))
    assert.same({ "create temp trigger t after insert on a begin select 1; end", "select 2" },
      statements "create temp trigger t after insert on a begin select 1; end; select 2")
  end)

  it("keeps functions whole", function()
    local quoted = "create function f() returns trigger language plpgsql as $$ begin if a then b; end if; return new; end $$"
    local atomic = "create or replace function g() returns int language sql begin atomic select 1; select 2; end"
    assert.same({ quoted, atomic, "select 3" }, statements(quoted .. ";" .. atomic .. "; select 3"))
  end)

  it("cuts a transaction as the statements it is", function()
    assert.same({ "begin", "create table begin_end (a int)", "commit" }, statements "begin; create table begin_end (a int); commit;")
  end)

  it("cuts the files of the plugins", function()
    for _, path in ipairs {
      "plugins/registry/schema/sqlite.sql", "plugins/registry/schema/postgres.sql", "plugins/accounts/schema/sqlite.sql",
      "plugins/accounts/schema/postgres.sql",
    } do
      local file = assert(io.open(path))
      local text = file:read "a"
      file:close()
      local list = statements(text)
      local _, count = text:gsub("\ncreate ", "")
      assert.equal(count, #list, path)
      for _, statement in ipairs(list) do
        assert.matches("create %a+", statement)
      end
    end
  end)

  it("refuses what never ends, with the line in which it begins", function()
    for text, why in pairs {
      ["select 1;\n\nselect 'it;\n"] = { "a text in '...' begins here and never ends", 3 },
      ["select E'a\\'"] = { "a text in '...' begins here and never ends", 1 },
      ['\nselect "a'] = { 'a text in "..." begins here and never ends', 2 },
      ["select $x$ a $y$;"] = { "a text in $x$...$x$ begins here and never ends", 1 },
      ["select 1 /* a"] = { "a comment in /*...*/ begins here and never ends", 1 },
      ["select 1;\n\ncreate trigger t\nbegin select 1;"] =
        { "a statement with begin, whose end is missing, begins here and never ends", 3 },
    } do
      assert.same({ nil, why[1], why[2] }, { statements(text) }, text)
    end
  end)
end)
