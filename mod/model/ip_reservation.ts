/** IPReservation: addresses that automatic assignment leaves alone. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { slashText } from "./fields.ts";
import { column, joinedShort, nameColumn } from "./columns.ts";

/**
 * Calico's definition of the custom resource wants prefix lengths, calicoctl on etcd does not: a bare
 * address that is stored is reserved like any other, and stays.
 */
const schema = objectSchema("IPReservation", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({ reservedCIDRs: v.optional(v.array(slashText), () => []) }),
    () => ({ reservedCIDRs: [] }),
  ),
});

export type IPReservation = v.InferOutput<typeof schema>;
export type IPReservationInput = v.InferInput<typeof schema>;

export const ipReservationKind: Kind<IPReservation, IPReservationInput> = {
  kind: "IPReservation",
  apiVersion: "projectcalico.org/v3",
  plural: "ipreservations",
  home: "calico",
  namespaced: false,
  names: ["ipreservation", "ipreservations", "reservation", "reservations"],
  schema,
  crd: true,
  columns: [nameColumn],
  wideColumns: [nameColumn, column("CIDRS", (r) => joinedShort(r.spec.reservedCIDRs))],
};
