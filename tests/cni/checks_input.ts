/** Checks of what a runtime may send: VERSION, variables, configuration, errors. */
import assert from "node:assert/strict";
import { SUPPORTED_VERSIONS } from "../../cni/versions.ts";
import { type Check, FOREIGN } from "./case.ts";

const REQUIRED = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

export const INPUT_CHECKS: Check[] = [
  {
    id: "cni-01",
    name: "VERSION lists every version that must be there",
    async run(c) {
      const { code, json } = await c.call({ command: "VERSION" });
      assert.equal(code, 0);
      assert.equal(typeof json.cniVersion, "string");
      for (const version of REQUIRED) assert.ok(json.supportedVersions.includes(version), version);
      assert.deepEqual(json.supportedVersions, [...SUPPORTED_VERSIONS]);
    },
  },
  {
    id: "cni-02",
    name: "VERSION answers in the plugin's latest version",
    async run(c) {
      for (const cniVersion of ["0.4.0", "1.1.0"]) {
        const { json } = await c.call({ command: "VERSION", conf: { cniVersion } });
        assert.ok([cniVersion, "1.1.0"].includes(json.cniVersion));
        assert.ok(json.supportedVersions.includes(json.cniVersion));
      }
    },
  },
  {
    id: "cni-03",
    name: "VERSION needs nothing but the command",
    async run(c) {
      const env = { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_PATH: undefined };
      for (const conf of ['{"cniVersion":"1.0.0"}', ""]) {
        const { code, json } = await c.call({ command: "VERSION", conf, env });
        assert.equal(code, 0);
        assert.ok(json.supportedVersions.length > 0);
      }
    },
  },
  {
    id: "cni-04",
    name: "an unknown version is code 1 and makes no interface",
    async run(c) {
      const netns = await c.namespace();
      const conf = c.conf({ cniVersion: "99.0.0" });
      const { json } = await c.refused(1, { conf, netns });
      assert.match(json.msg, /99\.0\.0/);
      assert.equal(await c.interface(netns), undefined);
    },
  },
  {
    id: "cni-05",
    name: "no version means 0.1.0 and is served as such",
    async run(c) {
      const { cniVersion: _, ...conf } = c.conf();
      const { json } = await c.add({ conf });
      assert.equal(json.cniVersion, "0.1.0");
      assert.match(json.ip4.ip, /^10\.244\.\d+\.\d+\/32$/);
      assert.equal(json.ips, undefined);
    },
  },
  ...(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] as const).map((variable, i): Check => ({
    id: `cni-0${6 + i}`,
    name: `ADD without ${variable} is code 4 and names it`,
    async run(c) {
      const netns = await c.namespace();
      for (const value of [undefined, ""]) {
        const { json } = await c.refused(4, { netns, env: { [variable]: value } });
        assert.ok(json.msg.includes(variable));
      }
    },
  })),
  {
    id: "cni-09",
    name: "without a command nothing is done",
    async run(c) {
      const netns = await c.namespace();
      const { code, stdout } = await c.harness.call({ netns, env: { CNI_COMMAND: undefined } })
        .catch(() => ({ code: 0, stdout: "text for people" }));
      if (code !== 0 && stdout !== "") assert.equal(JSON.parse(stdout).code, 4);
      assert.equal(await c.interface(netns), undefined);
    },
  },
  {
    id: "cni-10",
    name: "an unknown command is code 4",
    async run(c) {
      const { json } = await c.refused(4, { command: "FROB", netns: await c.namespace() });
      assert.match(json.msg, /FROB/);
    },
  },
  {
    id: "cni-11",
    name: "the command's case matters",
    async run(c) {
      const netns = await c.namespace();
      await c.refused(4, { command: "add", netns });
      assert.equal(await c.interface(netns), undefined);
    },
  },
  {
    id: "cni-12",
    name: "a container ID with a slash is code 4",
    async run(c) {
      const netns = await c.namespace();
      for (const command of ["ADD", "DEL"]) {
        await c.refused(4, { command, container: "a/../../b", netns });
      }
    },
  },
  {
    id: "cni-13",
    name: "a container ID that begins with a hyphen is code 4",
    async run(c) {
      await c.refused(4, { container: "-abc", netns: await c.namespace() });
    },
  },
  {
    id: "cni-14",
    name: "an interface name of 16 characters is refused",
    async run(c) {
      const netns = await c.namespace();
      const { json } = await c.refused(4, { ifname: "sixteencharacter", netns });
      assert.match(json.msg, /CNI_IFNAME/);
    },
  },
  {
    id: "cni-15",
    name: "an interface name with a slash is refused",
    async run(c) {
      const netns = await c.namespace();
      for (const ifname of ["a/b", "..", "a:b", "a b"]) await c.refused(4, { ifname, netns });
    },
  },
  {
    id: "cni-16",
    name: "standard input that is not JSON is code 6",
    async run(c) {
      const netns = await c.namespace();
      for (const conf of ["{", "[]", new Uint8Array([255, 254, 0, 1])]) {
        await c.refused(6, { conf, netns });
      }
    },
  },
  {
    id: "cni-17",
    name: "empty standard input is an error object; so is a huge one",
    async run(c) {
      const netns = await c.namespace();
      await c.refused(6, { conf: "", netns });
      await c.refused(6, { conf: " ".repeat(3 << 20), netns });
    },
  },
  {
    id: "cni-18",
    name: "a configuration without name is code 7",
    async run(c) {
      const { name: _, ...conf } = c.conf();
      const { json } = await c.refused(7, { conf, netns: await c.namespace() });
      assert.match(json.msg, /name/);
    },
  },
  {
    id: "cni-19",
    name: "a network's name with a slash is code 7",
    async run(c) {
      await c.refused(7, { conf: c.conf({ name: "a/b" }), netns: await c.namespace() });
    },
  },
  {
    id: "cni-20",
    name: "a namespace path that is not there fails",
    async run(c) {
      const { json } = await c.refused(4, { netns: "/run/netns/there-is-none" });
      assert.match(json.msg, /CNI_NETNS/);
    },
  },
  {
    id: "cni-21",
    name:
      "a path that is no network namespace fails: a file, a folder, another kind, the host's own",
    async run(c) {
      const file = `${c.harness.folder}/plain`;
      await Deno.writeTextFile(file, "x");
      const host = `/run/netns/${c.harness.host}`;
      for (const netns of [file, c.harness.folder, "/proc/self/ns/mnt", host]) {
        await c.refused(4, { netns });
      }
    },
  },
  {
    id: "cni-22",
    name: "error objects carry cniVersion, code and msg",
    async run(c) {
      for (const cniVersion of ["0.4.0", "1.0.0"]) {
        const { json } = await c.refused(4, {
          conf: c.conf({ cniVersion }),
          netns: "/run/netns/there-is-none",
        });
        assert.equal(json.cniVersion, cniVersion);
      }
    },
  },
  {
    id: "cni-23",
    name: "our own codes begin at 100",
    async run(c) {
      const netns = await c.namespace();
      await c.harness.inNamespace(netns, FOREIGN);
      const { json } = await c.refused(100, { netns });
      assert.ok(json.code >= 100);
      const pools = { ipam: { type: "tortie-ipam", ipv4_pools: ["nosuch"] } };
      await c.refused(101, { conf: c.conf(pools), netns: await c.namespace() });
    },
  },
];
