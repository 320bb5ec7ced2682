// A receiver by other hands: verifies webhooks with npm's `standardwebhooks`, found by NODE_PATH.
//
// Usage: receiver.js SECRET. Says what receiver.py says, in the same words.

const http = require("http");
const { Webhook } = require("standardwebhooks");

const webhook = new Webhook(process.argv[2]);
const say = (what) => console.log(JSON.stringify(what));

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const path = request.url;
    try {
      const event = webhook.verify(Buffer.concat(chunks), request.headers);
      say({ path, id: request.headers["webhook-id"], event });
      response.statusCode = 204;
    } catch (refused) {
      say({ path, refused: String(refused) });
      response.statusCode = 401;
    }
    response.end();
  });
});
server.listen(0, "127.0.0.1", () => say({ listening: server.address().port }));
