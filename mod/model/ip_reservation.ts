/** IPReservation: addresses that automatic assignment leaves alone. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { netText } from "./fields.ts";

const schema = objectSchema("IPReservation", "projectcalico.org/v3", {
  spec: v.object({ reservedCIDRs: v.optional(v.array(netText), () => []) }),
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
  columns: [],
};
