-- luacheck: std luajit, globals wrk
--- wrk script: POST of one service.

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"name":"bench","status":"healthy","group_name":"bench","host":"10.0.0.1","port":8080,"version":"1.0.0",'
  .. '"description":"inserted by the load generator","labels":{"env":"bench","team":"none"}}'
