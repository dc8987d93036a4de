import assert from "node:assert/strict";
import type { PolicyObject, WorkloadEndpointObject } from "./inputs.ts";
import {
  engineOf,
  flattenObjects,
  matrix,
  matrixOf,
  type MatrixPort,
  parseMatrixPort,
} from "./matrix.ts";
import { calico, endpoint, kubernetesPolicy, namespace, pod } from "./testing.ts";

const ports = (...texts: string[]): MatrixPort[] => texts.map((t) => parseMatrixPort(t)!);

Deno.test("ports are read in either order", () => {
  assert.deepEqual(parseMatrixPort("80/tcp"), { label: "TCP/80", protocol: 6, port: 80 });
  assert.deepEqual(parseMatrixPort("UDP/53"), { label: "UDP/53", protocol: 17, port: 53 });
  assert.deepEqual(parseMatrixPort("sctp/http"), {
    label: "SCTP/http",
    protocol: 132,
    port: "http",
  });
  assert.deepEqual(parseMatrixPort("443"), { label: "TCP/443", protocol: 6, port: 443 });
  for (const bad of ["", "/", "80/", "80/xtp", "70000/tcp", "0/tcp", "a/b/c", "http/icmp"]) {
    assert.equal(parseMatrixPort(bad), undefined, bad);
  }
});

Deno.test("lists stand for their items", () => {
  const a = namespace("a"), b = namespace("b");
  assert.deepEqual(
    flattenObjects([{ kind: "List", items: [a, { kind: "PodList", items: [b] }] }, null, 3]),
    [a, b],
  );
});

Deno.test("who reaches whom: each side alone, and both together", () => {
  const result = matrix([
    // Namespaces need not be there; pods need no address.
    pod("x", "a", { app: "a" }, { ips: ["10.0.0.1"] }),
    pod("x", "b", { app: "b" }),
    pod("y", "c", {}, { ports: { http: 80 } }),
    kubernetesPolicy("x", "in", {
      podSelector: { matchLabels: { app: "a" } },
      ingress: [{
        from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "y" } } }],
      }],
    }),
    kubernetesPolicy("x", "out", {
      podSelector: { matchLabels: { app: "b" } },
      policyTypes: ["Egress"],
      egress: [{ ports: [{ port: 53, protocol: "UDP" }] }],
    }),
  ], ports("80/tcp", "53/udp"));
  assert.deepEqual(result, {
    endpoints: ["x/a", "x/b", "y/c"],
    ports: {
      "TCP/80": {
        ingress: ["X..", "X..", "..."],
        egress: ["...", "XXX", "..."],
        combined: ["X..", "XXX", "..."],
      },
      "UDP/53": {
        ingress: ["X..", "X..", "..."],
        egress: ["...", "...", "..."],
        combined: ["X..", "X..", "..."],
      },
    },
  });
});

Deno.test("objects without a namespace are in default", () => {
  const bare = (o: ReturnType<typeof pod>) => ({
    ...o,
    metadata: { ...o.metadata, namespace: undefined },
  });
  const result = matrix([
    bare(pod("", "a", { app: "a" })),
    pod("default", "b"),
    bare(kubernetesPolicy("", "deny", { podSelector: { matchLabels: { app: "a" } } })),
  ], ports("80"));
  assert.deepEqual(result.endpoints, ["default/a", "default/b"]);
  assert.deepEqual(result.ports["TCP/80"].combined, ["X.", "X."]);
});

Deno.test("a named port is the server's; a server without it has no such connection", () => {
  const result = matrix([
    pod("x", "a", {}, { ports: { http: 8080 } }),
    pod("x", "b"),
    kubernetesPolicy("x", "only", { podSelector: {}, ingress: [{ ports: [{ port: 8080 }] }] }),
  ], ports("http/tcp", "8080/tcp"));
  assert.deepEqual(result.ports["TCP/http"].combined, [".X", ".X"]);
  // By number policy alone counts, whatever containers list.
  assert.deepEqual(result.ports["TCP/8080"].combined, ["..", ".."]);
});

Deno.test("a pod on its node's network has both families and its ports' names", () => {
  const host = pod("kube", "host", {}, { ips: ["192.168.0.1", "fd11::1"], ports: { http: 8080 } });
  Object.assign((host as { spec?: object }).spec!, { hostNetwork: true });
  const objects = [
    host,
    pod("x", "both", {}, { ips: ["10.0.0.1", "fd00::1"], ports: { http: 80 } }),
    pod("x", "six", {}, { ips: ["fd00::2"] }),
  ];
  const { view, pods } = engineOf(objects);
  const rows = (text: string, family?: 4 | 6) => {
    const [port] = ports(text);
    return matrixOf(view, pods, [port], { family }).ports[port.label].combined;
  };
  assert.deepEqual(rows("80"), ["...", "...", "..."]);
  assert.deepEqual(rows("80", 6), ["...", "...", "..."]);
  assert.deepEqual(rows("80", 4), ["..X", "..X", "XXX"]);
  assert.deepEqual(rows("http/tcp"), ["..X", "..X", "..X"]);
  assert.deepEqual(rows("http/udp"), ["XXX", "XXX", "XXX"]);

  // No named port of a policy is one of its: the name in an egress rule finds endpoints alone.
  const named = kubernetesPolicy("x", "out", {
    podSelector: {},
    policyTypes: ["Egress"],
    egress: [{ ports: [{ port: "http" }] }],
  });
  const strict = engineOf([...objects, named]);
  const got = matrixOf(strict.view, strict.pods, ports("http/tcp", "8080"));
  assert.deepEqual(got.ports["TCP/http"].egress[1], "X.X");
  assert.deepEqual(got.ports["TCP/8080"].egress[1], "XXX");
});

Deno.test("of a datastore, a pod is where its WorkloadEndpoint says, or all for it is dropped", () => {
  const server = pod("x", "server", {}, { ips: ["10.0.0.1"] });
  const client = pod("x", "client", {}, { ips: ["10.0.0.2"] });
  Object.assign((server as { spec: object }).spec, { nodeName: "node1" });
  const wep = (name: string, ip: string, more: object = {}) => {
    const made = endpoint("x", name, [ip]) as WorkloadEndpointObject;
    return { ...made, spec: { ...made.spec, node: "node1", ...more } };
  };
  const asked = (stored: boolean, ...more: PolicyObject[]) => {
    const objects = [server, client, wep("client", "10.0.0.2"), ...more];
    const { allowed, notes } = engineOf(objects, () => ({}), stored).view.explain({
      from: { endpoint: "x/client" },
      to: { endpoint: "x/server" },
      protocol: "TCP",
      port: 80,
    });
    return [allowed, notes.some((note) => /x\/server has no interface/.test(note))];
  };
  assert.deepEqual(asked(true, wep("server", "10.0.0.1")), [true, false]);
  const lost = [
    [],
    [wep("server", "10.0.0.1", { interfaceName: undefined })],
    [wep("server", "10.0.0.1", { interfaceName: "eth0" })],
    [wep("server", "10.0.0.1", { interfaceName: 7 })],
    [wep("server", "10.0.0.1", { node: "node2" })],
  ];
  for (const objects of lost) {
    assert.deepEqual(asked(true, ...objects), [false, true], JSON.stringify(objects));
    // Files need not hold WorkloadEndpoints, nor all of their fields.
    assert.deepEqual(asked(false, ...objects), [true, false], JSON.stringify(objects));
  }
});

Deno.test("a Namespace's name is its label, whatever its object says", () => {
  const policy = kubernetesPolicy("x", "in", {
    podSelector: {},
    ingress: [{
      from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "y" } } }],
    }],
  });
  const result = matrix([
    namespace("y", { "kubernetes.io/metadata.name": "z" }),
    pod("x", "a"),
    pod("y", "b"),
    policy,
  ], ports("80"));
  assert.deepEqual(result.ports["TCP/80"].combined, ["X.", ".."]);
});

Deno.test("pods of different families have no connection; given endpoints are taken as they are", () => {
  const result = matrix([
    pod("x", "four", {}, { ips: ["10.0.0.1"] }),
    pod("x", "six", {}, { ips: ["fd00::1"] }),
    pod("x", "both", {}),
    endpoint("x", "both", ["10.0.0.9", "fd00::9"]),
    calico("GlobalNetworkPolicy", "p", {
      selector: "all()",
      ingress: [{ action: "Allow", source: { nets: ["10.0.0.9/32", "fd00::1/128"] } }],
    }),
  ], ports("80"));
  assert.deepEqual(result.ports["TCP/80"].combined, ["XXX", "X..", ".X."]);
});
