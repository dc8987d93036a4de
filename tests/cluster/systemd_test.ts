/** The node service under systemd: READY=1 when it serves, STOPPING=1 and exit 0 at SIGTERM. */
import { AF_UNIX, check, closeFd, libc, MSG_DONTWAIT, SOCK_DGRAM } from "../../ffi/libc.ts";
import { signal } from "../../ffi/process.ts";
import { until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

/** A datagram socket like systemd's, and what has come to it. */
function notifySocket(path: string) {
  const fd = check(libc().socket(AF_UNIX, SOCK_DGRAM, 0), "make a socket");
  const address = new Uint8Array([AF_UNIX, 0, ...new TextEncoder().encode(path), 0]);
  check(libc().bind(fd, address, address.length), `bind ${path}`);
  let heard = "";
  return {
    heard() {
      const buffer = new Uint8Array(4096);
      for (let n; (n = libc().recv(fd, buffer, 4096n, MSG_DONTWAIT)) > 0;) {
        heard += new TextDecoder().decode(buffer.subarray(0, n)) + "\n";
      }
      return heard;
    },
    close: () => closeFd(fd),
  };
}

Deno.test("systemd hears READY=1, and STOPPING=1 at SIGTERM", options, async () => {
  const folder = await Deno.makeTempDir();
  const socket = notifySocket(`${folder}/notify`);
  try {
    const env = { NOTIFY_SOCKET: `${folder}/notify` };
    await withLab({ subnets: "1", mesh: false, env }, async (lab) => {
      await until("READY=1", 5000, () => /^READY=1$/m.test(socket.heard()));
      signal(lab.record.processes.node1, 15);
      await until("STOPPING=1", 5000, () => /^STOPPING=1$/m.test(socket.heard()));
      const [node] = lab.record.layout.nodes;
      await until("the pid file is gone", 5000, async () => {
        const pid = `${node.directory}/run/node.pid`;
        return await Deno.stat(pid).then(() => false, () => true);
      });
    });
  } finally {
    socket.close();
    await Deno.remove(folder, { recursive: true });
  }
});
