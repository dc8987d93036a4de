/** What a case of calicoctl's system tests runs on: a cluster of its own, and the objects that all share. */
import assert from "node:assert/strict";
import { type Answer, Cluster } from "../cli/harness.ts";
import { parseYaml } from "../../mod/cli/yaml.ts";

export type Objects = ReadonlyMap<string, any>;

/** What a case needs: a cluster, and the objects that the tests share. */
export class Bench {
  constructor(readonly cluster: Cluster, readonly objects: Objects) {}

  /** A shared object; SkipCase where the open part has it not. */
  data(name: string): any {
    const object = this.objects.get(name);
    if (object === undefined) throw new SkipCase(`${name} is not among the objects`);
    return structuredClone(object);
  }

  async run(line: string, data?: unknown): Promise<Answer> {
    const words = line.split(" ");
    if (data === undefined) return await this.cluster.run(words, { name: "calicoctl" });
    const path = await this.cluster.file("data.json", JSON.stringify(data));
    return await this.cluster.run([...words, "-f", path], { name: "calicoctl" });
  }

  async ok(line: string, data?: unknown): Promise<string> {
    const answer = await this.run(line, data);
    assert.deepEqual([answer.exit, answer.err], [0, ""], line);
    return answer.out;
  }

  async fails(line: string, text: string | RegExp, data?: unknown): Promise<void> {
    const { exit, out, err } = await this.run(line, data);
    assert.equal(exit, 1, line);
    if (typeof text === "string") assert.ok(`${out}${err}`.includes(text), `${line}: ${err}`);
    else assert.match(`${out}${err}`, text);
  }

  async yaml(line: string, data?: unknown): Promise<any> {
    return parseYaml(await this.ok(`${line} -o yaml`, data), line)[0].value;
  }

  /** The object has at least what the data say, but for metadata that belong to the store. */
  async holds(line: string, data: any): Promise<void> {
    contains(await this.yaml(line), data);
  }
}

export class SkipCase extends Error {}

export function contains(have: any, want: any): void {
  const { metadata: { name, namespace, labels }, spec } = want;
  assert.equal(have.metadata.name, name);
  if (namespace) assert.equal(have.metadata.namespace, namespace);
  for (const [key, value] of Object.entries(labels ?? {})) {
    assert.equal(have.metadata.labels[key], value);
  }
  for (const [key, value] of Object.entries(spec)) {
    if (key !== "Order") within(have.spec[key], value, key);
  }
}

/** What was asked for is there; what the store put beside it may be too. */
function within(have: any, want: any, path: string): void {
  if (typeof want !== "object" || want === null) return assert.deepEqual(have, want, path);
  assert.equal(typeof have, "object", path);
  if (Array.isArray(want)) assert.equal(have.length, want.length, path);
  for (const key of Object.keys(want)) within(have[key], want[key], `${path}.${key}`);
}

export const NOT_FOUND = "resource does not exist";
export const CONFLICT = "update conflict";
export const NOT_NAMESPACED = "is not namespaced";

export const v3 = (kind: string, name: string, spec: unknown, namespace?: string) => ({
  apiVersion: "projectcalico.org/v3",
  kind,
  metadata: { name, ...namespace && { namespace } },
  spec,
});

export type Body = (bench: Bench) => Promise<void>;
