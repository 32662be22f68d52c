// node h2.mjs PORT: HTTP/2 with prior knowledge; answers every request with 200 and a short body.
import http2 from "node:http2";

const server = http2.createServer({ maxSessionInvalidFrames: 100000 });
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  stream.on("data", () => {});
  stream.on("end", () => {
    if (stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": "text/plain" });
    stream.end(headers[":method"] === "HEAD" ? undefined : "hello over two\n");
  });
  stream.resume();
});
server.on("sessionError", () => {});
server.listen(Number(process.argv[2]), "0.0.0.0");
