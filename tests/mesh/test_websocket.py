"""An upgrade that stays open: WebSocket frames in both directions."""

from __future__ import annotations

from tests.mesh.harness import Mesh, need

SERVER = """
import http from "node:http"; import { createHash } from "node:crypto";
const s = http.createServer((q, r) => r.end("plain"));
s.on("upgrade", (q, socket) => {
  const key = createHash("sha1").update(q.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + key + "\\r\\n\\r\\n");
  let held = Buffer.alloc(0);
  socket.on("data", (data) => {
    held = Buffer.concat([held, data]);
    for (;;) {
      if (held.length < 6) return;
      let length = held[1] & 127, at = 2;
      if (length === 126) { if (held.length < 8) return; length = held.readUInt16BE(2); at = 4; }
      if (held.length < at + 4 + length) return;
      const mask = held.subarray(at, at + 4), body = Buffer.from(held.subarray(at + 4, at + 4 + length));
      for (let i = 0; i < length; i++) body[i] ^= mask[i & 3];
      const code = held[0] & 15;
      const head = length < 126 ? Buffer.from([0x80 | code, length]) : Buffer.from([0x80 | code, 126, length >> 8, length & 255]);
      socket.write(Buffer.concat([head, body]));
      held = held.subarray(at + 4 + length);
      if (code === 8) return void socket.end();
    }
  });
});
s.listen(8080, "0.0.0.0");
"""

CLIENT = """
const ws = new WebSocket("ws://chat:8080/room"); const seen = [];
ws.onopen = () => { for (let i = 0; i < 200; i++) ws.send("m" + i + "x".repeat(i * 20)); };
ws.onmessage = (e) => { seen.push(e.data.length); if (seen.length === 200) ws.close(1000); };
ws.onclose = (e) => { console.log(seen.length, seen.reduce((a, b) => a + b), e.code); process.exit(0); };
ws.onerror = (e) => { console.log("error", e.message); process.exit(1); };
"""


def test_a_websocket_echoes_two_hundred_messages(mesh: Mesh) -> None:
    node = need("node")
    mesh.serve("chat", node.path, "--input-type=module", "-e", SERVER)
    total = sum(len(f"m{number}") + number * 20 for number in range(200))

    answer = mesh.ask("member", node.path, "--experimental-websocket", "--input-type=module", "-e", CLIENT)

    assert answer.stdout.decode().strip() == f"200 {total} 1000", answer.stderr.decode()
