/** A node that is deleted takes along what is its alone (Calico's clientv3/node.go). */
import { bgpConfigurationKind } from "../model/bgp_configuration.ts";
import { bgpPeerKind } from "../model/bgp_peer.ts";
import { felixConfigurationKind } from "../model/felix_configuration.ts";
import { hostEndpointKind } from "../model/host_endpoint.ts";
import type { AnyKind } from "../model/kinds.ts";
import { type Node, tunnelAddressesOf } from "../model/node.ts";
import type { Resource } from "../model/resource.ts";
import { workloadEndpointKind } from "../model/workload_endpoint.ts";
import { ResourceError } from "./resource_error.ts";
import type { StoreRules } from "./resource_rules.ts";

/** Endpoints, addresses, blocks, peers, host endpoints, configurations. */
export const nodeRules: StoreRules<Node> = {
  // Its tunnels' addresses are not known then: the collector finds them (mod/controllers).
  beforeDeleteDamaged: (resources, node) => nodeRules.beforeDelete!(resources, node, {}),
  async beforeDelete(resources, node) {
    const name = node.metadata.name;
    const { items } = await resources.list(workloadEndpointKind);
    const endpoints = items.filter((endpoint) => endpoint.spec.node === name);
    const networks = endpoints.flatMap((e) => e.spec.ipNetworks ?? []);
    const addresses = [...networks, ...tunnelAddressesOf(node)].map((text) => text.split("/")[0]);
    await resources.options.releaseNode?.(name, addresses);
    const own: [AnyKind, Pick<Resource, "metadata">[]][] = [
      [workloadEndpointKind, endpoints],
      [bgpPeerKind, (await resources.list(bgpPeerKind)).items.filter((p) => p.spec.node === name)],
      [
        hostEndpointKind,
        (await resources.list(hostEndpointKind)).items.filter((h) => h.spec.node === name),
      ],
      // Also one that cannot be read.
      [felixConfigurationKind, [{ metadata: { name: `node.${name}` } }]],
      [bgpConfigurationKind, [{ metadata: { name: `node.${name}` } }]],
    ];
    for (const [kind, objects] of own) {
      for (const { metadata } of objects) {
        try {
          await resources.delete(kind, metadata.name, metadata.namespace);
        } catch (error) {
          if (!(error instanceof ResourceError && error.kind === "notFound")) throw error;
        }
      }
    }
    return node;
  },

  cutOff({ metadata: { name } }) {
    return `node ${name} is not deleted, and its addresses and endpoints may be gone by now: delete it ` +
      "again";
  },
};
