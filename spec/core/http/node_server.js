// Answers every request that Node's parser takes with 200. Prints its port.
const server = require("http").createServer({ requireHostHeader: true }, (request, response) => {
  request.on("error", () => {});
  request.resume().on("end", () => response.end("taken"));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
