/**
 * The manifests of the demo, as a user would write them: applied as they stand with `apply -f` and
 * `lab run -f`. Kept as text in the executable, so that `tortie lab demo` needs no file beside it.
 */

const pod = (name: string, labels: string, extra = "") =>
  `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  labels: {${labels}}${extra}
spec:
  containers:
  - name: web
    image: registry.example/web
    ports:
    - {name: http, containerPort: 80}
    - {name: dns, containerPort: 5353, protocol: UDP}
`;

const annotated = (annotation: string, value: string) =>
  `\n  annotations:\n    cni.projectcalico.org/${annotation}: '${value}'`;

/** Two plain pods; the demo puts one on each node of the first subnet, and one on the third node. */
export const PLAIN = (name: string) => pod(name, `app: ${name}`);

/** A pod with an address of its own choice. */
export const FIXED = pod("fixed", "app: fixed", annotated("ipAddrs", '["10.244.1.200"]'));

/** Another pod that wants the same address. */
export const RIVAL = pod("rival", "app: rival", annotated("ipAddrs", '["10.244.1.200"]'));

const deployment = (name: string, replicas: number, annotation: string, value: string) =>
  `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${name}
spec:
  replicas: ${replicas}
  selector:
    matchLabels: {app: ${name}}
  template:
    metadata:
      labels: {app: ${name}}
      annotations:
        cni.projectcalico.org/${annotation}: '${value}'
    spec:
      containers:
      - name: web
        image: registry.example/web
        ports:
        - {containerPort: 80}
`;

/** One replica that keeps its address over its replacement. */
export const STICKY = deployment("sticky", 1, "ipAddrs", '["10.244.1.220"]');

/** Three replicas with addresses of two named pools. */
export const POOLED = deployment("pooled", 3, "ipv4pools", '["new-pool1","new-pool2"]');

/** Pools as kubectl users write them, host bits and all. */
export const POOLS = (apiVersion: string) =>
  [["new-pool1", "10.244.3.220/24"], ["new-pool2", "10.244.4.221/24"]].map(([name, cidr]) =>
    `apiVersion: ${apiVersion}
kind: IPPool
metadata:
  name: ${name}
spec:
  cidr: ${cidr}
  blockSize: 31
  ipipMode: Never
  natOutgoing: true
`
  ).join("---\n");

/** The namespaces and pods of the policy matrix. */
export const COLOURS = [
  "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n",
  "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: square\n  labels: {shape: square}\n",
  "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: round\n  labels: {shape: round}\n",
  pod("blue", "color: blue"),
  pod("red", "color: red"),
  pod("green", "color: green"),
  pod("red", "color: red").replace("name: red\n", "name: red\n  namespace: square\n"),
  pod("red", "color: red").replace("name: red\n", "name: red\n  namespace: round\n"),
].join("---\n");

/** Blue pods accept TCP 80 from red pods of their own namespace alone. */
export const BLUE_FROM_RED = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: blue-from-red
  namespace: default
spec:
  podSelector:
    matchLabels: {color: blue}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector:
        matchLabels: {color: red}
    ports:
    - {protocol: TCP, port: 80}
`;

/** The same, from red pods of the namespaces whose shape is square. */
export const BLUE_FROM_SQUARE_RED = BLUE_FROM_RED.replace(
  "    - podSelector:\n",
  "    - namespaceSelector:\n        matchLabels: {shape: square}\n      podSelector:\n",
);
