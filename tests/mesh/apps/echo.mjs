// node echo.mjs PORT: answers with what it saw, as JSON; some paths behave in a particular way.
import http from "node:http";
import { createHash } from "node:crypto";

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://echo");
  if (url.pathname === "/status") return void response.writeHead(Number(url.searchParams.get("code"))).end("as asked\n");
  if (url.pathname === "/hang") return;
  if (url.pathname === "/reset") return void request.socket.destroy();
  if (url.pathname === "/half") {
    response.writeHead(200, { "content-length": "1000" });
    return void response.write("half", () => request.socket.destroy());
  }
  if (url.pathname === "/big") {
    const size = Number(url.searchParams.get("size"));
    response.writeHead(200, url.searchParams.has("chunked") ? {} : { "content-length": size });
    const piece = Buffer.alloc(65536, "gossamer");
    let left = size;
    const more = () => {
      while (left > 0) {
        const part = piece.subarray(0, Math.min(left, piece.length));
        left -= part.length;
        if (!response.write(part)) return void response.once("drain", more);
      }
      response.end();
    };
    return more();
  }
  if (url.pathname === "/trailers") {
    response.writeHead(200, { trailer: "x-sum, x-end" });
    response.write("body");
    response.addTrailers({ "x-sum": "42", "x-end": "yes" });
    return void response.end();
  }
  if (url.pathname === "/early") {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
  }
  const hash = createHash("sha256");
  let length = 0;
  request.on("data", (data) => { hash.update(data); length += data.length; });
  request.on("end", () => {
    const names = Object.keys(request.headers).filter((name) => !["l5d-client-id", "l5d-dst-canonical", "date", "host", "connection"].includes(name)).sort();
    const seen = Object.fromEntries(names.map((name) => [name, request.headers[name]]));
    const body = JSON.stringify({ method: request.method, url: request.url, length, hash: hash.digest("hex"), headers: seen, trailers: request.trailers, client: url.searchParams.has("id") ? request.headers["l5d-client-id"] ?? null : undefined }) + "\n";
    response.writeHead(200, { "Content-Type": "application/json", "X-Case-Kept": "yes", "set-cookie": ["a=1", "b=2"], "content-length": Buffer.byteLength(body) });
    response.end(body);
  });
});
server.keepAliveTimeout = 0;
server.listen(Number(process.argv[2]), "0.0.0.0");
