/**
 * Calico's IPAM tests restated as scenarios, run on our IPAM over a store in memory (or another driver's,
 * as `tests/store` does). Steps that go
 * through the CNI plugin there (annotations of pods and namespaces) are mapped to the calls that the
 * plugin would make: the lists of pools are what is asked about.
 */
import { memoryStore } from "../../mod/store/memory.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { IpamError } from "../../mod/ipam/errors.ts";
import type { AutoAssignRequest, PoolUse } from "../../mod/ipam/types.ts";
import { blockPrefix, resourceKey } from "../../mod/model/keys.ts";
import { formatIp, type Ip, mustIp, mustPrefix, prefixContains } from "../../mod/net/mod.ts";
import { type Store, StoreError } from "../../mod/store/store.ts";
import type { FileResult } from "./selector.ts";

type Step = Record<string, any> & { op: string };
type Expect = Record<string, any>;

interface Scenario {
  id: string;
  name: string;
  via?: string;
  steps: Step[];
}

/** What a scenario asks for that this driver does not know. */
class Unknown extends Error {}

/** Runs ipam/ipam-scenarios.jsonl under `dir`; `open` gives an empty store for each scenario. */
export async function run(
  dir: string,
  open: () => Store | Promise<Store> = memoryStore,
): Promise<FileResult[]> {
  const file = "ipam/ipam-scenarios.jsonl";
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  const lines = (await Deno.readTextFile(`${dir}/${file}`)).trim().split("\n");
  for (const line of lines) {
    const scenario: Scenario = JSON.parse(line);
    const store = await open();
    try {
      await new Play(store).run(scenario);
      result.passed++;
    } catch (error) {
      const text = `${scenario.id} (${scenario.name}): ${(error as Error).message}`;
      if (error instanceof Unknown) {
        result.skipped++;
        reasons.push(text);
      } else {
        result.failed++;
        result.failures.push(text);
      }
    } finally {
      await store.close();
    }
  }
  return [result];
}

/** Addresses that a step got, with the blocks that they are from. */
interface Got {
  addresses: { ip: Ip; block: string }[];
}

class Play {
  readonly #ipam: Ipam;
  readonly #saved = new Map<string, Got>();
  #time = Date.UTC(2026, 10, 22);

  constructor(readonly store: Store) {
    this.#ipam = new Ipam(store, { now: () => this.#time += 1 });
  }

  async run(scenario: Scenario): Promise<void> {
    for (const [index, step] of scenario.steps.entries()) {
      try {
        await this.#step(step);
      } catch (error) {
        if (error instanceof Unknown) throw error;
        throw new Error(`step ${index + 1} (${step.op}): ${(error as Error).message}`);
      }
    }
  }

  async #step(step: Step): Promise<void> {
    const expect: Expect = step.expect ?? {};
    switch (step.op) {
      case "node":
        return await this.#put("nodes", step.name, { labels: step.labels }, {});
      case "namespace":
        return await this.#put(
          "namespaces",
          step.name,
          { labels: step.labels, annotations: step.annotations },
          {},
        );
      case "pool": {
        const { op: _, name = step.cidr.replace(/[./:]/g, "-"), expect: __, ...spec } = step;
        return await this.#put("ippools", name, {}, spec);
      }
      case "delete-pool":
        await this.store.delete(resourceKey(kindOf("ippools"), step.name));
        return;
      case "reserve":
        return await this.#put("ipreservations", "reserved", {}, { reservedCIDRs: step.cidrs });
      case "ipamconfig": {
        const { op: _, expect: __, ...changes } = step;
        const config = { ...await this.#ipam.getIpamConfig(), ...changes };
        return await this.#judgeError(expect, () => this.#ipam.setIpamConfig(config));
      }
      case "get-ipamconfig":
        return subset(await this.#ipam.getIpamConfig(), expect);
      case "auto":
        return await this.#judgeGot(expect, await this.#auto(step));
      case "parallel":
        return await this.#parallel(step, expect);
      case "distinct": {
        const names: string[] = step.names ?? step.of ?? [...this.#saved.keys()];
        return this.#distinct(names.flatMap((name) => this.#load(name).addresses));
      }
      case "assign":
        return await this.#judgeError(
          expect,
          () =>
            this.#ipam.assignIp({
              address: step.ip,
              host: step.host,
              handle: step.handle,
              attributes: step.attrs,
              use: step.use,
            }),
        );
      case "release":
      case "release-saved": {
        const addresses: string[] = step.op === "release"
          ? step.ips
          : this.#load(step.name).addresses.map((a) => formatIp(a.ip));
        return await this.#judgeError(expect, async () => {
          const { unallocated } = await this.#ipam.releaseIps(
            addresses.map((address) => ({ address, handle: step.handle })),
          );
          if (expect.unallocated) same(unallocated.map(formatIp), expect.unallocated);
        });
      }
      case "release-handle":
        return await this.#judgeError(expect, async () => {
          if (await this.#ipam.releaseByHandle(step.handle) === undefined) {
            throw new IpamError("badRequest", `no handle ${step.handle}`);
          }
        });
      case "ips-by-handle": {
        const ips = await this.#ipam.ipsByHandle(step.handle);
        if (!ips && expect.or_error) return;
        const texts = (ips ?? []).map(formatIp);
        if (expect.count !== undefined) same([String(texts.length)], [String(expect.count)]);
        if (expect.equals_saved) {
          same(texts, this.#load(expect.equals_saved).addresses.map((a) => formatIp(a.ip)));
        }
        return known(expect, ["count", "or_error", "equals_saved"]);
      }
      case "claim":
        return await this.#judgeError(expect, async () => {
          const { claimed, failed } = await this.#ipam.claimAffinity(step.cidr, step.host);
          counted("claimed", claimed.length, expect.claimed);
          counted("failed", failed.length, expect.failed);
        });
      case "release-affinity":
        return await this.#judgeError(
          expect,
          () => this.#ipam.releaseAffinity(step.cidr, step.host, { mustBeEmpty: step.mustBeEmpty }),
        );
      case "remove-host":
        return await this.#judgeError(
          expect,
          () => this.#ipam.removeHost(step.host ?? step.name),
        );
      case "utilization": {
        const [pool] = await this.#ipam.utilization([step.pool]);
        for (
          const [name, usage] of [["pool", pool.usage], ["block", pool.blocks[0]]] as const
        ) {
          for (const [field, want] of Object.entries(expect[name] ?? {})) {
            const got = usage?.[field as "capacity"];
            if (got !== BigInt(want as number)) {
              throw new Error(`${name} ${field}: ${got}, want ${want}`);
            }
          }
        }
        return known(expect, ["pool", "block"]);
      }
      case "still-allocated": {
        for (const { ip } of this.#load(step.name).addresses) {
          if (!await this.#ipam.assignment(ip)) throw new Error(`${formatIp(ip)} was released`);
        }
        return;
      }
      case "cni-add":
        return await this.#cniAdd(step, expect);
      case "cni-del":
        await this.#ipam.releaseByHandle(handleOf(step.pod));
        if (expect.allocations !== undefined) {
          counted("allocations", await this.#allocations(), expect.allocations);
        }
        return known(expect, ["error", "allocations"]);
      default:
        throw new Unknown(`no such step: ${step.op}`);
    }
  }

  async #auto(step: Step): Promise<{ got: Got; error?: Error }> {
    const request: AutoAssignRequest = {
      num4: step.num4,
      num6: step.num6,
      host: step.host,
      handle: step.handle,
      attributes: step.attrs,
      pools4: step.pools4,
      pools6: step.pools6,
      use: (step.use ?? "Workload") as PoolUse,
      namespace: step.namespace,
      maxBlocksPerHost: step.maxBlocksPerHost,
    };
    const { v4, v6, error } = await this.#ipam.autoAssign(request);
    const addresses = [...v4.addresses, ...v6.addresses];
    return {
      got: {
        addresses: addresses.map((a) => ({
          ip: a.ip,
          block: `${formatIp(a.block.ip)}/${a.block.length}`,
        })),
      },
      error,
    };
  }

  /** Steps side by side: listed, one for each host, or the same one many times. */
  async #parallel(step: Step, expect: Expect): Promise<void> {
    const { op: _, expect: __, steps, hosts, count, ...one } = step;
    const list: Step[] = steps ??
      hosts?.map((host: string) => ({ ...one, host })) ??
      (count && Array.from({ length: count }, () => one.step ?? one));
    if (!Array.isArray(list)) throw new Unknown("parallel without steps, hosts or count");
    if (list.some((s) => s.op && s.op !== "auto")) {
      await Promise.all(list.map((s) => this.#step(s)));
      return known(expect, []);
    }
    const results = await Promise.all(list.map(async (s) => {
      const result = await this.#auto(s);
      if (s.expect) this.#judgeGot(s.expect, result);
      return result;
    }));
    const addresses = results.flatMap(({ got }) => got.addresses);
    const { distinct, ...rest } = expect;
    if (distinct) this.#distinct(addresses);
    this.#judgeGot(rest, { got: { addresses }, error: results.find((r) => r.error)?.error });
  }

  #distinct(addresses: Got["addresses"]): void {
    const all = addresses.map((a) => formatIp(a.ip));
    if (new Set(all).size !== all.length) throw new Error(`an address was given twice: ${all}`);
  }

  #judgeGot(expect: Expect, { got, error }: { got: Got; error?: Error }): void {
    const { addresses } = got;
    if (expect.save) this.#saved.set(expect.save, got);
    if (expect.error_or_empty) {
      if (!error && addresses.length > 0) throw new Error(`got ${addresses.length} addresses`);
    } else if (expect.error ? !error : error) {
      throw new Error(error ? `failed: ${error.message}` : "succeeded, should fail");
    }
    const count = (family: number) => addresses.filter((a) => a.ip.family === family).length;
    counted("IPv4 addresses", count(4), expect.count4);
    counted("IPv6 addresses", count(6), expect.count6);
    const outside = (cidrs: string[]) =>
      addresses.find((a) => !cidrs.some((cidr) => prefixContains(mustPrefix(cidr), a.ip)));
    for (const cidrs of [expect.within && [expect.within], expect.within_any]) {
      const stranger = cidrs && outside(cidrs);
      if (stranger) throw new Error(`${formatIp(stranger.ip)} is not within ${cidrs}`);
    }
    const shunned: string[] = [expect.none_within ?? []].flat();
    for (const { ip } of addresses) {
      if (shunned.some((cidr) => prefixContains(mustPrefix(cidr), ip))) {
        throw new Error(`${formatIp(ip)} is within ${shunned}`);
      }
    }
    const blocks = (g: Got) => new Set(g.addresses.map((a) => a.block));
    for (const name of [expect.same_block_as ?? []].flat()) {
      same([...blocks(got)], [...blocks(this.#load(name))]);
    }
    for (const name of [expect.not_same_block_as ?? []].flat()) {
      const others = blocks(this.#load(name));
      if ([...blocks(got)].some((b) => others.has(b))) throw new Error(`same block as ${name}`);
    }
    if (expect.equals_saved) {
      same(
        addresses.map((a) => formatIp(a.ip)),
        this.#load(expect.equals_saved).addresses.map((a) => formatIp(a.ip)),
      );
    }
    known(expect, [
      "save",
      "error",
      "error_or_empty",
      "count4",
      "count6",
      "within",
      "within_any",
      "none_within",
      "same_block_as",
      "not_same_block_as",
      "equals_saved",
    ]);
  }

  /** What the plugin would ask for: the pod's pools over the namespace's, or the fixed addresses. */
  async #cniAdd(step: Step, expect: Expect): Promise<void> {
    const [namespace, pod] = String(step.pod).split("/");
    const entry = await this.store.get<any>(resourceKey(kindOf("namespaces"), namespace));
    const inherited = entry?.value.metadata.annotations ?? {};
    const own = step.annotations ?? {};
    const list = (name: string): string[] | undefined => {
      const text = own[`cni.projectcalico.org/${name}`] ??
        (name === "ipAddrs" ? undefined : inherited[`cni.projectcalico.org/${name}`]);
      return text && JSON.parse(text);
    };
    const common = {
      host: step.host ?? "test-host",
      handle: handleOf(step.pod),
      attributes: { namespace, pod },
      use: "Workload" as const,
    };
    let addresses: Got["addresses"] = [];
    let error: Error | undefined;
    try {
      const fixed = list("ipAddrs");
      const given = fixed
        ? await Promise.all(
          fixed.map((address) => this.#ipam.assignIp({ address: mustIp(address), ...common })),
        )
        : await this.#ipam.assign({
          num4: 1,
          pools4: list("ipv4pools"),
          pools6: list("ipv6pools"),
          namespace,
          ...common,
        });
      addresses = given.map((a) => ({
        ip: a.ip,
        block: `${formatIp(a.block.ip)}/${a.block.length}`,
      }));
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown;
      error = thrown as Error;
      await this.#ipam.releaseByHandle(common.handle);
    }
    const { allocations, ...rest } = expect;
    if (allocations !== undefined) {
      counted("allocations", await this.#allocations(), allocations);
    }
    this.#judgeGot(rest, { got: { addresses }, error });
  }

  /** Addresses that are given, of everybody. */
  async #allocations(): Promise<number> {
    const { entries } = await this.store.list<any>(blockPrefix(4));
    return entries.flatMap((e) => e.value.allocations).filter((a: unknown) => a !== null).length;
  }

  async #judgeError(expect: Expect, act: () => Promise<unknown>): Promise<void> {
    let error: Error | undefined;
    try {
      await act();
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown;
      error = thrown as Error;
    }
    if (expect.error && !error) throw new Error("succeeded, should fail");
    if (!expect.error && error) throw error;
    known(expect, ["error", "unallocated", "claimed", "failed"]);
  }

  #load(name: string): Got {
    const saved = this.#saved.get(name);
    if (!saved) throw new Unknown(`nothing was saved as ${name}`);
    return saved;
  }

  async #put(plural: string, name: string, metadata: object, spec: object): Promise<void> {
    await this.store.put(resourceKey(kindOf(plural), name), {
      metadata: { name, ...metadata },
      spec,
    });
  }
}

function kindOf(plural: string) {
  const home = plural === "namespaces" ? "kubernetes" as const : "calico" as const;
  return { plural, home, namespaced: false };
}

/** In place of the container ID, which the scenarios do not have. */
function handleOf(pod: string): string {
  return `k8s-pod-network.${pod.replaceAll("/", ".")}`;
}

function isRefusal(error: unknown): boolean {
  return error instanceof IpamError || error instanceof StoreError;
}

/** Compares lists as sets. */
function same(got: string[], want: string[]): void {
  const [a, b] = [[...got].sort().join(), [...want].sort().join()];
  if (a !== b) throw new Error(`got [${a}], want [${b}]`);
}

function subset(got: object, want: Expect): void {
  for (const [name, value] of Object.entries(want)) {
    const have = (got as Record<string, unknown>)[name];
    if (have !== value) throw new Error(`${name}: ${have}, want ${value}`);
  }
}

function counted(what: string, got: number, want: number | unknown[] | undefined): void {
  const number = Array.isArray(want) ? want.length : want;
  if (number !== undefined && got !== number) throw new Error(`${what}: ${got}, want ${number}`);
}

/** An expectation that is not looked at would pass whatever happens. */
function known(expect: Expect, names: string[]): void {
  const strange = Object.keys(expect).filter((name) => !names.includes(name));
  if (strange.length > 0) throw new Unknown(`no such expectation: ${strange}`);
}
