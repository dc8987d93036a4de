/** What is refused because of the object alone: by `validate` as by `apply`, before anything is written. */
import assert from "node:assert/strict";
import { command, test } from "./harness.ts";

const manifest = (kind: string, metadata: string, spec: string) =>
  `apiVersion: projectcalico.org/v3\nkind: ${kind}\nmetadata: ${metadata}\nspec: ${spec}\n`;
const ENDPOINT = "{node: n1, orchestrator: k8s, pod: p, endpoint: eth0, interfaceName: cali1";

const REFUSED: [what: string, text: string, words: RegExp][] = [
  [
    "an endpoint's name that its spec does not say",
    manifest("WorkloadEndpoint", "{name: n1-k8s-q-eth0, namespace: n}", `${ENDPOINT}}`),
    /metadata\.name: "n1-k8s-q-eth0" is not allowed: want n1-k8s-p-eth0/,
  ],
  [
    "a limit out of Calico's range",
    manifest("WorkloadEndpoint", "{namespace: n}", `${ENDPOINT}, qosControls: {ingressBurst: 5}}`),
    /spec\.qosControls\.ingressBurst: 5 is not allowed: want a whole number from 1000 to/,
  ],
  [
    "the built-in profile",
    manifest("Profile", "{name: projectcalico-default-allow}", "{}"),
    /"projectcalico-default-allow" is built in/,
  ],
  [
    "the cluster's identity",
    manifest("ClusterInformation", "{name: default}", "{}"),
    /a ClusterInformation cannot be written by users/,
  ],
  [
    "a limit of blocks that cannot hold",
    manifest("IPAMConfiguration", "{name: default}", "{maxBlocksPerHost: 4}"),
    /spec\.maxBlocksPerHost: 4 needs strictAffinity/,
  ],
  [
    "a second configuration of the controllers",
    manifest("KubeControllersConfiguration", "{name: x}", "{}"),
    /metadata\.name: "x" is not allowed: want default/,
  ],
  ...["a/b", "A_ e", "a.b", "-a", "a".repeat(64)].map((
    namespace,
  ): [string, string, RegExp] => [
    `the namespace ${namespace}`,
    manifest("NetworkPolicy", `{name: p, namespace: "${namespace}"}`, "{}"),
    /metadata\.namespace: "[^"]*" is not allowed: want at most 63/,
  ]),
  [
    "an order without end",
    manifest("GlobalNetworkPolicy", "{name: p}", "{order: -.inf}"),
    /spec\.order: -Infinity is not a finite number/,
  ],
  [
    "a key that stands twice",
    '{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"},\n' +
    '"spec": {"cidr": "10.0.0.0/16", "cidr": "10.1.0.0/16"}}\n',
    /:2: document 1: the key "cidr" stands there twice in one object/,
  ],
];

for (const [what, text, words] of REFUSED) {
  test(`validate and apply refuse ${what}, and write nothing`, async (cluster) => {
    const good = manifest("IPPool", "{name: good}", "{cidr: 10.9.0.0/16}");
    const file = await cluster.file("good.yaml", good);
    const told = new Set<string>();
    for (const word of ["validate", "apply", "create", "replace"]) {
      const { exit, out, err } = await cluster.run(`${word} -f ${file} -f -`, { stdin: text });
      assert.deepEqual([exit, out], [1, ""], word);
      assert.match(err, words, word);
      told.add(err);
    }
    assert.equal(told.size, 1, "the same words");
    assert.deepEqual((await cluster.store.list("/")).entries, []);
    const alone = await command(["validate", "-f", "-"], { stdin: text });
    assert.match(alone.err, words, "without a datastore");
  });
}
