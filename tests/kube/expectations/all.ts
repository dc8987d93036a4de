/** All expectations, and the way to check them against an API: the tests' own, or a real one. */
import { ACCESS } from "./access.ts";
import { CUSTOM_RESOURCES } from "./custom.ts";
import { DELETIONS } from "./deletions.ts";
import { definitions, eventually, type Expectation, World } from "./expectation.ts";
import { LISTS } from "./lists.ts";
import { OBJECTS } from "./objects.ts";
import { PATCH_TYPES } from "./patches.ts";
import { UPDATES } from "./updates.ts";
import { WATCHES } from "./watches.ts";
import type { Client } from "../client.ts";

export const EXPECTATIONS: Expectation[] = [
  ...OBJECTS,
  ...UPDATES,
  ...DELETIONS,
  ...LISTS,
  ...WATCHES,
  ...PATCH_TYPES,
  ...CUSTOM_RESOURCES,
  ...ACCESS,
];

const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** A run against one API: a group of its own, a namespace for each check, all taken away at the end. */
export class Run {
  #count = 0;
  readonly #id = crypto.randomUUID().slice(0, 6);
  readonly group = `t${this.#id}.kube-tests.example.com`;

  constructor(readonly api: Client) {}

  async begin(): Promise<void> {
    for (const definition of definitions(this.group)) {
      const { status, body } = await this.api.call("POST", DEFINITIONS, definition);
      if (status !== 201) throw new Error(`the definition is refused: ${body.message}`);
    }
    for (const plural of ["widgets", "gadgets"]) {
      await eventually(`${plural} are served`, async () => {
        const { status } = await this.api.call("GET", `/apis/${this.group}/v1/${plural}`);
        return status === 200;
      });
    }
  }

  async check(expectation: Expectation): Promise<void> {
    const name = `kube-tests-${this.#id}-${++this.#count}`;
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
    const made = await this.api.call("POST", "/api/v1/namespaces", namespace);
    if (made.status !== 201) throw new Error(`the namespace is refused: ${made.body.message}`);
    // A pod is admitted only where its account is.
    const account = `/api/v1/namespaces/${name}/serviceaccounts/default`;
    await eventually(
      "the namespace is furnished",
      async () => (await this.api.call("GET", account)).status === 200,
    );
    try {
      await expectation.check(new World(this.api, this.group, name));
    } finally {
      await this.api.call("DELETE", `/api/v1/namespaces/${name}`);
    }
  }

  async end(): Promise<void> {
    for (const plural of ["widgets", "gadgets"]) {
      await this.api.call("DELETE", `${DEFINITIONS}/${plural}.${this.group}`);
    }
  }
}
